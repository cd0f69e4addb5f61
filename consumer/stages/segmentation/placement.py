"""Whether records are where their keys belong: producers of other partitioners split users."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Record
from schemas.partitioner import Partitioner, partition_of, partitions_of

logger = logging.getLogger(__name__)

# The first records are looked at one and all, then every 16th of a batch: producers that differ do
# so for as long as they write, and to hash all keys takes 1.3 µs an event.
_ALL = 10_000
_EVERY = 16
# Of fewer keys each is hashed by itself: some 40 calls of NumPy take longer.
_MANY = 100


class Placement:
    """Looks at the partitions of keys, counts what is elsewhere, and tells of it once.

    Parameters
    ----------
    partitioner
        By whose rule keys have partitions.
    partitions
        Partitions of the input.
    """

    def __init__(self, partitioner: Partitioner, partitions: int) -> None:
        self.records = 0
        """That were looked at, of committed work only, as `misplaced`."""
        self.misplaced = 0
        self._partitioner: Partitioner = partitioner
        self._partitions = partitions
        # Records of the transaction to come, and how many of them are elsewhere.
        self._pending = self._elsewhere = 0
        self._example: Record | None = None
        self._told = False

    def look(self, records: Sequence[Record]) -> None:
        """Take records of the transaction to come; one without a key belongs nowhere."""
        keyed = [each for each in records[:: 1 if self.records < _ALL else _EVERY] if each.key]
        if not keyed:
            return
        own = np.array([record.partition for record in keyed], np.int64)
        elsewhere = np.flatnonzero(self._of([record.key or b"" for record in keyed]) != own)
        self._pending += len(keyed)
        self._elsewhere += len(elsewhere)
        if len(elsewhere) and self._example is None:
            self._example = keyed[int(elsewhere[0])]

    def committed(self) -> None:
        """Count the records of the transaction."""
        self.records += self._pending
        self.misplaced += self._elsewhere
        self._pending = self._elsewhere = 0
        if self.misplaced and self._example is not None and not self._told:
            self._told = True
            self._tell(self._example)

    def aborted(self) -> None:
        """Forget the records of the transaction."""
        self._pending = self._elsewhere = 0
        self._example = None if not self.misplaced else self._example

    def _of(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        if len(keys) >= _MANY:
            return partitions_of(keys, self._partitions, self._partitioner)
        of = self._partitioner
        return np.array([partition_of(key, self._partitions, of) for key in keys], np.int64)

    def _tell(self, record: Record) -> None:
        logger.warning(
            "%d of the first %d records looked at are not where %s puts their key (%s[%d]@%d "
            "belongs to partition %d): where producers have different partitioners, the events of "
            "a user are in several partitions, and so is the profile. Give all producers the same "
            "(librdkafka needs partitioner=murmur2_random to agree with Java's), or re-key the "
            "input with 'segmenter intake'. Where all have another one already, set "
            "events.partitioner: crc32 is librdkafka's default, any looks at none",
            self.misplaced,
            self.records,
            self._partitioner,
            record.topic,
            record.partition,
            record.offset,
            self._of([record.key or b""])[0],
        )
