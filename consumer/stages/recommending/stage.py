"""The recommender's stage: from events of items to what leads in each segment.

Reading order: `prepare` reads records, `apply` counts events for their items, `maintain` lets go of
items, gives away what the partition knows (`recommendation-parts`) at an interval, where the stream
pauses and where an item was withdrawn, and merges the parts of all partitions for the segments
whose parts lie with this one.

An item's events are on one partition, so its state is there, whole. What leads in a segment is
spread over all. So each partition writes a part for each segment, and whoever has the partition of
the parts' topic that a segment's parts are on merges them: no process has to know all items. A part
is all there is to know under its key, so to read one again does no harm.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from consumer.contract.figures import Figures
from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.recommending.attributes import CountedUsers, is_of_user
from consumer.stages.recommending.feed import Feed, read_feed
from consumer.stages.recommending.items import ItemState, Move
from consumer.stages.recommending.merging import PartBook, merged_output
from consumer.stages.recommending.restoration import RecommenderRestoration
from models.recommendation.partials import EVERYBODY, partial_of
from models.recommendation.parts import candidates_that_fit, encode_part, part_key, parts_of

logger = logging.getLogger(__name__)

_MICROSECOND = timedelta(microseconds=1)
# Segments merged in one piece of work.
_MERGED_AT_ONCE = 4
# Of the items that are too many more are let go than have to be, so that it is seldom done.
_ROOM = 0.05
# Items let go in one transaction.
_LET_GO_AT_ONCE = 4000


@dataclass(slots=True)
class RecommenderStats:
    """Totals since the start, of committed work only."""

    events: int = 0
    passed_over: int = 0
    withdrawn: int = 0
    let_go: Counter[str] = field(default_factory=Counter)
    """Items that left, by why: `silent`, `too_many`."""
    parts: int = 0
    published: int = 0

    def add(self, other: RecommenderStats) -> None:
        """Add another's totals."""
        self.events += other.events
        self.passed_over += other.passed_over
        self.withdrawn += other.withdrawn
        self.let_go.update(other.let_go)
        self.parts += other.parts
        self.published += other.published


@dataclass(frozen=True, slots=True)
class PreparedFeed:
    """A batch: events of items by partition, and parts."""

    feeds: dict[int, Feed]
    parts: tuple[Record, ...]


