"""Learning segments: the clusterers, and what keeps them good."""
