"""The versions of the segment model: what there is, and what an operator has the trainer do."""
