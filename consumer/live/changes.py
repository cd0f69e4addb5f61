"""The changes of segments: those that are meant, in the order in which they happened."""

from __future__ import annotations

import heapq
import json
import logging
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from confluent_kafka import KafkaException
from pydantic import ValidationError
from rich.cells import cell_len, set_cell_size

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster
from consumer.kafka.tail import Place, Tail
from consumer.kafka.topics import TopicError, TopicsMissingError, partition_counts
from consumer.live.segments import Segments, find_segment, listed, read_segments
from consumer.report.wording import one_line
from consumer.settings import Settings
from schemas.changes import ChangeStatus, SegmentChange, SegmentRef, cause_of

logger = logging.getLogger(__name__)

# A partition that is so many records ahead of the others is not read on until they have come up.
_AHEAD = 2000
_USER_CELLS = 20


class NothingFoundError(ExpectedError):
    """No change tells of the user or the segment that was named."""


class Published(NamedTuple):
    """A change, and its record."""

    change: SegmentChange
    record: Record

    def as_json(self) -> str:
        """Give it as it was published, in one line; escaped, so that it moves no cursor."""
        return json.dumps(json.loads(self.record.value or b""), separators=(",", ":"))


@dataclass(frozen=True)
class Wanted:
    """Which changes are meant; empty is all.

    Attributes
    ----------
    user
        Of this user alone.
    segment
        Into it, out of it, or within it, by its id.
    reasons, causes
        Of these alone.
    since
        Written from then on, by Kafka's index of times.
    from_now
        Written from now on.
    """

    user: str | None = None
    segment: int | None = None
    reasons: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    since: datetime | None = None
    from_now: bool = False

    def names(self, change: SegmentChange) -> bool:
        """Tell whether a change is of the user and the segment that are meant."""
        segments = {each.id for each in (change.segment, change.previous_segment) if each}
        return self.user in (None, change.user_id) and (
            self.segment is None or self.segment in segments
        )

    def takes(self, change: SegmentChange) -> bool:
        """Tell whether a change that is of these is meant besides, times apart."""
        return (not self.reasons or change.reason in self.reasons) and (
            not self.causes or cause(change) in self.causes
        )


def cause(change: SegmentChange) -> str | None:
    """Give whose doing a change is, also where it is from before changes told; None: not known."""
    if change.cause is None and change.is_known:
        return cause_of(change.reason, by_event=change.source is not None)
    return change.cause


class InOrder:
    """Gives what the partitions hold already in the order of its times, then what comes.

    Each partition is taken to be in order; one that runs ahead of the others waits, so that memory
    is bounded.
    """

    def __init__(self, tail: Tail, places: Iterable[Place]) -> None:
        self._tail = tail
        self._waiting: dict[Place, deque[Record]] = {place: deque() for place in places}
        self._heads: list[tuple[int, Place]] = []
        self._paused: set[Place] = set()
        self.caught_up = not self._waiting
        """Whether the ends of all partitions have been reached."""

    def poll(self, seconds: float) -> list[Record]:
        """Give the next records; raises as `Tail.poll`."""
        found = self._tail.poll(seconds)
        if self.caught_up:
            return sorted(found, key=lambda record: record.timestamp)
        for record in found:
            place = (record.topic, record.partition)
            if not self._waiting[place]:
                heapq.heappush(self._heads, (record.timestamp, place))
            self._waiting[place].append(record)
        given = self._drain()
        self._pace()
        return given

    def _drain(self) -> list[Record]:
        ended, given = self._tail.ended, []
        missing = any(not waiting and at not in ended for at, waiting in self._waiting.items())
        while self._heads and not missing:
            _, place = heapq.heappop(self._heads)
            waiting = self._waiting[place]
            given.append(waiting.popleft())
            if waiting:
                heapq.heappush(self._heads, (waiting[0].timestamp, place))
            else:
                missing = place not in ended
        self.caught_up = not self._heads and not missing
        return given

    def _pace(self) -> None:
        ahead = {place for place, waiting in self._waiting.items() if len(waiting) > _AHEAD}
        behind = {at for at in self._paused if self.caught_up or len(self._waiting[at]) < _AHEAD}
        self._tail.pause(ahead - self._paused)
        self._tail.resume(behind)
        self._paused = (self._paused | ahead) - behind


