"""Since when the oldest record of a place has waited, without a question to a broker.

The records that are read tell when they were written. Of those that the client has fetched and not
handed over, or not fetched yet, nothing is known but what bounds it: they came after the last one
that was read, and after the last moment at which nothing waited. Where records come in the order of
their times the bound is near: it is their neighbour's time under load, and the last look, half a
second ago, where a record is the first one for a long time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waiting:
    """The times of what is not committed in one partition of a topic.

    All times are those of records, or the wall clock's: milliseconds since 1970. A record without
    one (-1) tells nothing.
    """

    _runs: deque[tuple[int, int]] = field(default_factory=deque)
    """Of each run of records that was read at once: the offset behind its last record, and the time
    of its first. In their order."""
    _behind: int | None = None
    """What is not read is not older than this, as far as records come in the order of their times;
    None while nothing is known."""

    def read(self, end: int, first: int, last: int) -> None:
        """Note a run of records.

        Parameters
        ----------
        end
            The offset behind its last record.
        first, last
            The times of its first and last record.
        """
        if first >= 0:
            self._runs.append((end, first))
        if last >= 0:
            self._behind = last

    def nothing(self, now: int) -> None:
        """Note that all there is to read is committed."""
        self._runs.clear()
        self._behind = now

    def go_back(self, position: int) -> None:
        """Note that what was read from a position on is dropped, and will be read again."""
        self._behind = self.since(position)
        self._runs.clear()

    def since(self, position: int) -> int | None:
        """Give the time of the first record from a position on; None while it is not known.

        Amid a run, of which a part is committed, it is that of the run's first record.
        """
        while self._runs and self._runs[0][0] <= position:
            self._runs.popleft()
        return self._runs[0][1] if self._runs else self._behind
