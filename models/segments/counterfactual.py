"""What would move a user: events taken away, or more of them, under the very rules of `decide`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.distances import Floats, nearest
from models.profiles.rows import unit_rows
from models.segments.decision import decide
from models.segments.model import SegmentModel
from models.segments.policy import AssignmentPolicy
from models.segments.shares import without
from schemas.segment_model import NO_SEGMENT

MOST_MORE = 1000
"""More events alike are not asked about."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a user stands.

    Attributes
    ----------
    total
        float64[d]. The profile's sum S.
    weight, events
        The profile's W, and events counted.
    since
        Events counted at the latest change of segment.
    segment
        Id, `NO_SEGMENT` for none.
    """

    total: Floats
    weight: float
    events: int
    since: int
    segment: int


def unmoved(
    standing: Standing,
    vectors: ArrayLike,
    weights: ArrayLike,
    previous: int,
    *,
    model: SegmentModel,
    policy: AssignmentPolicy,
) -> list[int | None]:
    """Tell for each of k events where the user would be without it, by way of the former segment.

    The user is put back where the user was before the latest change, the event is taken out of the
    profile as it is now, and it is decided anew.

    Parameters
    ----------
    standing
        The user's.
    vectors, weights
        float64[k, d], float64[k]. Of events that are in the profile.
    previous
        Id of the segment before the latest change, `NO_SEGMENT` for none.
    model, policy
        What is decided by.

    Returns
    -------
    list
        Ids of segments, one an event; None for none.
    """
    weights = np.asarray(weights, np.float64)
    left = without(standing.total, vectors, weights)
    events = np.full(len(left), max(standing.events - 1, 0))
    return _decided(left, events, standing.weight - weights, previous, model, policy)


def fewest_without(
    standing: Standing,
    vectors: ArrayLike,
    weights: ArrayLike,
    order: ArrayLike,
    model: SegmentModel,
) -> tuple[int, int] | None:
    """Find how many events have to be taken away, in an order, until another segment is nearest.

    Parameters
    ----------
    standing
        The user's.
    vectors, weights
        float64[k, d], float64[k].
    order
        int64[k]. Places of the events, the first to be taken away ahead: those that pushed most.
    model
        The segments.

    Returns
    -------
    tuple
        How many, and the id of the segment that is nearest then. None where none of these does it.
    """
    order = np.asarray(order, np.int64)
    if not len(order):
        return None
    gone = np.asarray(vectors, np.float64) * np.asarray(weights, np.float64)[:, None]
    left = standing.total - np.cumsum(gone[order], axis=0)
    before = nearest(unit_rows(standing.total[None]), model.centres)[0][0]
    # Of a profile that is left empty, nothing is near.
    lengths = np.sqrt((left * left).sum(axis=1))
    there = lengths > 1e-6 * max(standing.weight, 1e-12)
    after = nearest(unit_rows(left), model.centres)[0]
    moved = np.flatnonzero(there & (after != before))
    if not len(moved):
        return None
    return int(moved[0]) + 1, int(model.ids[after[moved[0]]])


def how_many_more(
    standing: Standing,
    vector: ArrayLike,
    weight: float,
    model: SegmentModel,
    policy: AssignmentPolicy,
) -> tuple[int, int | None] | None:
    """Find how many more events alike would move the user, one after the other, at the same time.

    Parameters
    ----------
    standing
        The user's.
    vector, weight
        float64[d] and the weight of one such event.
    model, policy
        What is decided by.

    Returns
    -------
    tuple
        How many, and the id of the segment that the user is in then, None for none. None where
        `MOST_MORE` do not move the user.
    """
    more = np.arange(1, MOST_MORE + 1)
    totals = standing.total + (weight * more)[:, None] * np.asarray(vector, np.float64)
    segments = _decided(
        totals,
        standing.events + more,
        standing.weight + weight * more,
        standing.segment,
        model,
        policy,
        rested=standing.events + more - standing.since,
    )
    now = None if standing.segment == NO_SEGMENT else standing.segment
    for count, segment in enumerate(segments, 1):
        if segment != now:
            return count, segment
    return None


def _decided(  # noqa: PLR0917 - what is decided by
    totals: Floats,
    events: ArrayLike,
    weights: ArrayLike,
    current: int,
    model: SegmentModel,
    policy: AssignmentPolicy,
    *,
    rested: ArrayLike | None = None,
) -> list[int | None]:
    n = len(totals)
    decisions = decide(
        unit_rows(totals),
        np.full(n, current),
        events,
        np.full(n, policy.dwell_events) if rested is None else rested,
        model,
        policy,
        weights=np.maximum(np.asarray(weights, np.float64), 0.0),
    )
    return [None if each == NO_SEGMENT else each for each in decisions.segment.tolist()]
