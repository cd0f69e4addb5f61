"""Which segment a user belongs to under a segment model, with hysteresis and a confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.distances import (
    Floats,
    Ints,
    VectorsError,
    distances_to,
    distances_to_all,
    nearest,
    nearest_and_all,
)
from models.segments.confidence import confidence_at
from models.segments.model import SegmentModel
from models.segments.policy import AssignmentPolicy
from schemas.segment_model import NO_SEGMENT

# Between them the squares of a sum's numbers lose nothing that counts to float32's range.
_SHORTEST, _LONGEST = 1e-12, 1e12
# Of so few the distances are all computed at once: what is asked of a user who may go takes them.
_FEW_CENTRES = 8

OUTWEIGHING = 2
"""Events that outweigh one that has put a user into a segment: nobody dwells longer than that. A
first text, if a stray one, would else hold for as long as the choice of a user of many years, until
the next version moves the user."""


class Decision(NamedTuple):
    """One user's entry of `Decisions`, with None where that has NaN or `NO_SEGMENT`."""

    segment: int | None
    changed: bool
    distance: float
    previous_distance: float | None
    margin: float | None
    confidence: float | None


@dataclass(frozen=True, eq=False)
class Decisions:
    """Where each of n users belongs now, and the figures that say why.

    Attributes
    ----------
    segment
        int64[n]. Id of the segment, `NO_SEGMENT` for none.
    changed
        bool[n]. The segment differs from the one before.
    distance
        float64[n]. From the profile to the centre of that segment; where there is none, to the
        nearest centre.
    previous_distance
        float64[n]. To the centre of the segment before; NaN where there was none or where the model
        no longer holds it.
    margin
        float64[n]. How much nearer the segment is than the alternative: than the segment before
        where the model still holds it (so 0 for a user who stays), else than the second nearest.
        NaN without a segment or an alternative.
    against
        int64[n]. The model's row of that alternative, -1 where there is none.
    alternative
        float64[n]. The distance to it, NaN where there is none.
    confidence
        float64[n]. How sure it is that the user belongs to the segment moved to, in [0, 1]; NaN for
        those who did not move, of whom it is not asked, and those who left.
    """

    segment: Ints
    changed: NDArray[np.bool_]
    distance: Floats
    previous_distance: Floats
    margin: Floats
    against: Ints
    alternative: Floats
    confidence: Floats

    def at(self, row: int) -> Decision:
        """Give one user's decision in plain Python numbers."""
        return self.each(np.array([row]))[0]

    def each(self, rows: Ints, told: Callable[[Floats], Floats] = np.asarray) -> list[Decision]:
        """Give some users' decisions in plain Python numbers, distances as they are to be told."""
        figures = (self.previous_distance, self.margin, self.confidence)
        return [
            Decision(None if segment == NO_SEGMENT else segment, changed, distance, *others)
            for segment, changed, distance, *others in zip(
                self.segment[rows].tolist(),
                self.changed[rows].tolist(),
                told(self.distance[rows]).tolist(),
                *(_numbers(told(figure[rows])) for figure in figures),
                strict=True,
            )
        ]


