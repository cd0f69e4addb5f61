"""Drift: whether what users write today is what they wrote when the reference was set."""