class RecommenderStage:
    """Keeps the items of its partitions and publishes what leads in each segment.

    Parameters
    ----------
    settings
        Topics, and how items are counted.
    partitions
        Of `topics.item_events`, and of the topics beside it.
    clock
        Gives seconds that do not go back.
    """

    restore_after_abort = False
    fixed_partitions = True

    def __init__(
        self, settings: Settings, partitions: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.inputs = (settings.topics.item_events, settings.topics.recommendation_parts)
        self.stats = RecommenderStats()
        self._topics = settings.topics
        self._policy = settings.recommendations
        self._partitions = partitions
        self._clock = clock
        self._interval = round(settings.recommendations.interval_hours * 3_600_000_000)
        # By partition, by the clock: when it gave last, and since when it has something to give.
        self._given_at: dict[int, float] = {}
        self._moved_since: dict[int, float] = {}
        self._items: dict[int, ItemState] = {}
        self._books: dict[int, PartBook] = {}
        self._users = CountedUsers(settings, clock)
        self._moves: list[Move] = []
        self._noted: list[tuple[int, Record]] = []
        self._gave: list[tuple[int, int]] = []
        self._merged: list[tuple[int, int]] = []
        self._pending = RecommenderStats()

    # --- partitions -------------------------------------------------------------------------

    def restoration(self, partition: int) -> RecommenderRestoration:
        """Begin to read back a partition's items, and the parts that lie with it."""
        return RecommenderRestoration(self._topics, partition, self._policy.half_life)

    def assigned(self, partition: int, restoration: RecommenderRestoration) -> None:
        """Take over a partition."""
        items, given = restoration.items, restoration.book.given(partition)
        if given is not None:
            # Items that have left since must not stay in what was given away of them.
            items.go_on(given.at, given.vectors.shape[1], given.give)
        self._items[partition] = items
        self._books[partition] = restoration.book
        self._users.assigned(partition, restoration.attributes)
        logger.info(
            "recommender of partition %d: %d items, parts of %d segments",
            partition,
            len(restoration.items),
            len(restoration.book.segments),
        )

    def revoked(self, partition: int) -> None:
        """Let go of a partition."""
        self._items.pop(partition, None)
        self._books.pop(partition, None)
        self._users.revoked(partition)
        self._given_at.pop(partition, None)
        self._moved_since.pop(partition, None)

    # --- the way of an event ----------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> PreparedFeed:
        """Read events of items as columns; touches no state."""
        topic = self._topics.item_events
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            if record.topic == topic:
                by_partition.setdefault(record.partition, []).append(record)
        return PreparedFeed(
            {number: read_feed(own) for number, own in by_partition.items()},
            tuple(record for record in records if record.topic != topic),
        )

    def apply(self, prepared: PreparedFeed, partitions: frozenset[int]) -> Sequence[Output]:
        """Count events for their items."""
        outputs: list[Output] = []
        for partition, feed in prepared.feeds.items():
            if partition not in partitions:
                continue
            move = self._items[partition].move(feed, self._policy)
            self._moves.append(move)
            self._pending.events += move.events
            self._pending.withdrawn += move.withdrawn
            self._pending.passed_over += feed.passed_over
            outputs += self._written(partition, move)
        self._noted += [
            (record.partition, record)
            for record in prepared.parts
            if record.partition in partitions
        ]
        return outputs

    def _written(self, partition: int, move: Move) -> Iterator[Output]:
        topic = self._topics.item_profiles
        for item, value in move.records():
            yield Output(topic, item.encode(), value, (), partition)

    # --- its own work -----------------------------------------------------------------------

    def maintain(self, *, idle: bool) -> Sequence[Output] | None:
        """Let items go, give away a partition's parts where they are due, or merge some."""
        for partition, items in self._items.items():
            if len(items) > self._policy.max_items * (1 + _ROOM):
                return self._let_go(partition, items, items.latest or 0)
            if (at := self._due(partition, items, idle=idle)) is not None:
                # The parts follow in a later piece, when these items are gone.
                return self._let_go(partition, items, at) or self._give(partition, items, at)
        outputs: list[Output] = []
        for partition, book in self._books.items():
            for segment in book.dirty[: _MERGED_AT_ONCE - len(self._merged)]:
                outputs += self._merge(partition, book, segment)
        outputs += self._users.maintain(idle=idle)
        return outputs or ([] if self._merged else None)

    def _due(self, partition: int, items: ItemState, *, idle: bool) -> int | None:
        """Give the time that a partition's parts are to be of; None where none are due.

        A partition may be quiet while others are busy, and then the stream never pauses. So the
        interval is that of the latest event of all partitions here, and passes by the clock too.
        """
        if items.latest is None or not items.moved:
            return None
        policy, now = self._policy, self._clock()
        since = self._moved_since.setdefault(partition, now)
        last = self._given_at.get(partition)
        if last is not None and now - last < policy.min_interval_seconds:
            return None
        # Never of an earlier time than those before.
        at = items.latest if items.given is None else max(items.latest, items.given)
        if idle or items.withdrawn or now - since >= 3600 * policy.interval_hours:
            return at
        latest = max(each.latest for each in self._items.values() if each.latest is not None)
        begun = latest // self._interval * self._interval
        return begun if items.given is None or begun > items.given else None

    def _let_go(self, partition: int, items: ItemState, at: int) -> list[Output]:
        """Let some of the items go that fell silent or are too many; none where there are none."""
        policy, table = self._policy, items.table
        silent = table.silent(at - policy.silent_after // _MICROSECOND)
        leaving = dict.fromkeys(silent, "silent")
        if len(table) - len(leaving) > policy.max_items:
            most = round(policy.max_items * (1 - _ROOM))
            for item in table.lightest(most, at, policy.half_life):
                leaving.setdefault(item, "too_many")
        leaving = dict(islice(leaving.items(), _LET_GO_AT_ONCE))
        if not leaving:
            return []
        self._moves.append(items.without(leaving))
        self._pending.let_go.update(leaving.values())
        topic = self._topics.item_profiles
        return [Output(topic, item.encode(), None, (), partition) for item in leaving]

    def _give(self, partition: int, items: ItemState, at: int) -> list[Output]:
        """Write what a partition's items come to as parts, that of all users last."""
        policy, table = self._policy, items.table
        candidates = candidates_that_fit(policy.candidates, table.dimensions)
        partial = partial_of(table, at, policy.half_life, candidates, faintest=policy.faintest)
        parts = parts_of(replace(partial, give=items.give + 1), candidates)
        self._gave.append((partition, at))
        self._pending.parts += len(parts)
        topic = self._topics.recommendation_parts
        outputs = []
        for segment in [*(each for each in parts if each != EVERYBODY), EVERYBODY]:
            key, value = part_key(segment, partition), encode_part(parts[segment], partition)
            everywhere = range(self._partitions)
            home = everywhere if segment == EVERYBODY else [segment % self._partitions]
            outputs += [Output(topic, key, value, (), number) for number in home]
        return outputs

    def _merge(self, partition: int, book: PartBook, segment: int) -> list[Output]:
        self._merged.append((partition, segment))
        output = merged_output(book, segment, self._policy, self._topics.segment_recommendations)
        self._pending.published += 1
        return [output]

    # --- the end of a transaction -----------------------------------------------------------

    def committed(self) -> None:
        """Make what was computed the state."""
        for move in self._moves:
            move.take_effect()
        for partition, record in self._noted:
            if is_of_user(record):
                self._users.note(partition, record)
            else:
                self._books[partition].note(record)
        for partition, at in self._gave:
            self._items[partition].gave(at)
            self._given_at[partition] = self._clock()
            self._moved_since.pop(partition, None)
        for partition, segment in self._merged:
            self._books[partition].merged(segment)
        self._users.committed()
        self.stats.add(self._pending)
        self._clear()

    def aborted(self) -> None:
        """Forget it."""
        self._users.aborted()
        self._clear()

    def _clear(self) -> None:
        self._moves, self._noted, self._gave, self._merged = [], [], [], []
        self._pending = RecommenderStats()

    # --- what it tells ------------------------------------------------------------------------

    @property
    def items(self) -> dict[int, ItemState]:
        """Items by partition; not to be written."""
        return self._items

    @property
    def settled(self) -> bool:
        """Whether all that was counted is given away and merged."""
        return (
            not any(items.moved for items in self._items.values())
            and not any(book.dirty for book in self._books.values())
            and self._users.settled
        )

    def figures(self) -> Figures:
        """Give the figures for the metrics."""
        stats, items = self.stats, list(self._items.values())
        yield "item_events", stats.events
        yield "item_records_passed_over", stats.passed_over
        yield "items", sum(map(len, items))
        yield "items_bytes", sum(each.bytes for each in items)
        yield (
            "items_let_go",
            {why: stats.let_go[why] for why in ("silent", "too_many")}
            | {"withdrawn": stats.withdrawn},
        )
        yield "recommendation_parts", stats.parts
        yield "recommendations_published", stats.published
        latest = [each.latest for each in items if each.latest is not None]
        yield "items_latest_event_timestamp_seconds", max(latest) / 1e6 if latest else 0
