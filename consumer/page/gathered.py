"""What is known of a group: plain data, the same from its topics and from a replay's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from consumer.offline.observed import Details
from consumer.offline.outcome import Counts
from models.profiles.table import unit_rows
from schemas.arrays import decode_array
from schemas.changes import SegmentChange
from schemas.lifecycle import LifecycleEvent
from schemas.profiles import ProfileRecord
from schemas.recommendations import SegmentRecommendations
from schemas.segment_model import NO_SEGMENT, SegmentModelRecord

_ROWS_AT_ONCE = 4_096


class Change(NamedTuple):
    """A change of segment, as far as the page tells of it.

    Attributes
    ----------
    at
        When it was decided, in seconds since 1970; a replay's clock is the time of its events.
    old, new
        Ids; `NO_SEGMENT` for none.
    """

    user_id: str
    at: float
    status: str
    reason: str
    cause: str
    old: int
    new: int
    margin: float | None
    confidence: float | None

    @classmethod
    def of(cls, change: SegmentChange) -> Self:
        """Take a record."""
        return cls(
            change.user_id,
            change.changed_at.timestamp(),
            change.status.value,
            change.reason.value,
            "" if change.cause is None else change.cause.value,
            NO_SEGMENT if change.previous_segment is None else change.previous_segment.id,
            NO_SEGMENT if change.segment is None else change.segment.id,
            change.margin,
            change.confidence,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Users:
    """The n users who have a profile, in the order of their ids.

    Attributes
    ----------
    ids
        Their ids.
    vectors
        Unit profiles, float32 (n, d); zero where a profile is empty.
    segments
        Ids of segments, int64 (n,); `NO_SEGMENT` for none.
    events
        Events counted, int64 (n,).
    weights
        How much each profile rests on, float64 (n,).
    updated
        Latest event times, seconds since 1970, float64 (n,).
    given
        The label that somebody gave each; None for none.
    terms
        The words of each with weights; empty where they are not kept, as of most users who are not
        in the trainer's sample.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    segments: NDArray[np.int64]
    events: NDArray[np.int64]
    weights: NDArray[np.float64]
    updated: NDArray[np.float64]
    given: list[str | None]
    terms: Sequence[Mapping[str, float]]

    def __len__(self) -> int:
        return len(self.ids)


_Row = tuple[NDArray[np.float32], int, int, float, float, str | None, Mapping[str, float]]


class UsersRead:
    """Collects profiles one by one, the latest of each user, and makes columns of them."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._repeats: dict[str, int] = {}

    def put(self, profile: ProfileRecord) -> None:
        """Take a profile."""
        self._rows[profile.user_id] = (
            decode_array(profile.vector, "<f4").astype(np.float32),
            NO_SEGMENT if profile.segment is None else profile.segment,
            profile.events,
            profile.weight,
            profile.reference_time.timestamp(),
            None if profile.labels is None else profile.labels.given,
            profile.terms,
        )
        self._repeats[profile.user_id] = profile.repeats

    @property
    def repeated(self) -> int:
        """Events not counted since they had been seen, of the users there are."""
        return sum(self._repeats.values())

    def discard(self, user: str) -> None:
        """Forget a user, known or not."""
        self._rows.pop(user, None)
        self._repeats.pop(user, None)

    def columns(self) -> Users:
        """Give the columns."""
        ids = sorted(self._rows)
        rows = [self._rows[user] for user in ids]
        vectors = np.zeros((len(ids), len(rows[0][0]) if rows else 0), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = np.stack([row[0] for row in rows[start : start + _ROWS_AT_ONCE]])
            vectors[start : start + len(some)] = unit_rows(some)
        return Users(
            ids,
            vectors,
            np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.int64),
            np.array([row[3] for row in rows], np.float64),
            np.array([row[4] for row in rows], np.float64),
            [row[5] for row in rows],
            [row[6] for row in rows],
        )


@dataclass(slots=True)
class ChangesRead:
    """Collects changes in any order, and what segments were called by them."""

    changes: list[Change] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def put(self, change: SegmentChange) -> None:
        """Take a record."""
        self.changes.append(Change.of(change))
        for each in (change.previous_segment, change.segment):
            if each is not None:
                self.names[each.id] = each.label

    def sorted(self) -> list[Change]:
        """Give them in the order of their times; those of one time as they came."""
        return sorted(self.changes, key=lambda change: change.at)


@dataclass(frozen=True, slots=True)
class RefusedReason:
    """Records refused for one reason; what they hold is not told."""

    reason: str
    field: str | None
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """All that the page is made of, but for what it takes the events themselves to know.

    Attributes
    ----------
    source
        Where it comes from, in a few words.
    until
        The moment that the page is about, in seconds since 1970.
    users, changes, lifecycle
        Everybody; changes and lives of segments as far back as they are kept, the latest last.
    model
        The segments in force; None before the first version.
    names
        What segments were called, those of today and former ones.
    counts
        Records of the input.
    refused
        Why records were refused, the commonest first.
    details
        What was noted as the events passed; None where nothing was.
    recommendations
        What leads in each segment, None for all users; empty where nothing is published.
    notes
        Sentences on what could not be had, by the part of the page that lacks it.
    """

    source: str
    until: float
    users: Users
    changes: Sequence[Change]
    lifecycle: Sequence[LifecycleEvent]
    model: SegmentModelRecord | None
    names: Mapping[int, str]
    counts: Counts
    refused: Sequence[RefusedReason]
    details: Details | None = None
    recommendations: Mapping[int | None, SegmentRecommendations] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def names_of(
    told: Mapping[int, str], lives: Iterable[LifecycleEvent], model: SegmentModelRecord | None
) -> dict[int, str]:
    """Give what segments are called: today's names first, then those in the records."""
    names = dict(told)
    for event in lives:
        names.setdefault(event.segment, event.label)
    if model is not None:
        names |= {segment.id: segment.label for segment in model.segments}
    return names


def by_reason(counts: Mapping[tuple[str, str | None], int]) -> list[RefusedReason]:
    """Give counts by reason and field, the commonest first."""
    order = sorted(counts.items(), key=lambda each: (-each[1], each[0][0], each[0][1] or ""))
    return [RefusedReason(reason, name, count) for (reason, name), count in order]
