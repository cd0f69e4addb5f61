"""The partitions that this member has: where each stands, and how records of one are told apart.

Offsets are tracked here and not by the client's position(): an exception in a rebalance callback
inside consume() would lose fetched messages while the client's position has moved past them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.records import Record

_SEEK_ATTEMPTS = 50
_SEEK_PAUSE_SECONDS = 0.1


Place = tuple[str, int]
"""A partition of a topic."""


@dataclass(slots=True)
class Track:
    """How far one topic's partition has been read.

    `position` is the next offset to apply, `fetched` the next one to collect: what lies below has
    been collected already, and a seek that took hold late must not bring it in twice.
    """

    position: int
    fetched: int


@dataclass(slots=True)
class Partition:
    """An assigned partition: of the input, and of the topics that are read beside it."""

    epoch: int
    """Grows with each assignment and each rewind; records of an older epoch are void."""
    tracks: dict[str, Track] = field(default_factory=dict)
    """By topic; empty until restored."""


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
    beside
        Topics of as many partitions of which partition n is read by whoever has partition n of the
        input. The group does not share them out; where they stand is committed like the rest.
    """

    def __init__(
        self, consumer: Consumer, topic: str, partition_count: int, beside: Sequence[str] = ()
    ) -> None:
        self._consumer = consumer
        self._topics = (topic, *beside)
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

    def restored(self, number: int, offset: int, beside: Mapping[str, int] | None = None) -> None:
        """Go on with a restored partition at an offset, and with the topics beside at theirs."""
        partition = self._partitions[number]
        partition.epoch = self._next_epoch()
        topic, *others = self._topics
        offsets = {topic: offset, **{name: (beside or {})[name] for name in others}}
        partition.tracks = {name: Track(start, start) for name, start in offsets.items()}
        for name, start in offsets.items():
            self._seek(name, number, start)
        self._consumer.resume(self._places([number]))

    def unrestored(self, number: int) -> None:
        """Stop with a partition until it is restored again."""
        partition = self._partitions[number]
        partition.epoch = self._next_epoch()
        partition.tracks = {}
        self._consumer.pause(self._places([number]))

    def rewind(self) -> None:
        """Read again from where the last commit left off, on every restored partition."""
        for number, partition in self._partitions.items():
            if partition.tracks:
                partition.epoch = self._next_epoch()
            for topic, track in partition.tracks.items():
                track.fetched = track.position
                self._seek(topic, number, track.position)

    def collect(self, record: Record) -> int | None:
        """Count a record as fetched and give its epoch; None for one that is void."""
        partition = self._partitions.get(record.partition)
        track = None if partition is None else partition.tracks.get(record.topic)
        if partition is None or track is None or record.offset < track.fetched:
            return None
        track.fetched = record.offset + 1
        return partition.epoch

    def current(self, epochs: Iterable[tuple[int, int]]) -> frozenset[int]:
        """Give those of the partitions that still are in the epoch given with each."""
        return frozenset(
            number
            for number, epoch in epochs
            if number in self._partitions and self._partitions[number].epoch == epoch
        )

    def advance(self, positions: Iterable[tuple[Place, int]]) -> None:
        """Set the positions of partitions to what is committed."""
        for (topic, number), position in positions:
            self._partitions[number].tracks[topic].position = position

    def positions(self, number: int) -> dict[str, int]:
        """Give the next offset to apply by topic, nothing while it is not restored."""
        return {topic: track.position for topic, track in self._partitions[number].tracks.items()}

    @property
    def active(self) -> list[int]:
        """The partitions that are restored."""
        return [n for n, partition in self._partitions.items() if partition.tracks]

    def offsets(
        self, numbers: Iterable[int], advanced: Mapping[Place, int]
    ) -> list[TopicPartition]:
        """Give the offsets to commit for partitions: the advanced ones, else where they stand."""
        return [
            TopicPartition(
                topic, number, advanced.get((topic, number), track.position), self._metadata
            )
            for number in numbers
            for topic, track in self._partitions[number].tracks.items()
        ]

    def pause(self) -> None:
        """Fetch nothing until `resume`; the member stays in the group as long as it polls."""
        self._consumer.pause(self._places(self.active))

    def resume(self) -> None:
        """Fetch again."""
        self._consumer.resume(self._places(self.active))

    def _places(self, numbers: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in numbers for topic in self._topics]

    def _next_epoch(self) -> int:
        self.epochs += 1
        return self.epochs

    def _seek(self, topic: str, number: int, offset: int) -> None:
        place = TopicPartition(topic, number, offset)
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
