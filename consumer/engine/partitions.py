"""The partitions that this member has: where each stands, and how records of one are told apart.

Offsets are tracked here and not by the client's position(): an exception in a rebalance callback
inside consume() would lose fetched messages while the client's position has moved past them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from confluent_kafka import Consumer, KafkaError, TopicPartition

from consumer.contract.clock import Clock, Timer, wall_clock
from consumer.contract.records import Record
from consumer.engine.waiting import Waiting
from consumer.kafka.asking import Pace, ask
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.state.positions import Position

# Just assigned, the fetcher may not be up yet.
_SEEK_SECONDS = 5.0
_SEEK_PACE = Pace(pause=0.1, longest_pause=0.1)

Place = tuple[str, int]
"""A partition of a topic."""


@dataclass(slots=True)
class Track:
    """How far one topic's partition has been read.

    `position` is the next offset to apply, `fetched` the next one to collect: what lies below has
    been collected already, and a seek that took hold late must not bring it in twice. Between
    `collected`, behind the last record, and `fetched` there are markers of transactions and aborted
    records only: the client has found the end there.
    """

    position: int
    fetched: int
    collected: int
    metadata: OffsetMetadata
    """What is committed with the offset."""
    leader_epoch: int | None
    """Of the record fetched last, as far as it is known."""
    asked: float | None
    """Since when the client is to read from `fetched` and has told nothing, neither a record nor
    the end; seconds, monotonic. None once it has told something."""
    waiting: Waiting = field(default_factory=Waiting)


@dataclass(slots=True)
class Partition:
    """An assigned partition: of the input, and of the topics that are read beside it."""

    epoch: int
    """Grows with each assignment and each rewind; records of an older epoch are void."""
    tracks: dict[str, Track] = field(default_factory=dict)
    """By topic; empty until restored."""
    settled: bool = True
    """Whether the group has committed where it stands."""


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
    timer
        What passes.
    clock
        What time it is.

    Attributes
    ----------
    consumer
        May be replaced while there are no partitions.
    partition_count
        As given.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        partition_count: int,
        beside: Sequence[str] = (),
        *,
        timer: Timer = time,
        clock: Clock = wall_clock,
    ) -> None:
        self.consumer = consumer
        self._timer, self._clock = timer, clock
        self._topics = (topic, *beside)
        self.partition_count = partition_count
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

    def remove(self, numbers: Iterable[int]) -> list[int]:
        """Let go of partitions; give those that were there."""
        numbers = [number for number in numbers if number in self._partitions]
        restored = [number for number in numbers if self._partitions[number].tracks]
        for number in numbers:
            del self._partitions[number]
            self.epochs += 1
        self.consumer.incremental_unassign(self._places(restored))
        return numbers

    def restored(self, number: int, positions: Mapping[str, Position]) -> None:
        """Go on with a restored partition where each of its topics says."""
        partition = self._partitions[number]
        partition.epoch = self._next_epoch()
        partition.tracks = {name: self._track(positions[name]) for name in self._topics}
        partition.settled = all(position.committed for position in positions.values())
        # Only now does the client get to know of it, and from where on: a seek that overtakes its
        # question for an end or for a committed offset is undone by the answer (librdkafka asks
        # again, and goes there).
        self.consumer.incremental_assign(
            [
                _place(name, number, track.position, track)
                for name, track in partition.tracks.items()
            ]
        )
        self.consumer.resume(self._places([number]))

    def _track(self, position: Position) -> Track:
        start = position.offset
        metadata = position.metadata.model_copy(update={"partitions": self.partition_count})
        return Track(start, start, start, metadata, position.leader_epoch, self._timer.monotonic())

    def unrestored(self, number: int) -> None:
        """Stop with a partition until it is restored again."""
        partition = self._partitions[number]
        partition.epoch = self._next_epoch()
        if partition.tracks:
            self.consumer.incremental_unassign(self._places([number]))
        partition.tracks = {}

    def rewind(self) -> None:
        """Read again from where the last commit left off, on every restored partition."""
        for number, partition in self._partitions.items():
            if partition.tracks:
                partition.epoch = self._next_epoch()
            for topic, track in partition.tracks.items():
                track.waiting.go_back(track.position)
                track.fetched = track.collected = track.position
                track.asked = self._timer.monotonic()
                self._seek(_place(topic, number, track.position, track))

    def collect(
        self, records: Iterable[Record], leader_epochs: Iterable[int | None]
    ) -> list[Record]:
        """Count records as fetched, each with its leader's epoch; give those that are not void."""
        taken: list[Record] = []
        runs: list[tuple[Track, int]] = []
        topic, number, track, fresh = "", -1, None, True
        for record, leader_epoch in zip(records, leader_epochs, strict=True):
            if record.partition != number or record.topic != topic:
                topic, number, fresh = record.topic, record.partition, True
                if (track := self._track_of(topic, number)) is not None:
                    track.asked = None
            if track is None or record.offset < track.fetched:
                continue
            track.fetched = track.collected = record.offset + 1
            if leader_epoch is not None:
                track.leader_epoch = leader_epoch
            if fresh:
                runs.append((track, len(taken)))
                fresh = False
            taken.append(record)
        bounds = pairwise([*(start for _, start in runs), len(taken)])
        for (of, _), (start, end) in zip(runs, bounds, strict=True):
            first, last = taken[start], taken[end - 1]
            of.waiting.read(last.offset + 1, first.timestamp, last.timestamp)
        return taken

    def epoch(self, number: int) -> int:
        """Give the epoch of a partition."""
        return self._partitions[number].epoch

    def passed(self, topic: str, number: int, offset: int) -> None:
        """Note that the client has found the end of what there is to read, markers included."""
        track = self._track_of(topic, number)
        if track is None:
            return
        track.asked = None
        track.fetched = max(track.fetched, offset)

    def silent(self, seconds: float) -> list[Place]:
        """Give the places of which the client has told nothing for so long since it was asked."""
        now = self._timer.monotonic()
        return [
            (topic, number)
            for number, partition in self._partitions.items()
            for topic, track in partition.tracks.items()
            if track.asked is not None and now - track.asked >= seconds
        ]

    def ask_again(self, place: Place) -> None:
        """Have the client read from where it was to read, without a look at the leader's epoch."""
        topic, number = place
        if (track := self._track_of(topic, number)) is not None:
            self._seek(TopicPartition(topic, number, track.fetched))
            track.asked = self._timer.monotonic()

    def reach(self, topic: str, number: int, offset: int) -> int:
        """Give the offset up to which all is done once what lies below this one is.

        Behind the last record there may be markers and aborted records, and nothing to wait for.
        """
        track = self._partitions[number].tracks[topic]
        return max(offset, track.fetched) if offset >= track.collected else offset

    def idle_advance(self) -> dict[Place, int]:
        """Give what partitions have passed behind their last record and not committed yet."""
        found: dict[Place, int] = {}
        for number, partition in self._partitions.items():
            for topic, track in partition.tracks.items():
                if (reached := self.reach(topic, number, track.position)) > track.position:
                    found[topic, number] = reached
        return found

    def inputs(self, number: int) -> dict[str, OffsetMetadata]:
        """Give what is committed beside a partition's offsets, by topic."""
        return {topic: track.metadata for topic, track in self._partitions[number].tracks.items()}

    @property
    def unsettled(self) -> list[int]:
        """Restored partitions of which the group has not committed where they stand."""
        return [n for n in self.active if not self._partitions[n].settled]

    def settle(self, numbers: Iterable[int]) -> None:
        """Note that offsets of these partitions are committed."""
        for number in numbers:
            self._partitions[number].settled = True

    def of_another(self, topic: str, topic_id: str | None) -> list[int]:
        """Give the partitions that are read as of a topic of that name with another id."""
        return [
            number
            for number in self._partitions
            if (track := self._track_of(topic, number)) is not None
            and topic_id is not None
            and track.metadata.topic_id not in (None, topic_id)
        ]

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

    def waiting(self, number: int) -> dict[str, int]:
        """Count the records that wait by topic, as far as the client has been told."""
        found = {}
        for topic, position in self.positions(number).items():
            place = TopicPartition(topic, number)
            _, high = self.consumer.get_watermark_offsets(place, cached=True)
            # Below zero: nothing was fetched yet, so nothing is known.
            found[topic] = max(high - self.reach(topic, number, position), 0)
        return found

    def waiting_since(self, number: int, waiting: Mapping[str, int]) -> float | None:
        """Give when the oldest of a partition's records that wait was written, by its timestamp.

        Parameters
        ----------
        number
            Of the partition.
        waiting
            How many there are by topic, as of now.

        Returns
        -------
        Seconds since 1970: infinity where nothing waits, None where it is not known, as in the
        first moments of a partition.
        """
        now = round(self._clock().timestamp() * 1000)
        oldest = float("inf")
        for topic, track in self._partitions[number].tracks.items():
            if not waiting[topic] and track.asked is None:
                track.waiting.nothing(now)
                continue
            # Something waits, or the client has not told yet whether it does.
            since = track.waiting.since(track.position)
            if since is None:
                return None
            oldest = min(oldest, since / 1000)
        return oldest

    @property
    def active(self) -> list[int]:
        """The partitions that are restored."""
        return [n for n, partition in self._partitions.items() if partition.tracks]

    def offsets(
        self, numbers: Iterable[int], advanced: Mapping[Place, int]
    ) -> list[TopicPartition]:
        """Give the offsets to commit for partitions: the advanced ones, else where they stand."""
        return [
            _place(topic, number, advanced.get((topic, number), track.position), track)
            for number in numbers
            for topic, track in self._partitions[number].tracks.items()
        ]

    def pause(self) -> None:
        """Fetch nothing until `resume`; the member stays in the group as long as it polls."""
        self.consumer.pause(self._places(self.active))

    def resume(self) -> None:
        """Fetch again."""
        self.consumer.resume(self._places(self.active))
        for partition in self._partitions.values():
            for track in partition.tracks.values():
                track.asked = None if track.asked is None else self._timer.monotonic()

    def _places(self, numbers: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in numbers for topic in self._topics]

    def _next_epoch(self) -> int:
        self.epochs += 1
        return self.epochs

    def _track_of(self, topic: str, number: int) -> Track | None:
        partition = self._partitions.get(number)
        return None if partition is None else partition.tracks.get(topic)

    def _seek(self, place: TopicPartition) -> None:
        ask(
            lambda _: self.consumer.seek(place),
            f"a seek in {place.topic}[{place.partition}]",
            seconds=_SEEK_SECONDS,
            passing=lambda error: error.code() == KafkaError._STATE,
            pace=_SEEK_PACE,
            timer=self._timer,
        )


def _place(topic: str, number: int, offset: int, track: Track) -> TopicPartition:
    """Give an offset with all that is known of it.

    With the leader's epoch the client notices when the log was truncated behind it (KIP-320). The
    epoch may be of a record fetched later: then more is noticed than was lost, and never less.
    """
    text = track.metadata.write()
    if track.leader_epoch is None:
        return TopicPartition(topic, number, offset, text)
    return TopicPartition(topic, number, offset, text, track.leader_epoch)
