"""What time it is: for a stage, in event time or by the wall clock, and for whoever waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

Clock = Callable[[], datetime]


def wall_clock() -> datetime:
    """Give the present time."""
    return datetime.now(UTC)


class Timer(Protocol):
    """What passes while something is waited for: the module `time`, or a test's own."""

    def monotonic(self) -> float:
        """Give seconds that do not go back."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Let so many seconds pass."""
        ...
