"""Audits what is told of items and what the recommenders made of it.

Nothing lost or counted twice, from one topic to the next: events that name an item against
`item-events`, these against `item-profiles`, these against `recommendation-parts`, and these
against `segment-recommendations`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.settings import Settings
from consumer.stages.recommending.attributes import is_of_user
from consumer.stages.recommending.merging import PartBook, merged_parts
from consumer.stages.recommending.restoration import RecommenderRestoration
from consumer.verify.cut import Span, Spans, TopicReader
from consumer.verify.decode import MalformedError, refused_in
from consumer.verify.report import ViolationKind, Violations
from consumer.verify.whole import WholeAudit
from models.profiles.rows import hash_event_ids
from models.recommendation.partials import EVERYBODY, Partial, partial_of
from models.recommendation.parts import candidates_that_fit, decode_part, parts_of
from schemas.attribute_table import ATTRIBUTES_KEY, AttributeTable
from schemas.binary import RecordError
from schemas.intake import RefusedError
from schemas.item_events import read_item_event
from schemas.recommendations import SegmentRecommendations, recommendations_key

_MICROSECOND = timedelta(microseconds=1)
# Sums are added in another order than they were.
_CLOSE = 1e-6

Place = tuple[int, int]
"""Partition and offset in the input."""


@dataclass(slots=True)
class ToldItems:
    """What a partition of `item-events` has told.

    Attributes
    ----------
    counts
        Events by item, since it was withdrawn last.
    earliest, latest
        Event times, microseconds since 1970.
    most
        Items that were there at once, at most.
    """

    counts: Counter[str] = field(default_factory=Counter)
    earliest: int | None = None
    latest: int | None = None
    most: int = 0

    def note(self, item: str, time: int) -> None:
        """Count an event."""
        self.counts[item] += 1
        self.most = max(self.most, len(self.counts))
        self.earliest = time if self.earliest is None else min(self.earliest, time)
        self.latest = time if self.latest is None else max(self.latest, time)


class ItemAudit:
    """Takes records of the topics of items, then judges.

    Parameters
    ----------
    settings
        Topics, and how items are counted.
    partitions
        Of the topics of items.
    violations
        Where findings go.
    """

    def __init__(self, settings: Settings, partitions: int, violations: Violations) -> None:
        self._topics, self._policy = settings.topics, settings.recommendations
        self._violations = violations
        self._places: Counter[Place] = Counter()
        self._told: dict[int, ToldItems] = defaultdict(ToldItems)
        self._states = {
            number: RecommenderRestoration(settings.topics, number, self._policy.half_life)
            for number in range(partitions)
        }
        # When items of a partition were written last, milliseconds since 1970.
        self._changed: dict[int, int] = defaultdict(lambda: -1)
        self._published: dict[bytes, SegmentRecommendations] = {}
        self._table: AttributeTable | None = None
        self.unchecked: list[str] = []

    # --- records ----------------------------------------------------------------------------

    def event(self, record: Record, *, counted: bool) -> None:
        """Take a record of `item-events`; the recommenders are done with it or not."""
        told = self._told[record.partition]
        if not record.value:
            if counted:
                told.counts.pop((record.key or b"").decode(errors="replace"), None)
            return
        try:
            event = read_item_event(record.key, record.value)
        except RecordError as error:
            self._malformed(record, error)
            return
        self._places[event.partition, event.offset] += 1
        if counted:
            told.note(event.item, event.time)

    def state(self, record: Record) -> None:
        """Take a record of `item-profiles` or of `recommendation-parts`."""
        number = record.partition
        if record.topic == self._topics.item_profiles:
            self._changed[number] = max(self._changed[number], record.timestamp)
        try:
            if record.topic == self._topics.item_profiles:
                self._states[number].load(record)
            elif is_of_user(record):
                self._states[number].attributes.note(record)
            else:
                self._states[number].book.note(record)
        except StageError as error:
            self._malformed(record, error)

    def recommendation(self, record: Record) -> None:
        """Take a record of `segment-recommendations`."""
        key = record.key or b""
        self._published.pop(key, None)
        if key == ATTRIBUTES_KEY:
            self._attributes(record)
            return
        if record.value is None:
            return
        try:
            read = SegmentRecommendations.model_validate_json(record.value)
        except ValueError:
            self._malformed(record, "it is not as its contract says")
            return
        if key != recommendations_key(read.segment):
            self._violations.add(
                ViolationKind.WRONG_KEY,
                record.topic,
                f"{record.place} has another key than its segment",
            )
        self._published[key] = read

    def _attributes(self, record: Record) -> None:
        try:
            self._table = AttributeTable.model_validate_json(record.value or b"")
        except ValueError:
            self._malformed(record, "it is not as its contract says")

    def _malformed(self, record: Record, why: object) -> None:
        detail = f"{record.place} cannot be read: {why}"
        self._violations.add(ViolationKind.MALFORMED, record.topic, detail)

    # --- what must hold ---------------------------------------------------------------------

    def told_once(self) -> None:
        """Find events that are told of more than once."""
        for (partition, offset), times in self._places.items():
            if times > 1:
                self._violations.add(
                    ViolationKind.ITEM_REPEATED,
                    self._topics.item_events,
                    f"{self._topics.events}[{partition}]@{offset} is told of {times} times",
                )

    def _first_told(self) -> dict[int, int]:
        """Give the first event of each partition of the input that was told of."""
        first: dict[int, int] = {}
        for partition, offset in self._places:
            first[partition] = min(offset, first.get(partition, offset))
        return first

    def all_told(self, expected: Iterable[Place]) -> int:
        """Find events that counted, name an item and are not told of; give how many there are.

        Those before the first that was told of came before recommendations.enabled was set.
        """
        number, before, begins = 0, 0, self._first_told()
        for partition, offset in expected:
            number += 1
            if partition not in begins:
                before += 1
            elif offset >= begins[partition] and not self._places[partition, offset]:
                self._violations.add(
                    ViolationKind.ITEM_LOST,
                    self._topics.item_events,
                    f"{self._topics.events}[{partition}]@{offset} names an item and is not told of",
                )
        if before:
            self.unchecked.append(
                f"that {before:,} events that name an item are told of: none of their partitions "
                f"of {self._topics.events} is, so recommendations.enabled was not set by then, or "
                "all were lost"
            )
        return number

    def counted_once(self, *, whole: bool) -> None:
        """Find items whose state has not counted what was told of them.

        `whole` says whether all that was ever told is still there.
        """
        topic, silent = self._topics.item_profiles, self._policy.silent_after // _MICROSECOND
        # Which items fell silent goes by the latest event of all partitions that a recommender has.
        latest = max((each.latest for each in self._told.values() if each.latest), default=0)
        let_go = False
        for partition, state in self._states.items():
            told, items = self._told[partition], state.items
            counted = {}
            if len(items):
                held = items.table.held()
                names = items.table.items(held.seats)
                counted = dict(zip(names, held.numbers["events"].tolist(), strict=True))
            span = latest - (latest if told.earliest is None else told.earliest)
            complete = span <= silent and told.most <= self._policy.max_items
            let_go |= not complete
            for item in sorted(counted.keys() | told.counts.keys()):
                has, due = counted.get(item, 0), told.counts[item]
                if has == due or not whole or (has < due and not complete):
                    continue
                kind = ViolationKind.ITEM_REPEATED if has > due else ViolationKind.ITEM_LOST
                detail = f"{topic}[{partition}] has counted {has:,} of {due:,} events of an item"
                self._violations.add(kind, item, detail)
        if not whole:
            self.unchecked.append(
                f"that events of items count once: retention has removed the oldest records of "
                f"{self._topics.item_events}"
            )
        elif let_go:
            self.unchecked.append(
                "that no event of an item was lost: items were let go, with what was counted"
            )

    def given_away(self) -> None:
        """Find parts that are not what their partition's items come to."""
        topic = self._topics.recommendation_parts
        policy, behind = self._policy, 0
        given, given_at = self._given()
        for partition, state in self._states.items():
            items, own = state.items, given.get(partition, {})
            everybody = own.get(EVERYBODY)
            if items.latest is None and everybody is None:
                continue
            if (
                everybody is None
                or items.latest is None
                or items.latest > everybody.at
                or self._changed[partition] > given_at[partition]
            ):
                behind += 1
                continue
            candidates = candidates_that_fit(policy.candidates, items.table.dimensions)
            whole = partial_of(
                items.table, everybody.at, policy.half_life, candidates, faintest=policy.faintest
            )
            for segment, part in parts_of(whole, candidates).items():
                found = own.get(segment)
                if found is None or found.at != part.at or not _alike(found, part):
                    self._violations.add(
                        ViolationKind.RECOMMENDATION_DIFFERS,
                        topic,
                        f"part {segment}/{partition} is not what {self._topics.item_profiles}"
                        f"[{partition}] comes to",
                    )
        if behind:
            self.unchecked.append(
                f"parts of {behind:,} partitions: events were counted since they were given away"
            )

    def _given(self) -> tuple[dict[int, dict[int, Partial]], dict[int, int]]:
        """Read the latest parts by partition and segment, and when each partition gave its own."""
        found: dict[int, dict[int, Partial]] = defaultdict(dict)
        written: dict[int, int] = {}
        for home, state in self._states.items():
            for record in state.book.records:
                try:
                    part, partition = decode_part(record.key or b"", record.value or b"")
                except RecordError as error:
                    self._malformed(record, error)
                    continue
                segment = int(part.segments[-1])
                if segment != EVERYBODY or home == 0:
                    found[partition][segment] = part
                if segment == EVERYBODY:
                    written[partition] = record.timestamp
        return found, written

    def merged(self) -> None:
        """Find segments of which is published what their parts do not merge to."""
        topic, behind, due = self._topics.segment_recommendations, 0, 0
        for home, state in self._states.items():
            segments = [*state.book.segments, *([EVERYBODY] if home == 0 else [])]
            for segment in segments:
                wanted = self._merged(state.book, segment)
                if wanted is None:
                    continue
                due += 1
                key = recommendations_key(wanted.segment)
                found = self._published.get(key)
                if found is None or found.parts_end < wanted.parts_end:
                    behind += 1
                elif not _same(found, wanted):
                    self._violations.add(
                        ViolationKind.RECOMMENDATION_DIFFERS,
                        topic,
                        f"what is published of segment {key.decode()} is not what its parts come "
                        "to",
                    )
        if behind:
            self.unchecked.append(
                f"{behind:,} of {due:,} segments on {topic}: parts have come since"
            )

    def users_counted(self) -> None:
        """Find a table of users by attribute that is not what the records of users come to."""
        topic = self._topics.segment_recommendations
        for state in self._states.values():
            wanted = state.attributes.table()
            if not wanted.parts_end:
                continue
            if self._table is None or self._table.parts_end < wanted.parts_end:
                self.unchecked.append(f"users by attribute on {topic}: records have come since")
            elif self._table != wanted:
                self._violations.add(
                    ViolationKind.RECOMMENDATION_DIFFERS,
                    topic,
                    "the table of users by attribute is not what the sampled users come to",
                )

    def _merged(self, book: PartBook, segment: int) -> SegmentRecommendations | None:
        try:
            return merged_parts(book, segment, self._policy)
        except StageError as error:
            self._violations.add(
                ViolationKind.RECOMMENDATION_DIFFERS, self._topics.recommendation_parts, str(error)
            )
            return None


