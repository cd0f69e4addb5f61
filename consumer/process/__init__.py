"""The process itself: how it ends."""
