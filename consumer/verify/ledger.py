"""What a running audit keeps of each user: numbers in columns, about 230 bytes a user."""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Hashable

from consumer.verify.facts import Footprint

_ABSENT = -1
NO_PARTITION = -1


class Column:
    """One footprint for each row, or none."""

    def __init__(self) -> None:
        self._sequences = array("q")
        self._segments = array("q")
        self._digests = array("q")
        self._documents = array("q")

    def grow(self) -> None:
        """Add a row without a footprint."""
        self._sequences.append(_ABSENT)
        for values in (self._segments, self._digests, self._documents):
            values.append(0)

    def at(self, row: int) -> Footprint | None:
        """Give a row's footprint."""
        if (sequence := self._sequences[row]) == _ABSENT:
            return None
        segment = self._segments[row]
        return Footprint(
            sequence,
            None if segment == _ABSENT else segment,
            self._digests[row],
            self._documents[row],
        )

    def put(self, row: int, footprint: Footprint | None) -> None:
        """Set a row's footprint, None to remove it."""
        if footprint is None:
            self._sequences[row] = _ABSENT
            return
        sequence, segment, digest, document = footprint
        self._sequences[row] = sequence
        self._segments[row] = _ABSENT if segment is None else segment
        self._digests[row] = digest
        self._documents[row] = document


class Ledger:
    """The last change, membership and profile of every user.

    Attributes
    ----------
    changes, memberships, profiles
        A column each.
    reported
        For each row, whether its disagreement was reported and lasts.
    broken
        For each row, whether the latest change did not go on from the one before.
    partitions
        For each row, the first partition of the input that it is known to be of.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self.changes = Column()
        self.memberships = Column()
        self.profiles = Column()
        self.reported = bytearray()
        self.broken = bytearray()
        self.partitions = array("i")

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, user: str) -> int | None:
        """Give a user's row, None where there is none."""
        return self._rows.get(_digest(user))

    def row(self, user: str) -> int:
        """Give a user's row; a new one where there is none."""
        row = self._rows.setdefault(_digest(user), len(self._rows))
        if row == len(self.broken):
            for column in (self.changes, self.memberships, self.profiles):
                column.grow()
            self.reported.append(0)
            self.broken.append(0)
            self.partitions.append(NO_PARTITION)
        return row


def _digest(user: str) -> bytes:
    # Of one size, however long the id is. Two users with one digest: 2^-64 among 4 billion.
    return hashlib.blake2b(user.encode(errors="surrogatepass"), digest_size=16).digest()


class Recent:
    """Remembers the latest items, a fixed number of them."""

    def __init__(self, capacity: int) -> None:
        self._items: set[Hashable] = set()
        self._order: deque[Hashable] = deque()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Hashable) -> bool:
        """Take an item; give whether it is new."""
        if item in self._items:
            return False
        self._items.add(item)
        self._order.append(item)
        if len(self._order) > self._capacity:
            self._items.discard(self._order.popleft())
        return True
