"""A clock for tests of what waits."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Clock:
    """Stands still but for sleeps, and for calls that a script lets take time."""

    now: float = 100.0
    pauses: list[float] = field(default_factory=list)

    @property
    def slept(self) -> float:
        return sum(self.pauses)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
