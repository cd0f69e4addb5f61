"""Puts the page together: what is known, what the events add, and what is computed of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import numpy as np

from consumer.offline.observed import LENGTHS, DriftFound
from consumer.offline.outcome import Counts
from consumer.page import told
from consumer.page.by_words import WordsFound, by_words
from consumer.page.charts import Look, Spec, changes_chart, flows_chart, map_chart, sizes_chart
from consumer.page.events import EventsSeen
from consumer.page.gathered import Change, Gathered, RefusedReason
from consumer.page.graph import kinds_of, relations_chart
from consumer.page.items import ItemList, Related, item_lists, related
from consumer.page.places import NameOf, Places, Projection, drawn, names, places, points
from consumer.report.wording import day, one_line, plural
from consumer.settings.commands import USES
from consumer.settings.report import ReportSettings
from models.distances import Floats, Ints
from schemas.changes import ChangeStatus
from schemas.lifecycle import LifecycleEvent
from schemas.segment_model import NO_SEGMENT

_LIVES = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page is to be like.

    Attributes
    ----------
    days
        The latest days that are told of by themselves.
    projection
        From profiles to a plane.
    label
        The field of labels that was named; None for none.
    labels, against
        Labels by user where they come from elsewhere, and what they are.
    source
        Where all comes from, in a few words; None leaves that to the topics or the folder.
    command
        What tells why a user moved.
    """

    days: float = 7.0
    projection: Projection = "pca"
    label: str | None = None
    labels: Mapping[str, Hashable] = field(default_factory=dict)
    against: str = ""
    source: str | None = None
    command: str = "segmenter explain" if "explain" in USES else "segmenter profile"


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a table with a bar."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class DriftRow:
    """A statistic beside its threshold; `where` is the segment that it is of."""

    where: str
    test: str
    statistic: float
    threshold: float

    @property
    def alarm(self) -> bool:
        """Whether it is over the threshold."""
        return self.statistic > self.threshold


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """All that the template shows; `charts` by the id of the element that they are drawn in."""

    title: str
    source: str
    until: str
    days: str
    made: str
    version: int | None
    counts: Counts
    refused: Sequence[RefusedReason]
    cards: Sequence[told.Card]
    outside: int
    look: Look
    words: WordsFound
    items: Sequence[ItemList]
    related: Sequence[Related]
    kinds: Sequence[str]
    changed: Sequence[told.Lately]
    whole_history: bool
    moves: Sequence[told.Move]
    lives: Sequence[tuple[LifecycleEvent, str]]
    flows: Sequence[told.Flow]
    flows_lately: Sequence[told.Flow]
    sizes: Sequence[tuple[str, Sequence[tuple[str, int]]]]
    quality: told.Quality
    labelled: told.Labelled | None
    drift: DriftFound | None
    drift_rows: Sequence[DriftRow]
    types: Sequence[Bar]
    languages: Sequence[Bar]
    lengths: Sequence[Bar]
    repeated_lengths: bool
    changes_by_kind: Sequence[Bar]
    map_said: str
    on_map: int
    all_users: int
    ids: str
    texts: bool
    command: str
    notes: dict[str, str] = field(default_factory=dict)
    charts: dict[str, Spec] = field(default_factory=dict)


