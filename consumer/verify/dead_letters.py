"""Records that were refused: each of them once."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from consumer.verify import rules
from consumer.verify.ledger import Recent
from consumer.verify.report import Violations


class DeadLetters:
    """Looks for records that were refused twice.

    Parameters
    ----------
    recent
        How many are remembered, None for all.
    """

    def __init__(self, recent: int | None) -> None:
        self.count = 0
        self._recent = recent
        self.forget()

    def forget(self) -> None:
        """Begin anew, after some were missed; the count goes on."""
        self._known = Recent(self._recent)
        # Topic and partition of refused records, and partition of their dead letters: the last.
        self._offsets: dict[tuple[str, int, int], int] = {}
        # Refused twice as it seems: when that was seen, and of which record and topic it is.
        self._doubtful: deque[tuple[float, tuple[str, int, int], str]] = deque()

    @property
    def settled(self) -> bool:
        """Whether none is in doubt."""
        return not self._doubtful

    def add(
        self,
        source: tuple[str, int, int] | None,
        subject: str,
        now: float = 0.0,
        partition: int = 0,
    ) -> None:
        """Take a dead letter.

        Parameters
        ----------
        source
            Topic, partition and offset of the refused record; None where it does not say.
        subject
            The topic or file of the dead letters.
        now
            The present time.
        partition
            The dead letter's own. Within it the offsets of each source partition grow, since one
            worker after another refuses records in their order. So a single number finds the
            repeats that are no longer remembered; the latest are remembered besides, since a record
            without a key is written to any partition.
        """
        self.count += 1
        if source is None:
            return
        repeated = not self._known.add(source)
        if self._recent is not None:
            topic, source_partition, offset = source
            place = (topic, source_partition, partition)
            last = self._offsets.get(place, -1)
            repeated = repeated or offset <= last
            self._offsets[place] = max(last, offset)
        if repeated:
            # Of a topic that was made anew it is another record; the group's offset tells of that,
            # and is asked for less often than dead letters come.
            self._doubtful.append((now, source, subject))

    def settle(self, until: float, begun_anew: Collection[int], violations: Violations) -> None:
        """Report those that were in doubt at a time, but for partitions that were made anew."""
        while self._doubtful and self._doubtful[0][0] <= until:
            _, source, subject = self._doubtful.popleft()
            if source[1] not in begun_anew:
                violations.add_all(subject, rules.refused_twice(*source))
