"""Whether records are where their keys belong: producers of other partitioners split users."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from consumer.contract.records import Record
from schemas.partitioner import Partitioner, partitions_of

logger = logging.getLogger(__name__)


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
        self.misplaced = 0
        """Of committed work only, as `records`."""
        self._partitioner: Partitioner = partitioner
        self._partitions = partitions
        self._pending: list[bool] = []
        self._example: Record | None = None
        self._told = False

    def look(self, records: Sequence[Record]) -> None:
        """Take records of the transaction to come; one without a key belongs nowhere."""
        keyed = [record for record in records if record.key]
        keys = [record.key or b"" for record in keyed]
        for record, partition in zip(keyed, self._of(keys), strict=True):
            misplaced = partition != record.partition
            self._pending.append(misplaced)
            if misplaced and self._example is None:
                self._example = record

    def committed(self) -> None:
        """Count the records of the transaction."""
        self.records += len(self._pending)
        self.misplaced += sum(self._pending)
        self._pending = []
        if self.misplaced and self._example is not None and not self._told:
            self._told = True
            self._tell(self._example)

    def aborted(self) -> None:
        """Forget the records of the transaction."""
        self._pending = []
        self._example = None if not self.misplaced else self._example

    def _of(self, keys: Sequence[bytes]) -> list[int]:
        return partitions_of(keys, self._partitions, self._partitioner)

    def _tell(self, record: Record) -> None:
        logger.warning(
            "%d of the first %d records are not where %s puts their key (%s[%d]@%d belongs to "
            "partition %d): where producers have different partitioners, the events of a user are "
            "in several partitions, and so is the profile. Give all producers the same (librdkafka "
            "needs partitioner=murmur2_random to agree with Java's), or re-key the input with "
            "'segmenter intake'. Where all have another one already, set events.partitioner: crc32 "
            "is librdkafka's default, any looks at none",
            self.misplaced,
            self.records,
            self._partitioner,
            record.topic,
            record.partition,
            record.offset,
            self._of([record.key or b""])[0],
        )