def compose(
    found: Gathered,
    settings: ReportSettings,
    asked: Asked,
    *,
    seen: EventsSeen | None = None,
    texts: dict[int, list[str]] | None = None,
    now: datetime | None = None,
) -> Page:
    """Compute all that the page shows.

    Parameters
    ----------
    found
        What is known.
    settings
        What may be shown of users.
    asked
        What the page is to be like.
    seen
        What the events themselves add; None where they were not read.
    texts
        Typical texts by segment; None where none are to be shown.
    now
        When the page is made; the clock by default.
    """
    name_of = names(settings.ids)
    where = places(found.users, found.model)
    since = found.until - asked.days * told.DAY
    sizes = told.sizes_over_time(found)
    changed = told.lately(found, sizes, since)
    made = told.cards(
        found,
        where,
        sizes=sizes,
        changed=changed,
        seen=seen,
        texts=(texts or {}) if settings.texts else {},
        since=since,
        name_of=name_of,
    )
    look = Look(found.names, [card.id for card in made])
    rows = drawn(found.users, settings.users)
    plane = points(found.users.vectors[rows], asked.projection)
    whole = not found.changes or found.changes[0].at >= since
    ways = told.flows(found.changes)
    recent = [] if whole else told.flows(found.changes, since)
    labels, against = _labels(found, seen, asked)
    labelled = told.labelled(found, where, labels, against)
    title = f"{plural(len(found.users), 'user')} in {plural(len(made), 'segment')}"
    pairs = related(found, where, ways)
    page = Page(
        title=title,
        source=asked.source or found.source,
        until=_day(found.until) if found.until else "no event yet",
        days=plural(round(asked.days), "day") if asked.days >= 1 else f"{asked.days:g} days",
        made=f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=None if found.model is None else found.model.version,
        counts=found.counts,
        refused=found.refused,
        cards=made,
        outside=int((where.rows < 0).sum()),
        look=look,
        words=by_words(found.users, where, look.order),
        items=item_lists(found.recommendations, look.order),
        related=pairs,
        kinds=kinds_of(pairs),
        changed=changed,
        whole_history=whole,
        moves=told.latest_moves(found.changes, name_of),
        lives=_lives(found),
        flows=ways,
        flows_lately=recent,
        sizes=_sizes_table(sizes, look),
        quality=told.quality(found, where, rows),
        labelled=labelled,
        drift=found.details.drift if found.details else None,
        drift_rows=_drift(found.details.drift if found.details else None, look),
        types=_bars((seen.types if seen else None) or (_types(found) or {})),
        languages=_bars(found.details.languages if found.details else {}),
        lengths=_lengths(found, seen),
        repeated_lengths=seen is None,
        changes_by_kind=_bars(Counter(_kind(change) for change in found.changes)),
        map_said=plane.said,
        on_map=len(rows),
        all_users=len(found.users),
        ids=settings.ids,
        texts=settings.texts,
        command=asked.command,
        notes=dict(found.notes),
    )
    page.charts.update(
        _charts(found, page, where, sizes, rows=rows, plane=plane.xy, name_of=name_of)
    )
    return page


def _labels(
    found: Gathered, seen: EventsSeen | None, asked: Asked
) -> tuple[Mapping[str, Hashable], str]:
    """Give the labels to compare with and what they are: as named, else those that were given."""
    if asked.labels:
        return asked.labels, asked.against
    if seen is not None and asked.label is not None:
        field_name = one_line(asked.label, 60)
        return seen.labels, f"the field {field_name} of the events, each user's commonest value"
    users = found.users
    given = {user: label for user, label in zip(users.ids, users.given, strict=True) if label}
    return given, "the labels that were given on segment-labels"


def _charts(
    found: Gathered,
    page: Page,
    where: Places,
    sizes: told.Sizes | None,
    *,
    rows: Ints,
    plane: Floats,
    name_of: NameOf,
) -> dict[str, Spec]:
    charts: dict[str, Spec | None] = {}
    if len(rows):
        charts["map"] = map_chart(
            _map_rows(found, page, where, rows=rows, plane=plane, name_of=name_of),
            page.look,
            f"A map of {page.on_map:,} users, coloured by segment; the table below it has the same",
        )
    if sizes is not None:
        charts["sizes"] = sizes_chart(sizes, page.look, "Users by segment over time")
    charts["changes"] = changes_chart(
        [(change.at, _kind(change)) for change in found.changes], "Changes of segment over time"
    )
    charts["relations"] = relations_chart(
        page.related,
        {card.id: card.users for card in page.cards},
        page.look,
        "How segments are related; the table below it has the same",
    )
    charts["flows"] = flows_chart(page.flows, page.look, "Moves between segments, all of them")
    charts["lately"] = flows_chart(
        page.flows_lately, page.look, f"Moves between segments of the latest {page.days}"
    )
    return {name: spec for name, spec in charts.items() if spec is not None}


