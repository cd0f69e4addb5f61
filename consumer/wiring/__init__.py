"""The processes, wired from settings."""
