"""docs/getting-started.md, word for word."""