def _map_rows(
    found: Gathered,
    page: Page,
    where: Places,
    *,
    rows: Ints,
    plane: Floats,
    name_of: NameOf,
) -> list[dict[str, object]]:
    """Give what the map tells of each user."""
    users, shown = found.users, set(rows.tolist())
    name = cache(page.look.name)
    latest = {change.user_id: change for change in found.changes}  # in the order of their times
    told_rows = []
    for place, row in enumerate(sorted(shown)):
        user = users.ids[row]
        own, nxt = int(where.rows[row]), int(where.next_rows[row])
        segment = int(where.ids[own]) if own >= 0 else NO_SEGMENT
        change = latest.get(user)
        told_rows.append(
            {
                "x": round(float(plane[place, 0]), 3),
                "y": round(float(plane[place, 1]), 3),
                "segment": segment,
                "in": name(segment),
                "name": name_of(user),
                "events": int(users.events[row]),
                "sure": None if own < 0 else round(float(where.sure[row]), 3),
                "next": name(int(where.ids[nxt])) if nxt >= 0 else "",
                "latest": _short_day(float(users.updated[row])),
                "moved": ""
                if change is None
                else f"{_short_day(change.at)}: {change.status}"
                + (f" from {change.old}" if change.old != NO_SEGMENT else "")
                + f", by {told.reason_in_words(change.reason)}",
            }
        )
    return told_rows


def _lives(found: Gathered) -> list[tuple[LifecycleEvent, str]]:
    """Give the latest lives of segments, the latest first."""

    def label(segment: int) -> str:
        return one_line(found.names.get(segment, f"former segment {segment}"), 60)

    return [(event, told.tell_life(event, label)) for event in found.lifecycle[::-1][:_LIVES]]


def _sizes_table(sizes: told.Sizes | None, look: Look) -> list[tuple[str, list[tuple[str, int]]]]:
    """Give the sizes at a few moments: the table behind the chart."""
    if sizes is None:
        return []
    some = np.unique(np.linspace(0, len(sizes.times) - 1, 6).astype(np.int64)).tolist()
    order = sorted(sizes.segments, key=lambda each: -sizes.of(each)[-1])
    return [
        (
            look.name(segment),
            [(_short_day(float(sizes.times[at])), sizes.of(segment)[at]) for at in some],
        )
        for segment in order
    ]


def _drift(drift: DriftFound | None, look: Look) -> list[DriftRow]:
    if drift is None:
        return []
    rows = [
        DriftRow("all users", test, each.statistic, each.threshold)
        for test, each in drift.tests.items()
    ]
    return rows + [
        DriftRow(look.name(segment), test, each.statistic, each.threshold)
        for segment, tests in drift.segments.items()
        for test, each in tests.items()
    ]


def _types(found: Gathered) -> dict[str, int] | None:
    return found.details.types if found.details else None


def _bars(counts: Counter[str] | dict[str, int]) -> list[Bar]:
    order = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [Bar(one_line(str(name), 60), count) for name, count in order if count]


def _lengths(found: Gathered, seen: EventsSeen | None) -> list[Bar]:
    if seen is not None:
        counts: Iterable[int] = (seen.lengths[each] for each in range(len(LENGTHS)))
    elif found.details is not None:
        counts = found.details.lengths
    else:
        return []
    ends = [f"to {end - 1:,}" for end in LENGTHS[1:]]
    classes = [f"{low:,} {end}" for low, end in zip(LENGTHS, ends, strict=False)]
    classes.append(f"{LENGTHS[-1]:,} or more")
    bars = [Bar(name, count) for name, count in zip(classes, counts, strict=True)]
    while bars and not bars[-1].count:
        bars.pop()
    return bars


def _kind(change: Change) -> str:
    """Name a change as people think of it."""
    if change.status == ChangeStatus.SWITCHED:
        return f"moved by {told.reason_in_words(change.reason)}"
    return f"{change.status} by {told.reason_in_words(change.reason)}"


def _day(seconds: float) -> str:
    return day(datetime.fromtimestamp(seconds, UTC))


def _short_day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
