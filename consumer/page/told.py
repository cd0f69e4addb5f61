"""What the page tells, computed of what is known: cards, sizes, flows, the latest days, quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np

from consumer.page.events import EventsSeen, Ratings, rated
from consumer.page.gathered import Change, Gathered
from consumer.page.places import NameOf, Places
from consumer.report.wording import one_line
from models.distances import Floats, Ints
from models.measures.agreement import Agreement, Confusion
from models.measures.internal import InternalMeasures, internal_measures
from models.measures.offline import offline_kmeans
from schemas.changes import ChangeReason, ChangeStatus
from schemas.lifecycle import LifecycleEvent, TransitionType
from schemas.segment_model import NO_SEGMENT

DAY = 86_400.0

_MOMENTS = 60
_USERS_OF_A_CARD = 5
TEXTS = 5
"""Typical texts of a segment at most."""

_LATEST = 25
_STARTS = 4
_LEAST_COMPARED = 20

# What can be said of a user who is moved although he did nothing.
MOVES = (ChangeStatus.ENTERED, ChangeStatus.SWITCHED, ChangeStatus.EXITED)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Users by segment over time.

    Attributes
    ----------
    times
        Moments, seconds since 1970, float64 (m,).
    segments
        Ids: those of today, and former ones that had users.
    users
        int64 (m, s).
    """

    times: Floats
    segments: list[int]
    users: Ints

    def of(self, segment: int) -> list[int]:
        """Give one segment's sizes."""
        counts: list[int] = self.users[:, self.segments.index(segment)].tolist()
        return counts


def sizes_over_time(found: Gathered) -> Sizes | None:
    """Follow sizes back from those of today, change by change; None without a change.

    So the latest ones are right also where the earliest changes are no longer kept. Sizes from
    before those are too large or too small by what is missing, and never below 0.
    """
    changes = [change for change in found.changes if change.status in MOVES]
    if not changes:
        return None
    today = Counter(found.users.segments.tolist())
    segments = sorted({*today, *(c.old for c in changes), *(c.new for c in changes)} - {NO_SEGMENT})
    place = {segment: row for row, segment in enumerate(segments)}
    times = np.linspace(changes[0].at, max(found.until, changes[-1].at), _MOMENTS)
    # A change counts from the first moment at or behind it; what came behind the last one there is
    # none of.
    steps = np.searchsorted(times, [change.at for change in changes])
    deltas = np.zeros((_MOMENTS + 1, len(segments)), np.int64)
    for step, change in zip(steps.tolist(), changes, strict=True):
        if change.new != NO_SEGMENT:
            deltas[step, place[change.new]] += 1
        if change.old != NO_SEGMENT:
            deltas[step, place[change.old]] -= 1
    now = np.array([today[segment] for segment in segments], np.int64)
    later = np.cumsum(deltas[::-1], axis=0)[::-1]
    return Sizes(times, segments, np.maximum(now - later[1:], 0))


@dataclass(frozen=True, slots=True)
class Flow:
    """Users who went from one segment to another; `NO_SEGMENT` for none."""

    old: int
    new: int
    by_user: int
    by_model: int

    @property
    def users(self) -> int:
        """How many moves there were."""
        return self.by_user + self.by_model


def flows(changes: Sequence[Change], since: float = -np.inf) -> list[Flow]:
    """Count moves between segments since a moment, the most frequent first; entries are none."""
    counts: Counter[tuple[int, int, bool]] = Counter()
    for change in changes:
        if change.at >= since and change.status == ChangeStatus.SWITCHED:
            counts[change.old, change.new, change.reason == ChangeReason.BEHAVIOUR] += 1
    ways = {(old, new) for old, new, _ in counts}
    found = [
        Flow(old, new, counts[old, new, True], counts[old, new, False]) for old, new in sorted(ways)
    ]
    return sorted(found, key=lambda flow: -flow.users)


@dataclass(frozen=True, slots=True)
class Lately:
    """What became of a segment since a moment.

    `others` counts those whom new versions of the segments moved in, less those moved out.
    """

    segment: int
    before: int
    after: int
    entered: int
    came: int
    went: int
    left: int
    others: int


def lately(found: Gathered, sizes: Sizes | None, since: float) -> list[Lately]:
    """Tell of each segment of today what it was at a moment and how it came to be what it is."""
    counts: Counter[tuple[str, int]] = Counter()
    for change in found.changes:
        if change.at < since:
            continue
        own = change.reason in (ChangeReason.BEHAVIOUR, ChangeReason.INACTIVE)
        if change.status == ChangeStatus.ENTERED:
            counts["entered", change.new] += 1
        elif change.status == ChangeStatus.EXITED:
            counts["left", change.old] += 1
        elif change.status == ChangeStatus.SWITCHED:
            counts["came" if own else "in", change.new] += 1
            counts["went" if own else "out", change.old] += 1
    today = Counter(found.users.segments.tolist())
    told = []
    for segment in sorted({*today, *([] if sizes is None else sizes.segments)} - {NO_SEGMENT}):
        kinds = {
            kind: counts[kind, segment] for kind in ("entered", "came", "went", "left", "in", "out")
        }
        others = kinds["in"] - kinds["out"]
        after = today[segment]
        more = kinds["entered"] + kinds["came"] - kinds["went"] - kinds["left"] + others
        others_apart = sum(kinds[kind] for kind in ("entered", "came", "went", "left"))
        if not (after or more or others_apart):
            continue  # of former times, or one that versions made and took back in these days
        told.append(
            Lately(
                segment,
                max(after - more, 0),
                after,
                kinds["entered"],
                kinds["came"],
                kinds["went"],
                kinds["left"],
                others,
            )
        )
    return sorted(told, key=lambda each: (-abs(each.after - each.before), each.segment))


