"""deploy/Dockerfile without an engine: its steps are run in roots of Debian."""