def _alike(found: Partial, wanted: Partial) -> bool:
    """Tell whether two parts are the same but for ties and for rounding."""
    for name in ("totals", "floors"):
        if not np.allclose(getattr(found, name), getattr(wanted, name), rtol=_CLOSE, atol=_CLOSE):
            return False
    theirs = dict(zip(found.items, found.weights.tolist(), strict=True))
    ours = dict(zip(wanted.items, wanted.weights.tolist(), strict=True))
    if any(not np.isclose(theirs[item], ours[item], rtol=_CLOSE) for item in theirs & ours.keys()):
        return False
    # Which of items that weigh the same is in is not told.
    return len(theirs) == len(ours)


def _same(found: SegmentRecommendations, wanted: SegmentRecommendations) -> bool:
    if found.as_of != wanted.as_of or len(found.items) != len(wanted.items):
        return False
    theirs = {item.item_id: item.score for item in found.items}
    return all(
        np.isclose(item.score, theirs.get(item.item_id, item.score), rtol=_CLOSE)
        for item in wanted.items
    ) and np.allclose(
        [item.score for item in found.items], [item.score for item in wanted.items], rtol=_CLOSE
    )


def audit_items(
    workers: TopicReader,
    reader: TopicReader,
    settings: Settings,
    partitions: Mapping[str, list[int]],
    audit: WholeAudit,
) -> None:
    """Hold the topics of items against the input and against each other.

    It takes some bytes for each event that names an item, and all items in memory.

    Parameters
    ----------
    workers, reader
        Of the group of the workers, and of that of the recommenders.
    settings
        Topics, how events are read, and how items are counted.
    partitions
        Of the topics.
    audit
        Where the findings go; they count whether the group of the workers moves or not.

    Raises
    ------
    VerifyError
        If a topic cannot be read.
    """
    topics = settings.topics
    states = (topics.item_profiles, topics.recommendation_parts)
    names = (topics.item_events, *states, topics.segment_recommendations)
    of_workers = workers.group(topics.events, partitions[topics.events])

    def stand() -> tuple[Mapping[int, int | None], dict[str, dict[int, Span]]]:
        group = reader.group(topics.item_events, partitions[topics.item_events])
        return group.offsets, reader.spans({name: partitions[name] for name in names})

    offsets, spans = stand()
    refused = set(_refused(reader, topics.dead_letters, topics.events, partitions))
    found = Violations()
    items = ItemAudit(settings, len(partitions[topics.item_events]), found)
    for record in reader.read(topics.item_events, spans[topics.item_events]):
        items.event(record, counted=record.offset < (offsets[record.partition] or 0))
    lost = any(span.low > 0 for span in spans[topics.item_events].values())
    items.told_once()
    inputs = reader.spans({topics.events: partitions[topics.events]})[topics.events]
    first = {number: each.first or 0 for number, each in of_workers.metadata.items()}
    if any(span.low > first.get(number, 0) for number, span in inputs.items()):
        reason = f"retention has removed the oldest records of {topics.events}"
        items.unchecked.append(f"that each event that names an item is told of: {reason}")
    else:
        done = {
            number: Span(first.get(number, 0), of_workers.offsets[number] or 0) for number in inputs
        }
        expected = _expected(reader.read(topics.events, _some(done)), settings, refused)
        number = items.all_told(expected)
        audit.notes.append(f"{number:,} events of {topics.events} name an item")
    for topic in states:
        for record in reader.read(topic, spans[topic]):
            items.state(record)
    topic = topics.segment_recommendations
    for record in reader.read(topic, spans[topic]):
        items.recommendation(record)
    later, then = stand()
    if later != offsets or any(then[name] != spans[name] for name in names[1:]):
        items.unchecked.append("what the recommenders keep and publish: they are at work")
    else:
        items.counted_once(whole=not lost)
        items.given_away()
        items.merged()
        items.users_counted()
    audit.in_changes.extend(found)
    audit.unchecked += items.unchecked


def _some(spans: Spans) -> dict[int, Span]:
    return {number: span for number, span in spans.items() if span.low < span.end}


def _refused(
    reader: TopicReader, topic: str, events: str, partitions: Mapping[str, list[int]]
) -> Iterator[Place]:
    spans = reader.spans({topic: partitions[topic]})[topic]
    for record in reader.read(topic, spans):
        with suppress(MalformedError):
            source, partition, offset = refused_in(record)
            if source == events:
                yield partition, offset


def _expected(
    records: Iterable[Record], settings: Settings, refused: set[Place]
) -> Iterator[Place]:
    """Give the places of events that counted and name an item: a user's first ones of each id."""
    intake, now = settings.events.intake(), datetime.now(UTC)
    seen: set[tuple[str, int]] = set()
    for record in records:
        place = record.partition, record.offset
        if place in refused:
            continue
        try:
            event, _ = intake.sift(record.value, record.key, now)
        except RefusedError:
            continue
        which = event.user_id, int(hash_event_ids([event.event_id])[0])
        if which in seen:
            continue
        seen.add(which)
        if event.item_id:
            yield place
