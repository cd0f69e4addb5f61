"""What a running audit sees of the group's progress and of open transactions. No Kafka in it.

It is told samples of the cluster and the times at which records arrived; all times are seconds of
one clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.verify.report import ViolationKind, Violations

Place = tuple[str, int]
"""A topic's partition."""

Tell = Callable[[str], None]
"""Takes a sentence for a person."""

# How long the group may rest at an offset before it is looked whether there is a record at all.
_PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Where the cluster stood; what did not answer is absent.

    Attributes
    ----------
    asked_at
        A time before the first question.
    committed
        The group's offset for each partition of the input, None where it has none.
    ends
        Ends of partitions, open transactions included.
    stable
        Last stable offsets: where the oldest open transaction begins, else the end.
    trouble
        Why something is absent, or None.
    metadata
        What is committed beside the group's offsets.
    """

    asked_at: float
    committed: Mapping[int, int | None] = field(default_factory=dict)
    ends: Mapping[Place, int] = field(default_factory=dict)
    stable: Mapping[Place, int] = field(default_factory=dict)
    trouble: str | None = None
    metadata: Mapping[int, OffsetMetadata] = field(default_factory=dict)


class ReadUp:
    """Knows up to which time everything that was committed has been read.

    Parameters
    ----------
    starts
        Where reading begins in each partition.
    now
        The present time.
    """

    def __init__(self, starts: Mapping[Place, int], now: float) -> None:
        self._positions = dict(starts)
        self._ends = dict(starts)
        self._caught_up = dict.fromkeys(starts, now)
        # Of each partition the end that is being read up to, and when it was asked for. It stays
        # until it is reached: a newer one would move away under a steady stream.
        self._targets: dict[Place, tuple[int, float]] = {}

    def sample(self, sample: Sample) -> None:
        """Take new ends."""
        for place in self._positions:
            if (end := sample.ends.get(place)) is not None:
                self._ends[place] = end
                self._targets.setdefault(place, (end, sample.asked_at))
                self._check(place)

    def at(self, place: Place, position: int) -> None:
        """Take the next offset to be read, markers and aborted records included."""
        if position > self._positions[place]:
            self._positions[place] = position
            self._check(place)

    def _check(self, place: Place) -> None:
        if (target := self._targets.get(place)) and self._positions[place] >= target[0]:
            self._caught_up[place] = max(self._caught_up[place], target[1])
            del self._targets[place]

    @property
    def caught_up(self) -> float:
        """The time up to which all partitions are read."""
        return min(self._caught_up.values())

    @property
    def behind(self) -> int:
        """Offsets still to be read, as of the latest sample."""
        return sum(max(0, end - self._positions[place]) for place, end in self._ends.items())


@dataclass(slots=True)
class _Partition:
    """One partition of the input, and the partition of the profiles that belongs to it."""

    committed: int | None = None
    """The latest known; kept when the group has none any more."""
    gone: bool = False
    metadata: OffsetMetadata = field(default_factory=OffsetMetadata)
    end: int = 0
    start: int = 0
    moved_at: float = 0.0
    """When the committed offset moved last, or there was nothing to read."""
    nothing_below: int = 0
    """From the committed offset up to this one there are markers and aborted records only."""
    probed: tuple[int, int] | None = None
    """Committed offset and end for which it was looked whether there is a record."""
    probing: bool = False
    has_record: bool = False
    stalled: bool = False

    @property
    def position(self) -> int:
        """Where the group goes on."""
        return max(self.start, self.committed or 0)

    @property
    def lag(self) -> int:
        return max(0, self.end - max(self.position, self.nothing_below))

    @property
    def waits(self) -> bool:
        """Whether there may be a record that the group has not committed."""
        return self.end > max(self.position, self.nothing_below)


class GroupWatch:
    """Watches the group's offsets, and how long its partitions stand still.

    Parameters
    ----------
    topic
        The input.
    starts
        The first offset of each of its partitions.
    stall_seconds
        How long a partition with records to read may stand still before that is told.
    violations, tell
        Where findings and warnings go.
    now
        The present time.
    """

    def __init__(
        self,
        topic: str,
        starts: Mapping[int, int],
        *,
        stall_seconds: float,
        violations: Violations,
        tell: Tell,
        now: float,
    ) -> None:
        self._topic = topic
        self._stall_seconds = stall_seconds
        self._violations = violations
        self._tell = tell
        self._partitions = {
            partition: _Partition(start=start, end=start, moved_at=now)
            for partition, start in starts.items()
        }

    def sample(self, sample: Sample) -> None:
        """Take the group's offsets and the ends of its input."""
        for number, partition in self._partitions.items():
            if (end := sample.ends.get((self._topic, number))) is not None:
                partition.end = end
            if (metadata := sample.metadata.get(number)) is not None:
                self._lost(number, partition, metadata)
            if number in sample.committed:
                self._committed(number, partition, sample.committed[number], sample.asked_at)
            if not partition.waits:
                partition.moved_at = sample.asked_at
            self._judge(number, partition, sample.asked_at)

    def _lost(self, number: int, partition: _Partition, metadata: OffsetMetadata) -> None:
        """Tell new losses and resets; a group that has lost its offsets forgets none."""
        before = partition.metadata
        told, now = (before.lost, before.resets), (metadata.lost, metadata.resets)
        if told == now or not any(now):
            return
        for sentence in metadata.losses(f"{self._topic}[{number}]"):
            self._tell(sentence)
        if metadata.begun_anew > before.begun_anew:
            # What is known of its offsets is of other records, or of an earlier reading of them.
            partition.committed, partition.start, partition.nothing_below = None, 0, 0
        partition.metadata = metadata

    def _committed(
        self, number: int, partition: _Partition, offset: int | None, now: float
    ) -> None:
        before, name = partition.committed, f"{self._topic}[{number}]"
        if offset is None:
            if before is not None and not partition.gone:
                partition.gone = True
                self._tell(
                    f"the group has no committed offset of {name} any more; it was {before}: "
                    "offsets are forgotten after offsets.retention.minutes without a member"
                )
            return
        partition.gone = False
        if before is not None and offset < before:
            self._violations.add(
                ViolationKind.OFFSET_WENT_BACK,
                name,
                f"the group's committed offset went back from {before} to {offset}, so it reads "
                "records again; fine only if somebody has reset it",
            )
            partition.nothing_below = 0
        if offset != before:
            partition.committed, partition.moved_at = offset, now

    def _judge(self, number: int, partition: _Partition, now: float) -> None:
        if partition.probed and partition.probed[0] != partition.position:
            partition.has_record, partition.probed = False, None
        resting = now - partition.moved_at
        stalled = partition.waits and partition.has_record and resting > self._stall_seconds
        if stalled and not partition.stalled:
            self._tell(
                f"STALLED {self._topic}[{number}]: {partition.lag:,} offsets behind, and the "
                f"group's offset {partition.committed} has not moved for {resting:.0f} s"
            )
        elif partition.stalled and not stalled:
            self._tell(f"{self._topic}[{number}] moves again")
        partition.stalled = stalled

    def suspects(self, now: float) -> dict[int, int]:
        """Give partitions that may have no record to read, and the offset where to look.

        Markers of transactions and aborted records take offsets, so an offset below the end may
        have nothing behind it. `probed` takes the answer.
        """
        found = {}
        for number, partition in self._partitions.items():
            offset = partition.position
            if (
                partition.waits
                and not partition.has_record
                and not partition.probing
                and now - partition.moved_at > min(_PROBE_SECONDS, self._stall_seconds)
                and partition.probed != (offset, partition.end)
            ):
                partition.probed, partition.probing = (offset, partition.end), True
                found[number] = offset
        return found

    def probed(self, number: int, record: bool, position: int, now: float) -> None:
        """Take whether there is a committed record at a suspect's offset.

        Parameters
        ----------
        number
            The partition.
        record
            Whether there is one.
        position
            Where looking ended, when there is none.
        now
            The present time.
        """
        partition = self._partitions[number]
        partition.probing, partition.has_record = False, record
        if not record:
            partition.nothing_below = max(partition.nothing_below, position)
            if not partition.waits:
                partition.moved_at = now

    @property
    def lag(self) -> int:
        """Offsets of the input that are not committed, and where there may be a record."""
        return sum(partition.lag for partition in self._partitions.values())

    @property
    def lost(self) -> int:
        """Records that are known to be lost before the group read them."""
        return sum(
            loss.records
            for partition in self._partitions.values()
            for loss in partition.metadata.lost.values()
        )

    @property
    def begun_anew(self) -> frozenset[int]:
        """Partitions of which an offset may name two records: their topic was made anew."""
        return frozenset(
            number
            for number, partition in self._partitions.items()
            if partition.metadata.begun_anew
        )

    @property
    def stalled(self) -> list[int]:
        """Partitions that stand still."""
        return [number for number, partition in self._partitions.items() if partition.stalled]
