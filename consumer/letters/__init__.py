"""Refused records: looking at their dead letters, and bringing them back to their input."""