def _numbers(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def decide(  # noqa: PLR0917 - one array after the other
    vectors: ArrayLike,
    current: ArrayLike,
    events: ArrayLike,
    rested: ArrayLike,
    model: SegmentModel,
    policy: AssignmentPolicy,
    *,
    weights: ArrayLike | None = None,
) -> Decisions:
    """Decide the segment of n users, with hysteresis.

    In this order, for each user:

    1. A segment so far that the model no longer holds, or that is out of reach, cannot keep its
       user: the nearest one takes the user, whatever the margin. Within reach is what is nearer
       than `max_distance_share` of the distance to the middle of all centres; where that is not
       set, or there is a single segment, everything.
    2. A user moves to the nearest segment if that is nearer by `margin_share` of the distance to
       the one so far, after `min_events` events in all and `dwell_events` in the segment so far;
       where few events have put the user there, after `OUTWEIGHING` times as many. A profile that
       rests on few texts is mostly noise, and centres that shift a little take it from one to the
       other: with a weight of w it has to be `thin_margin_share` / w, if that is more.
    3. A user without a segment enters the nearest one, after `min_events` events, if it is within
       reach by the same share.
    4. Both, 2 and 3, only with a confidence of at least `min_confidence`.
    5. Nobody is in a segment out of reach.

    All of these compare distances with each other. So profiles and centres that all lie twice as
    close together have the same decisions.

    Deciding again with the outcome as `current` changes nothing.

    Parameters
    ----------
    vectors
        float64[n, d]. Profiles of unit length.
    current
        int64[n]. Ids of the segments so far, `NO_SEGMENT` for none.
    events
        int64[n]. Accepted events of each user, ever.
    rested
        int64[n]. Accepted events of each user since the latest change of segment; of all that
        `events` counts.
    model
        The segments.
    policy
        The thresholds.
    weights
        float64[n]. How much each profile rests on: its faded sum of event weights. As many as
        `events` where not given.

    Returns
    -------
    Decisions
        One entry a user.

    Raises
    ------
    VectorsError
        Where the arrays do not fit each other or the model, or are not finite.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float64)
    current, events, rested = (np.asarray(each, np.int64) for each in (current, events, rested))
    weights = np.asarray(events if weights is None else weights, dtype=np.float64)
    counts = {"current": current, "events": events, "rested": rested, "weights": weights}
    for name, array in counts.items():
        if array.shape != vectors.shape[:1]:
            raise VectorsError(
                f"{name} has the shape {array.shape} for vectors of the shape {vectors.shape}: "
                "give one entry a user"
            )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise VectorsError("weights holds NaN, an infinity or less than 0: give finite weights")
    before = model.rows_of(current)
    known = before >= 0
    previous_distance = np.full(len(vectors), np.nan)
    of_all: Floats | None = None
    if len(model.centres) <= _FEW_CENTRES:
        nearest_row, nearest_distance, of_all = nearest_and_all(vectors, model.centres)
        previous_distance[known] = of_all[known, before[known]]
    else:
        nearest_row, nearest_distance = nearest(vectors, model.centres)
        previous_distance[known] = distances_to(vectors[known], model.centres[before[known]])

    reach: Floats | float = math.inf
    if policy.max_distance_share is not None and len(model.ids) > 1:
        reach = policy.max_distance_share * distances_to(vectors, model.middle)
    had_one = current != NO_SEGMENT
    held = known & (previous_distance <= reach)
    enough = events >= policy.min_events
    # Compared as a difference, exactly as it is published: a reader can check the decision.
    nearer_by = previous_distance - nearest_distance
    # Multiplied, as a profile's weight may be 0.
    far_enough = (nearer_by >= policy.margin_share * previous_distance) & (
        nearer_by * weights >= policy.thin_margin_share * previous_distance
    )
    dwelt = rested >= np.minimum(policy.dwell_events, OUTWEIGHING * (events - rested))
    moves = held & enough & dwelt & far_enough & (nearest_row != before)
    forced = had_one & ~held & (nearest_distance <= reach)
    enters = ~had_one & enough & (nearest_distance <= reach * (1.0 - policy.margin_share))

    # Asked only of those who may go: it takes the distance from every centre.
    goes = moves | forced | enters
    sure = np.full(len(vectors), np.nan)
    every = distances_to_all(vectors[goes], model.centres) if of_all is None else of_all[goes]
    sure[goes] = confidence_at(every, nearest_row[goes], weights[goes])
    unsure = ~forced & (sure < policy.min_confidence)
    moves, enters = moves & ~unsure, enters & ~unsure
    sure[unsure] = np.nan

    stays = held & ~moves
    row = np.where(stays, before, np.where(moves | forced | enters, nearest_row, -1))
    segment = np.where(row >= 0, model.ids[row], NO_SEGMENT)
    distance = np.where(stays, previous_distance, nearest_distance)

    against, alternative = np.where(row >= 0, before, -1), previous_distance.copy()
    alone = np.flatnonzero((row >= 0) & ~known)
    if len(model.ids) > 1 and len(alone):
        # All of them are among those who might go.
        others = every[(np.cumsum(goes) - 1)[alone]]
        against[alone], alternative[alone] = _second_nearest(others, row[alone])
    alternative[against < 0] = np.nan
    margin = alternative - distance
    figures = (distance, previous_distance, margin, against, alternative, sure)
    return Decisions(segment, segment != current, *figures)


def _second_nearest(distances: Floats, rows: Ints) -> tuple[Ints, Floats]:
    """Give of each user the nearest centre but for their own, and how near that is."""
    users = np.arange(len(rows))
    distances[users, rows] = np.inf
    second = distances.argmin(axis=1)
    return second, distances[users, second]


def nearest_beyond_doubt(sums: NDArray[np.float32], model: SegmentModel) -> Ints:
    """Row of the centre that is nearest to each profile S/|S| where single precision can tell it.

    A look at n profiles for a tenth of what `decide` costs. With K = |c|²/2 the nearest centre is
    that of the largest S·c - |S| K. Computed in float32 that is off by less than (2 d + 8) u |S|
    (|c| + K) with u = 2^-24, in whatever order products are added up (Higham, Accuracy and
    Stability, 3.1). Where the second largest is within some four times as much, or where numbers
    are so small or large that float32 loses more, the answer is -1. So a row's answer may differ
    between processors, but never says another centre than `models.distances.nearest`.

    Parameters
    ----------
    sums
        float32[n, d]. Profiles of any length.
    model
        The segments.

    Returns
    -------
    int64[n]
    """
    centres = model.centres.astype(np.float32)
    half_squares = np.einsum("ij,ij->i", centres, centres) / 2
    # What overflows, or is none, is no number above the slack.
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        scores = sums @ centres.T
        scores -= lengths[:, None] * half_squares
        best = scores.argmax(axis=1)
        users = np.arange(len(scores))
        highest = scores[users, best].astype(np.float64)
        scores[users, best] = -np.inf
        # NumPy finds where the largest of few is in a fifth of the time that it takes to give it.
        ahead = highest - scores[users, scores.argmax(axis=1)]
    reach = float(np.sqrt(2 * half_squares.max())) + float(half_squares.max())
    slack = 8 * (sums.shape[1] + 4) * 2.0**-24 * reach * lengths.astype(np.float64) + 1e-30
    sure = (ahead > slack) & (lengths > _SHORTEST) & (lengths < _LONGEST)
    return np.where(sure, best, -1)
