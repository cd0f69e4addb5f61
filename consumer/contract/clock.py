"""What time it is for a stage: the wall clock, or event time in a replay."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def wall_clock() -> datetime:
    """Give the present time."""
    return datetime.now(UTC)
