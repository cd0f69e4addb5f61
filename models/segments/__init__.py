"""The published segments: their model, who belongs to which, their lives and names."""
