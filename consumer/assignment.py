"""The partitions that this member has: where each stands, and how records of one are told apart.

Offsets are tracked here and not by the client's position(): an exception in a rebalance callback
inside consume() would lose fetched messages while the client's position has moved past them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.records import Record

_SEEK_ATTEMPTS = 50
_SEEK_PAUSE_SECONDS = 0.1


@dataclass(slots=True)
class Partition:
    """An assigned partition."""

    epoch: int
    """Grows with each assignment and each rewind; records of an older epoch are void."""
    position: int | None = None
    """Next offset to apply; None until restored."""
    fetched: int = 0
    """Next offset to collect. What lies below has been collected already: a seek that took hold
    late must not bring it in twice."""


class Assignment:
    """Positions and epochs of the assigned partitions, and the client's calls about them.

    Parameters
    ----------
    consumer
        The group's member.
    topic
        The input.
    partition_count
        Partitions that the input had when the process started. It goes with each committed offset,
        so that a later start notices when an operator has raised it.
    """

    def __init__(self, consumer: Consumer, topic: str, partition_count: int) -> None:
        self._consumer = consumer
        self._topic = topic
        self._metadata = offset_metadata(partition_count)
        self._partitions: dict[int, Partition] = {}
        self.epochs = 0
        """How many epochs have begun; differs after anything that makes records void."""

    def __len__(self) -> int:
        return len(self._partitions)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._partitions))

    def __contains__(self, number: int) -> bool:
        return number in self._partitions

    def add(self, number: int) -> None:
        """Take a new partition in, which is not restored yet."""
        self._partitions[number] = Partition(self._next_epoch())

    def remove(self, number: int) -> bool:
        """Let go of a partition; tell whether it was there."""
        if self._partitions.pop(number, None) is None:
            return False
        self.epochs += 1
        return True

    def restored(self, number: int, offset: int) -> None:
        """Go on with a restored partition at an offset."""
        partition = self._partitions[number]
        partition.epoch = self._next_epoch()
        partition.position = partition.fetched = offset
        self._seek(number, offset)
        self._consumer.resume([TopicPartition(self._topic, number)])

    def unrestored(self, number: int) -> None:
        """Stop with a partition until it is restored again."""
        partition = self._partitions[number]
        partition.epoch = self._next_epoch()
        partition.position = None
        self._consumer.pause([TopicPartition(self._topic, number)])

    def rewind(self) -> None:
        """Read again from where the last commit left off, on every restored partition."""
        for number, partition in self._partitions.items():
            if partition.position is not None:
                partition.epoch = self._next_epoch()
                partition.fetched = partition.position
                self._seek(number, partition.position)

    def collect(self, record: Record) -> int | None:
        """Count a record as fetched and give its epoch; None for one that is void."""
        partition = self._partitions.get(record.partition)
        if partition is None or partition.position is None or record.offset < partition.fetched:
            return None
        partition.fetched = record.offset + 1
        return partition.epoch

    def current(self, epochs: Iterable[tuple[int, int]]) -> frozenset[int]:
        """Give those of the partitions that still are in the epoch given with each."""
        return frozenset(
            number
            for number, epoch in epochs
            if number in self._partitions and self._partitions[number].epoch == epoch
        )

    def advance(self, positions: Iterable[tuple[int, int]]) -> None:
        """Set the positions of partitions to what is committed."""
        for number, position in positions:
            self._partitions[number].position = position

    def position(self, number: int) -> int | None:
        """Give the next offset to apply, None while it is not restored."""
        return self._partitions[number].position

    @property
    def active(self) -> list[int]:
        """The partitions that are restored."""
        return [n for n, partition in self._partitions.items() if partition.position is not None]

    def offsets(self, numbers: Iterable[int], advanced: dict[int, int]) -> list[TopicPartition]:
        """Give the offsets to commit for partitions: the advanced ones, else where they stand."""
        places = []
        for number in numbers:
            position = advanced.get(number, self._partitions[number].position)
            if position is not None:
                places.append(TopicPartition(self._topic, number, position, self._metadata))
        return places

    def pause(self) -> None:
        """Fetch nothing until `resume`; the member stays in the group as long as it polls."""
        self._consumer.pause(self._places(self.active))

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._places(self.active))

    def _places(self, numbers: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in numbers]

    def _next_epoch(self) -> int:
        self.epochs += 1
        return self.epochs

    def _seek(self, number: int, offset: int) -> None:
        place = TopicPartition(self._topic, number, offset)
        for attempt in range(_SEEK_ATTEMPTS):
            try:
                self._consumer.seek(place)
            except KafkaException as error:
                # Just assigned, the fetcher may not be up yet.
                if error.args[0].code() != KafkaError._STATE or attempt == _SEEK_ATTEMPTS - 1:
                    raise
                time.sleep(_SEEK_PAUSE_SECONDS)
            else:
                return


_METADATA_NAME = "partitions="


def offset_metadata(partition_count: int) -> str:
    """Write what goes with a committed offset: how many partitions the input has."""
    return f"{_METADATA_NAME}{partition_count}"


def partition_count_of(metadata: str | None) -> int | None:
    """Read what `offset_metadata` wrote; None where it says nothing, as of another program."""
    name, _, count = (metadata or "").partition("=")
    return int(count) if f"{name}=" == _METADATA_NAME and count.isdecimal() else None
