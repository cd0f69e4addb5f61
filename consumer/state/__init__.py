"""State that comes back: restored from changelogs, kept in local checkpoints."""
