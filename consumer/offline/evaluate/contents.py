"""The figures of an evaluation, as they stand in evaluation.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from consumer.offline.evaluate.supervised import Supervised
from consumer.offline.outcome import Counts
from consumer.offline.refusals import RefusedCount
from consumer.report.user_map import UserMap
from models.measures.agreement import Agreement
from models.measures.internal import InternalMeasures

PRODUCT = "segmenter"
OFFLINE = "KMeans, offline"
MINI_BATCH = "MiniBatchKMeans, one pass"

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SegmentFigures:
    """A segment at the end: members, and the label that most of the labelled ones have."""

    id: int
    label: str
    users: int
    main_label: str | None
    main_share: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """The state at a moment of the stream.

    Attributes
    ----------
    events
        Events accepted so far.
    segments
        Segments of the model in use, 0 before the first.
    changes
        Changes published so far.
    prequential
        Agreement of all events so far, each assigned before it was learned; None before any.
    steady_users
        Agreement of the users with ten events or more, each at this moment.
    """

    events: int
    segments: int
    changes: int
    prequential: Agreement | None
    steady_users: Agreement | None


@dataclass(frozen=True, slots=True)
class Prequential:
    """Agreement of all labelled events, assigned before they were learned."""

    agreement: Agreement | None
    events: int
    without_label: int
    without_segment: int


@dataclass(frozen=True, slots=True)
class Row:
    """One clustering of a group's users, or one for each of several seeds.

    Attributes
    ----------
    name
        Whose it is.
    asked
        The number of clusters that it was told to make.
    agreement, internal
        Means over the seeds.
    seeds
        How many.
    v_measures
        The least V-measure and the greatest; None where there is nothing to compare, or one seed.
    """

    name: str
    asked: int
    agreement: Agreement | None
    internal: InternalMeasures | None
    seeds: int = 1
    v_measures: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The users with so many events at least, and what each clustering makes of them.

    The first row is the product's; the peers saw the same profiles, all at once. All rows measure
    the same users. There are no rows where there are fewer than `LEAST_SCORED_USERS`.
    """

    least_events: int
    users: int
    labelled: int
    without_segment: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Flapping:
    """Changes of segment of the users with so many events at least.

    `switches_a_user_by_cause` has those of users and of new models. `by_reason` counts by
    "status, reason"; `users_by_changes` holds, at index i, the users with i changes, the last one
    those with as many or more.
    """

    least_events: int
    users: int
    changes_a_user: float
    switches_a_user: float
    switches_a_user_by_cause: dict[str, float]
    by_reason: dict[str, int]
    users_by_changes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lag:
    """How fast segments follow users whose label is known to have changed.

    `median` and `mean` are in the user's events, of the changes that were followed.
    """

    known: int
    followed: int
    median: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Contingency:
    """Users by label and segment: `counts[i][j]` of `labels[i]` in `segments[j]`."""

    labels: tuple[str, ...]
    segments: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class NumberFigures:
    """A number of segments that the trainer looked at last.

    `apart` is how far apart the nearest two are, as a share of what is asked of them.
    """

    segments: int
    apart: float


@dataclass(frozen=True, slots=True)
class Figures:
    """All that evaluation.json holds.

    `lifecycle` counts segments created, split, merged and retired over all versions. `supervised`
    is what is learned from the labels themselves, beside the segments, which never are.
    `numbers` is the evidence for the number of segments, from many to few, where it was found.
    `least_users` are needed for a segment model; `refused_for` has the commonest reason first.
    """

    file: str
    label: str | None
    settings: dict[str, Any]
    embedding: str
    counts: Counts
    model_version: int | None
    segments_found: bool
    segments: tuple[SegmentFigures, ...]
    lifecycle: dict[str, int]
    prequential: Prequential | None
    groups: tuple[Group, ...]
    flapping: tuple[Flapping, ...]
    lag: Lag | None
    users_by_label: Contingency | None
    stream: tuple[Point, ...]
    supervised: Supervised | None = None
    least_users: int = 0
    numbers: tuple[NumberFigures, ...] = ()
    refused_for: tuple[RefusedCount, ...] = ()

    def to_json(self) -> str:
        """Write the figures as JSON, floats to six digits."""
        return json.dumps(_rounded(asdict(self)), ensure_ascii=False, indent=1, allow_nan=False)


@dataclass(frozen=True, eq=False, slots=True)
class Evaluation:
    """The figures, and the users to be drawn."""

    figures: Figures
    map: UserMap


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value
