"""Letting go of the words of users who are no longer in the trainer's sample, piece by piece.

Who is in it follows from a hash of the id, a microsecond each: for a million users who all have
words, as after an upgrade, that is too long for one piece of work between batches.
Until a row's turn comes its words are in memory and in no record, since what is written of such
a user is written without them.
"""

from __future__ import annotations

from models.profiles.sample import rank
from models.profiles.table import ProfileTable

# Users looked at in one piece: some milliseconds.
_PIECE = 8192


class Words:
    """The words that are still to go."""

    def __init__(self) -> None:
        # By partition: the table, rows to be looked at, and the rank up to which words are kept.
        self._left: dict[int, tuple[ProfileTable, list[int], float]] = {}

    def keep(self, partition: int, table: ProfileTable, most: float) -> None:
        """Have only the words of users kept whose rank is at most this.

        Where the latest demand kept fewer, what is left of it is done at once: who is in the sample
        again begins without words, whenever this comes. The sample hardly ever grows.
        """
        while (left := self._left.get(partition)) is not None and left[2] < most:
            self._go_on(partition)
        if most < 1 and (rows := table.rows_with_words):
            self._left[partition] = table, rows, most

    def partition_went(self, partition: int) -> None:
        """Forget a table."""
        self._left.pop(partition, None)

    def piece(self) -> bool:
        """Look at the next users; tell whether there were any."""
        partition = next(iter(self._left), None)
        if partition is not None:
            self._go_on(partition)
        return partition is not None

    def _go_on(self, partition: int) -> None:
        table, rows, most = self._left[partition]
        table.keep_words(rows[-_PIECE:], lambda user: rank(user) <= most)
        del rows[-_PIECE:]
        if not rows:
            del self._left[partition]
