"""The contracts of every topic, as pydantic models."""
