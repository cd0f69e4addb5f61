"""What `segmenter watch` shows, gathered in rounds: how the group stands, and what comes meanwhile.

Everything is from Kafka, but what processes say that are named: how the group stands is what
`segmenter status` tells (`consumer.status`), the rest is read from the topics as it comes
(`consumer.kafka.tail`). So nothing of it rests on how long somebody has watched already.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from confluent_kafka import KafkaException
from pydantic_core import from_json

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster, TopicIdentity
from consumer.kafka.tail import Place, Tail
from consumer.kafka.topics import TopicError, TopicsMissingError
from consumer.live.changes import Published, counts_of, read_change
from consumer.live.segments import Segments
from consumer.settings import Settings
from consumer.status.facts import Status
from consumer.status.gather import Gatherer
from schemas.changes import SegmentRef
from schemas.dead_letters import read_dead_letter_headers

BINS = 20
"""Points of a segment's line over the window."""

MOST_MEMBERSHIPS = 1_000_000
"""Offsets of the memberships up to which all of them are read, in some 10 s and 100 MB; with more
than that sizes are those of the trainer's sample."""

_MOST_CHANGES = 20_000  # of a partition, however busy the window was
_LATEST = 200
_RATES = 120
_SLICE_SECONDS = 0.25
# Until all is read that there is, of a snapshot.
_UPTO_SECONDS = 60.0