@dataclass(frozen=True, slots=True)
class Card:
    """A segment, in figures.

    Attributes
    ----------
    trend
        Users more than at the beginning of the latest days; None where that is not known.
    line
        Its sizes over time.
    cohesion
        Mean distance of its users from the centre; None where it has none.
    separation
        Distance from the nearest other centre; None where there is no other.
    nearest
        Id of that other segment.
    sure
        Mean probability that users are in the right segment.
    active
        Users with an event in the latest days, counted back from the latest event of all: a stream
        that is read late is not all asleep.
    typical, edge
        Names of users near the centre, and of those who are the nearest to another segment.
    """

    id: int
    name: str
    words: list[str]
    users: int
    share: float
    trend: int | None
    line: list[int]
    cohesion: float | None
    separation: float | None
    nearest: int | None
    sure: float | None
    median_events: int
    active: int
    since: int
    ratings: Ratings | None
    texts: list[str]
    typical: list[str]
    edge: list[str]


def cards(
    found: Gathered,
    where: Places,
    *,
    sizes: Sizes | None,
    changed: Sequence[Lately],
    seen: EventsSeen | None,
    texts: Mapping[int, Sequence[str]],
    since: float,
    name_of: NameOf,
) -> list[Card]:
    """Give a card for each segment of today, the largest first."""
    if found.model is None:
        return []
    users, total = found.users, max(len(found.users), 1)
    ratings = {} if seen is None else rated(seen.ratings)
    moved = {each.segment: each.after - each.before for each in changed}
    starts = found.changes[0].at if found.changes else np.inf
    active = users.updated >= users.updated.max(initial=-np.inf) - (found.until - since)
    made = []
    for row, record in enumerate(found.model.segments):
        members = np.flatnonzero(where.rows == row)
        own = where.own[members]
        gap = None
        if len(where.ids) > 1:
            gaps = np.linalg.norm(where.centres - where.centres[row], axis=1)
            gaps[row] = np.inf
            gap = int(gaps.argmin())
        near = members[np.argsort(own, kind="stable")]
        near, rest = near[:_USERS_OF_A_CARD], np.sort(near[_USERS_OF_A_CARD:])
        edge = rest[np.argsort(where.other[rest] - where.own[rest], kind="stable")]
        made.append(
            Card(
                id=record.id,
                name=record.label,
                words=list(record.words),
                users=len(members),
                share=len(members) / total,
                trend=moved.get(record.id, 0) if starts < since else None,
                line=sizes.of(record.id) if sizes and record.id in sizes.segments else [],
                cohesion=float(own.mean()) if len(members) else None,
                separation=None if gap is None else float(gaps[gap]),
                nearest=None if gap is None else int(where.ids[gap]),
                sure=float(where.sure[members].mean()) if len(members) else None,
                median_events=int(np.median(users.events[members])) if len(members) else 0,
                active=int(active[members].sum()),
                since=record.since,
                ratings=ratings.get(record.id),
                texts=list(texts.get(record.id, ()))[:TEXTS],
                typical=_named(near, users.ids, name_of),
                edge=_named(edge, users.ids, name_of) if gap is not None else [],
            )
        )
    return sorted(made, key=lambda card: (-card.users, card.id))


def _named(rows: Ints, ids: Sequence[str], name_of: NameOf) -> list[str]:
    shown = (name_of(ids[row]) for row in rows.tolist())
    return list(islice((name for name in shown if name is not None), _USERS_OF_A_CARD))


def typical_texts(found: Gathered, seen: EventsSeen) -> dict[int, list[str]]:
    """Give texts of the events that were noted as typical, as far as the events are there."""
    texts: dict[int, list[str]] = {}
    for each in found.details.typical if found.details else ():
        text = seen.texts.get((each.user_id, each.event_id))
        own = texts.setdefault(each.segment, [])
        if text is not None and text not in own:
            own.append(text)
    return texts


# --- who moved ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Move:
    """A user's change, ready to be shown."""

    at: float
    user: str
    old: int
    new: int
    status: str
    reason: str
    margin: float | None
    confidence: float | None


def latest_moves(changes: Sequence[Change], name_of: NameOf) -> list[Move]:
    """Give the latest moves that users made themselves, the latest first."""
    own = (
        change
        for change in reversed(changes)
        if change.reason == ChangeReason.BEHAVIOUR and change.status != ChangeStatus.ENTERED
    )
    return [
        Move(
            *(change.at, name_of(change.user_id) or "", change.old, change.new, change.status),
            *(change.reason, change.margin, change.confidence),
        )
        for change in islice(own, _LATEST)
    ]