class Changes:
    """Reads `segment-changes` in no group.

    Parameters
    ----------
    settings
        How to reach the cluster, and names of topics.
    wanted
        Which changes are meant.

    Attributes
    ----------
    caught_up
        Whether all that was there has been given.
    named
        Whether a change was of the user and the segment that are meant, whatever its reason.

    Raises
    ------
    TopicError
        If there is no such topic, or the cluster does not answer.
    """

    def __init__(self, settings: Settings, wanted: Wanted) -> None:
        self._wanted = wanted
        self._user = None if wanted.user is None else wanted.user.encode()
        self.named = False
        self._unreadable = 0
        topic = settings.topics.changes
        cluster = Cluster(settings.kafka)
        count = counts_of(settings, [topic], cluster)[topic]
        try:
            if wanted.from_now:
                offsets = cluster.ends(topic, range(count))
            elif wanted.since is not None:
                milliseconds = round(wanted.since.timestamp() * 1000)
                offsets = cluster.offsets_at(topic, range(count), milliseconds)
            else:
                offsets = dict.fromkeys(range(count), 0)
        except KafkaException as error:
            raise TopicError(f"topic {topic} cannot be read: {words(error)}") from error
        starts = {(topic, number): offset for number, offset in offsets.items()}
        self._tail = Tail(settings.kafka, starts)
        self._records = InOrder(self._tail, starts)

    @property
    def caught_up(self) -> bool:
        """Whether all that was there has been given."""
        return self._records.caught_up

    def poll(self, seconds: float) -> list[Published]:
        """Give the next changes that are meant; raises as `Tail.poll`."""
        found = []
        for record in self._records.poll(seconds):
            if self._user not in (None, record.key):
                continue
            change = read_change(record)
            if change is None:
                self._unreadable += 1
                if self._unreadable == 1:
                    logger.warning("%s is no change, and is left out", record.place)
            elif self._wanted.names(change):
                self.named = True
                if self._wanted.takes(change):
                    found.append(Published(change, record))
        return found

    def close(self) -> None:
        """Stop reading."""
        self._tail.close()


def read_change(record: Record) -> SegmentChange | None:
    """Read a record as a change; None where it is none."""
    try:
        return SegmentChange.model_validate_json(record.value or b"")
    except ValidationError:
        return None


def counts_of(settings: Settings, topics: Collection[str], cluster: Cluster) -> dict[str, int]:
    """Give the number of partitions of topics that must be there.

    Raises
    ------
    TopicError
        If one is not, or the cluster does not answer.
    """
    there = partition_counts(settings, topics, cluster)
    if missing := [topic for topic in topics if topic not in there]:
        raise TopicsMissingError(
            missing,
            f"there is no topic {', '.join(missing)}: check the names in topics, or run 'segmenter "
            "topics create'",
        )
    return {topic: there[topic] for topic in topics}


class Named(NamedTuple):
    """A segment that was named, and the segments that there are."""

    segment: int
    segments: Segments


def named_segment(settings: Settings, text: str) -> Named:
    """Find the segment that is meant by an id or a name of today.

    Raises
    ------
    UsageError, TopicError
        If there is none of that name, or the topic cannot be read.
    """
    topic, cluster = settings.topics.segments, Cluster(settings.kafka)
    counts_of(settings, [topic], cluster)
    try:
        segments = read_segments(cluster, settings)
    except KafkaException as error:
        raise TopicError(f"topic {topic} cannot be read: {words(error)}") from error
    return Named(find_segment(text, segments), segments)


def nothing_found(topic: str, wanted: Wanted, named: Named | None) -> str | None:
    """Say that no change was of the user or the segment that is meant; None where none is."""
    if wanted.user is None and named is None:
        return None
    meant = []
    if wanted.user is not None:
        meant.append(f"of the user {one_line(repr(wanted.user))}")
    if named is not None:
        meant.append(f"of segment {named.segment}")
    said = f"{topic} has no change " + " and ".join(meant)
    if wanted.since is not None:
        said += f" since {wanted.since.isoformat()}"
    if named is not None and named.segment not in named.segments:
        said += f"; there is no such segment today: {listed(named.segments)}"
    return said


# --- for people ---------------------------------------------------------------------------------


def padded(text: str, cells: int) -> str:
    """Fill a text up to so many columns of a terminal; a Chinese character takes two."""
    return text + " " * (cells - cell_len(text))


def shortened(text: str, cells: int) -> str:
    """Make a text safe to show in one line of so many columns at most."""
    text = one_line(text, cells)
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + "…"


def move(change: SegmentChange, cells: int = 60) -> str:
    """Say from where a user went where, in one line; each name takes so many columns at most."""
    if change.status is ChangeStatus.LABELLED and change.label is not None:
        labels = (change.label.previous, change.label.name)
        told = " → ".join("none" if each is None else shortened(each, cells) for each in labels)
        return f"label {told}, in {_named(change.segment, cells)}"
    here = _named(change.segment, cells)
    if change.previous_segment is None:
        return f"→ {here}"
    return f"{_named(change.previous_segment, cells)} → {here}"


def _named(segment: SegmentRef | None, cells: int) -> str:
    return "none" if segment is None else f"{shortened(segment.label, cells)} ({segment.id})"


def line(change: SegmentChange) -> str:
    """Write a change in one line that is safe to print."""
    time = change.changed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    why: Sequence[str] = [
        one_line(str(change.reason), 40),
        *([] if change.source is None else [f"event {one_line(change.source.event_id, 80)}"]),
        *([] if change.confidence is None else [f"confidence {change.confidence:.2f}"]),
    ]
    user = padded(one_line(change.user_id, 80), _USER_CELLS)
    status = padded(one_line(str(change.status), 20), 8)
    return f"{time}  {user}  {status}  {move(change)}  {', '.join(why)}"