class StoppedError(Exception):
    """Nobody watches any more."""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment as it is shown."""

    id: int
    name: str
    users: int
    history: tuple[int, ...]
    """Users at `BINS` points of the window, the last is now; relative to any beginning."""
    entered: int
    left: int
    """In the window."""


@dataclass(frozen=True)
class View:
    """All that is shown, at a moment.

    Attributes
    ----------
    status
        How the group stands; None before the first answer.
    trouble
        Why there is no newer one, None where nothing is wrong.
    at, minutes
        When it was put together, in seconds since 1970; how long the window is.
    sampled
        Whether users are those of the trainer's sample.
    reading
        Share of the memberships read so far; 1 once all are.
    segments
        By size.
    changes
        The latest, the newest first.
    refused
        Dead letters of the window, by reason.
    rates
        By role, records read a second in the latest rounds.
    """

    status: Status | None = None
    trouble: str | None = None
    at: float = 0.0
    minutes: float = 10.0
    sampled: bool = False
    reading: float = 0.0
    segments: tuple[SegmentRow, ...] = ()
    changes: tuple[Published, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Watcher:
    """Gathers, round after round; `view` may be looked at by another thread.

    Parameters
    ----------
    settings
        Of the group.
    workers
        Addresses, host:port, of processes to ask as well.
    minutes
        How far flows, lines and dead letters go back.
    stopped
        Asked now and then whether to stop.
    """

    def __init__(
        self,
        settings: Settings,
        workers: tuple[str, ...] = (),
        minutes: float = 10.0,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._gatherer = Gatherer(settings, workers)
        self._cluster = Cluster(settings.kafka)
        self._stopped = stopped
        self._window = minutes * 60
        self._tail: Tail | None = None
        self._topics: Mapping[str, TopicIdentity] = {}
        self._sampled = False
        self._rates: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RATES))
        self._begin_anew()
        self.view = View(minutes=minutes)

    def _begin_anew(self) -> None:
        if self._tail is not None:
            self._tail.close()
        self._tail = None
        self._starts: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}
        self._segments = Segments()
        self._members: dict[int, int] = {}
        self._sizes: Counter[int] = Counter()
        self._read = 0
        # By number of the bin since 1970.
        self._flows: dict[int, Counter[tuple[int, int]]] = {}
        self._refused: dict[int, Counter[str]] = {}
        self._labels: dict[int, str] = {}
        self._latest: deque[Record] = deque(maxlen=_LATEST)
        self._published: dict[Record, Published | None] = {}

    # --- rounds -----------------------------------------------------------------------------

    def round(self, seconds: float) -> None:
        """Gather once, and read on for so many seconds; what goes wrong is shown.

        Raises
        ------
        StoppedError
            If it was stopped meanwhile.
        """
        try:
            status = self._gather(seconds)
        except ExpectedError as error:
            if isinstance(error, TopicsMissingError):
                self._begin_anew()  # others of the same names may come
            self.view = replace(self.view, trouble=str(error), at=time.time())
            self._pause(seconds)
        else:
            self.view = replace(self._seen(), status=status, trouble=None)

    def once(self, seconds: float) -> View:
        """Gather once, when all was read that there is.

        Raises
        ------
        TopicError
            If topics are missing, or the cluster does not answer.
        """
        status = self._gather(seconds)
        deadline = time.monotonic() + _UPTO_SECONDS
        while self._tail and not self._tail.ended >= self._starts.keys():
            if time.monotonic() > deadline:
                break
            self._read_on(_SLICE_SECONDS)
        return replace(self._seen(), status=status)

    def close(self) -> None:
        """Stop reading."""
        self._begin_anew()

    def _gather(self, seconds: float) -> Status:
        self._open_if_new()
        status = self._gatherer.gather(seconds, self._read_on)
        for group in status.groups:
            if group.records_per_second is not None:
                self._rates[group.role].append(group.records_per_second)
        return status

    def _open_if_new(self) -> None:
        """Begin to read where nothing is read yet, or the topics are others by now.

        Raises
        ------
        TopicError
            If one is missing, or the cluster does not answer.
        """
        topics = self._settings.topics
        names = (topics.changes, topics.dead_letters, topics.segments, topics.memberships)
        try:
            counts_of(self._settings, names, self._cluster)
            found = self._cluster.identities(names)
            if self._tail is None or found != self._topics:
                self._begin_anew()
                self._open({name: each.partitions for name, each in found.items()})
                self._topics = found
        except KafkaException as error:
            raise _unread(error) from error

    def _open(self, counts: Mapping[str, int]) -> None:
        topics, starts = self._settings.topics, dict[Place, int]()
        since = round((time.time() - self._window) * 1000)
        for topic in (topics.changes, topics.dead_letters):
            numbers = range(counts[topic])
            ends = self._cluster.ends(topic, numbers)
            for number, offset in self._cluster.offsets_at(topic, numbers, since).items():
                starts[topic, number] = max(offset, ends[number] - _MOST_CHANGES)
        starts |= {(topics.segments, number): 0 for number in range(counts[topics.segments])}
        spans = self._cluster.spans(topics.memberships, range(counts[topics.memberships]))
        self._ends = {(topics.memberships, n): high for n, (_, high) in spans.items()}
        self._sampled = sum(high - low for low, high in spans.values()) > MOST_MEMBERSHIPS
        if not self._sampled:
            starts |= {(topics.memberships, n): low for n, (low, _) in spans.items()}
        self._starts = starts
        self._tail = Tail(self._settings.kafka, starts)

    def _pause(self, seconds: float) -> None:
        """Let time pass where nothing can be read."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if self._stopped():
                raise StoppedError
            time.sleep(min(left, _SLICE_SECONDS))

    def _read_on(self, seconds: float) -> None:
        """Read what comes for so many seconds, and show it every now and then."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            if self._stopped():
                raise StoppedError
            if self._tail is None:
                return
            slice_ends = time.monotonic() + min(left, _SLICE_SECONDS)
            while (rest := slice_ends - time.monotonic()) > 0:
                try:
                    records = self._tail.poll(rest)
                except KafkaException as error:
                    self._begin_anew()
                    raise _unread(error) from error
                for record in records:
                    self._take(record)
            self.view = replace(self._seen(), status=self.view.status, trouble=self.view.trouble)

    # --- records ----------------------------------------------------------------------------

    def _take(self, record: Record) -> None:
        topics = self._settings.topics
        if record.topic == topics.memberships:
            self._take_membership(record)
        elif record.topic == topics.changes:
            self._take_change(record)
        elif record.topic == topics.segments:
            self._segments.take(record)
        else:
            try:
                reason = str(read_dead_letter_headers(record.headers).reason)
            except ValueError:
                reason = "unreadable"
            self._refused.setdefault(self._bin(record), Counter())[reason] += 1

    def _take_membership(self, record: Record) -> None:
        self._read += 1
        user = hash(record.key)  # of 64 bits, where an id may have hundreds of characters
        if (before := self._members.pop(user, None)) is not None:
            self._sizes[before] -= 1
        to, _ = _segments_of(record) or (None, None)
        if to is not None:
            self._members[user] = to.id
            self._sizes[to.id] += 1

    def _take_change(self, record: Record) -> None:
        if (segments := _segments_of(record)) is None:
            return
        self._latest.append(record)
        to, former = segments
        for each in (to, former):
            if each is not None:
                self._labels[each.id] = each.label
        if _id(to) == _id(former):
            return
        flows = self._flows.setdefault(self._bin(record), Counter())
        if to is not None:
            flows[to.id, 1] += 1
        if former is not None:
            flows[former.id, -1] += 1

    @property
    def _bin_seconds(self) -> float:
        return self._window / BINS

    def _bin(self, record: Record) -> int:
        seconds = record.timestamp / 1000 if record.timestamp > 0 else time.time()
        return int(seconds // self._bin_seconds)

    # --- what is shown ----------------------------------------------------------------------

    def _seen(self) -> View:
        """Put together what was read, all but the status."""
        now = time.time()
        last = int(now // self._bin_seconds)
        for binned in (self._flows, self._refused):
            for old in [number for number in binned if number <= last - BINS]:
                del binned[old]
        refused: Counter[str] = Counter()
        for counts in list(self._refused.values()):
            refused += counts
        rows = [self._row(segment, last) for segment in self._shown()]
        return View(
            at=now,
            minutes=self._window / 60,
            sampled=self._sampled,
            reading=self._share_read(),
            segments=tuple(sorted(rows, key=lambda row: (-row.users, row.id))),
            changes=self._changes(),
            refused=dict(refused.most_common()),
            rates={role: tuple(rates) for role, rates in self._rates.items()},
        )

    def _changes(self) -> tuple[Published, ...]:
        """Give the latest changes, the newest first."""
        former, latest = self._published, list(self._latest)
        self._published = {
            record: former[record] if record in former else _read(record) for record in latest
        }
        found = (each for each in self._published.values() if each is not None)
        return tuple(sorted(found, key=lambda each: each.record.timestamp, reverse=True))

    def _shown(self) -> set[int]:
        """Give the segments there are, and those that somebody is in all the same."""
        return {*self._segments, *(segment for segment, users in self._sizes.items() if users > 0)}

    def _row(self, segment: int, last: int) -> SegmentRow:
        state = self._segments.get(segment)
        name = state.name if state else self._labels.get(segment, "")
        sampled = state.users if state else 0
        users = sampled if self._sampled else self._sizes[segment]
        entered = left = 0
        history = [users]
        for number in range(last, last - BINS, -1):
            flows = self._flows.get(number, Counter())
            into, out = flows[segment, 1], flows[segment, -1]
            entered, left = entered + into, left + out
            history.append(history[-1] - into + out)
        return SegmentRow(segment, name, users, tuple(history[:-1][::-1]), entered, left)

    def _share_read(self) -> float:
        """Give the share of the memberships that was read, as far as it can be told."""
        if self._sampled:
            return 1.0
        waiting = self._ends.keys() - (self._tail.ended if self._tail else set())
        if not waiting:
            return 1.0
        all_of_them = sum(end - self._starts[place] for place, end in self._ends.items())
        return min(self._read / max(all_of_them, 1), 0.99)


def _segments_of(record: Record) -> tuple[SegmentRef | None, SegmentRef | None] | None:
    """Give the segment of a change or a membership, and the one before; None of no such record.

    The rest of it is not looked at, which would be most of the time where there are many users.
    """
    try:
        told = from_json(record.value or b"null")
        to, former = told["segment"], told["previous_segment"]
        return _reference(to), _reference(former)
    except (ValueError, TypeError, KeyError):
        return None


def _reference(told: Mapping[str, object] | None) -> SegmentRef | None:
    return None if told is None else SegmentRef.model_validate(told)


def _read(record: Record) -> Published | None:
    change = read_change(record)
    return None if change is None else Published(change, record)


def _unread(error: KafkaException) -> TopicError:
    return TopicError(f"the topics cannot be read: {words(error)}")


def _id(segment: SegmentRef | None) -> int | None:
    return None if segment is None else segment.id