# --- whether it is to be trusted ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quality:
    """Segments beside what k-means makes of the same profiles when it sees them all at once.

    Attributes
    ----------
    users
        Users who were compared.
    ours, theirs
        Measures of either; None where there is nothing to measure.
    alike
        Agreement of the two; None where there is nothing to compare.
    sure
        Share of all users whose segment is right with a probability of 0.9 or more.
    changes
        Changes a user, the first one included.
    moved_twice
        Share of users with three changes or more: those who came, went and went on.
    """

    users: int
    ours: InternalMeasures | None
    theirs: InternalMeasures | None
    alike: Agreement | None
    sure: float | None
    changes: float
    moved_twice: float


def quality(found: Gathered, where: Places, rows: Ints) -> Quality:
    """Measure the segments on some users."""
    inside = rows[where.rows[rows] >= 0]
    vectors = found.users.vectors[inside].astype(np.float64)
    own, count = where.rows[inside], len(where.ids)
    ours = theirs = alike = None
    if len(inside) >= _LEAST_COMPARED:
        ours = internal_measures(vectors, own, where.centres)
        if 1 < count < len(inside):
            peer = offline_kmeans(vectors, count, starts=_STARTS)
            theirs = internal_measures(vectors, peer.rows, peer.centres)
            both = Confusion()
            for one, other in zip(own.tolist(), peer.rows.tolist(), strict=True):
                both.add(one, other)
            alike = both.agreement()
    sure = where.sure[where.rows >= 0]
    by_user = Counter(change.user_id for change in found.changes if change.status in MOVES)
    total = max(len(by_user), 1)
    return Quality(
        len(inside),
        ours,
        theirs,
        alike,
        float((sure >= 0.9).mean()) if len(sure) else None,
        by_user.total() / total,
        sum(count >= 3 for count in by_user.values()) / total,
    )


@dataclass(frozen=True, slots=True)
class Labelled:
    """Users by label and segment.

    `counts[i][j]` are those of `labels[i]` in `segments[j]`.
    """

    against: str
    labels: list[str]
    segments: list[int]
    counts: list[list[int]]
    agreement: Agreement


_MOST_LABELS = 30


def labelled(
    found: Gathered, where: Places, labels: Mapping[str, Hashable], against: str
) -> Labelled | None:
    """Compare segments with labels by user; None where there are none of users in a segment."""
    both = Confusion()
    for user, row in zip(found.users.ids, where.rows.tolist(), strict=True):
        if row >= 0 and (name := labels.get(user)) is not None:
            both.add(str(name), int(where.ids[row]))
    if (agreement := both.agreement()) is None:
        return None
    counts = both.counts()
    names, columns = [str(each) for each in both.labels], [int(str(s)) for s in both.segments]
    order = sorted(range(len(names)), key=lambda i: (-int(counts[i].sum()), names[i]))
    order = order[:_MOST_LABELS]
    # Each segment beside the label that most of its users have.
    across = sorted(
        range(len(columns)),
        key=lambda j: (int(counts[order, j].argmax()), -int(counts[order, j].max())),
    )
    return Labelled(
        against,
        [one_line(names[i], 60) for i in order],
        [columns[j] for j in across],
        counts[np.ix_(order, across)].tolist(),
        agreement,
    )


# --- in words -----------------------------------------------------------------------------------

_REASONS = {
    ChangeReason.BEHAVIOUR: "their own events",
    ChangeReason.FIRST_ASSIGNMENT: "the first version that has a segment for them",
    ChangeReason.MODEL_UPDATE: "a new version: lines run elsewhere",
    ChangeReason.SEGMENT_MERGED: "a new version: segments merged",
    ChangeReason.SEGMENT_SPLIT: "a new version: a segment split",
    ChangeReason.ROLLBACK: "an operator took an earlier version back",
    ChangeReason.LABEL_CHANGED: "another label",
    ChangeReason.INACTIVE: "silence",
}


@cache
def reason_in_words(reason: str) -> str:
    """Say why a change happened; a reason that this version does not know stays as it is."""
    return _REASONS.get(ChangeReason(reason), reason) if reason in set(ChangeReason) else reason


def tell_life(event: LifecycleEvent, label: Callable[[int], str]) -> str:
    """Tell in a few words what became of a segment.

    Parameters
    ----------
    event
        What happened.
    label
        Gives what a segment is called, by its id.
    """

    def names(segments: Iterable[int]) -> str:
        return ", ".join(f"{segment} ({label(segment)})" for segment in segments)

    if event.type is TransitionType.SPLIT:
        return f"split into {names(event.children)}"
    if event.type is TransitionType.MERGED:
        return f"made of {names(event.parents)}"
    if event.type is TransitionType.RETIRED:
        taken = "" if event.successor is None else f", taken over by {names([event.successor])}"
        return f"retired{taken}"
    if event.type is TransitionType.RENAMED:
        return f"renamed from {event.previous_label}"
    if event.type is not TransitionType.CREATED:
        return event.type.value
    return f"created from {names(event.parents)}" if event.parents else "created"
