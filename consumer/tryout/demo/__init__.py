"""The demo: a stream that the project makes up, and a report that a person enjoys."""
