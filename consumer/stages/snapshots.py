"""Reading what the trainer has published."""

from __future__ import annotations

from consumer.stage import StageError


class NewerModelError(StageError):
    """A snapshot in a format that this version does not know yet."""
