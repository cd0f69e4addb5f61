"""Whether a look at the sample is worth it: what one more centre would explain, cheaply.

Finding good centres costs seconds where their number is found too, and what a look finds in noise
moves users for nothing. A new topic shows before: its users are far from every centre, and near
each other. So a trial centre is put among users who are badly served, drawn by the D² weights of
k-means++ (Arthur and Vassilvitskii, SODA 2007), and moved to the mean of those it is nearer to than
their own. What that would take away of the inertia is the evidence. It is measured with all other
centres in place, so it costs no more than to find each user's nearest centre a few times. The
centres settle first: what they alone would gain, as users have moved or become more, counts too.

All functions are pure: the same rows and the same generator give the same bits on any machine.
"""

from __future__ import annotations

import numpy as np

from models.clustering.reseed import NEIGHBOURS, around, lloyd, rounding
from models.distances import Floats, distances_to, nearest

SETTLING_STEPS = 2
"""Lloyd's steps before the trial. Without them a centre that lags behind its users a little looked
like something new, and noise was three times as large."""

DRAWS = 12
"""Places that are tried. Most users have one text and are far from everything, so most draws meet
nobody of a new topic that has a twentieth of the users: of three, it went unseen for long."""

BEST = 2
"""Of these, how many are moved to where they end."""

TRIAL_STEPS = 3
"""Moves of a trial centre. It starts at a mean of ten users, near where it ends."""

NOISY_SEGMENTS = 10
"""From so many segments on, what they gain by settling counts as their mean, so many times: the
noise of each adds up. What a trial centre gains does not grow with their number, and counts whole:
else one new topic among sixty was not seen."""


def evidence(
    vectors: Floats,
    centres: Floats,
    generator: np.random.Generator,
    *,
    weights: Floats,
    instead: bool = False,
) -> float:
    """Give what moved centres and one more would take of the inertia, in shares of a segment's.

    A topic as large as the others has about 1 while no centre is its own, whatever their number and
    whatever the unit of distances; noise has a tenth. Of what all centres gain by settling,
    `NOISY_SEGMENTS` shares count at most.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1.
    centres
        float64[K, d]. Those of the latest version.
    generator
        Source of the draws.
    weights
        float64[n], above 0. How much each vector counts.
    instead
        Whether the centre that is needed least has to go for another one.

    Returns
    -------
    float
        Shares of a segment's part of the inertia, one K-th of it; 0 where there is none.
    """
    same = np.square(rounding(vectors))
    whole = _inertia(vectors, centres, weights, same)
    if not whole:
        return 0.0
    settled, _ = lloyd(vectors, centres, SETTLING_STEPS, weights)
    index, distance = nearest(vectors, settled)
    left = _squares(distance, same)
    rest = float((weights * left).sum())
    settling = _all_share(len(centres), 1.0 - rest / whole)
    if not rest:
        return settling
    if instead and len(settled) > 1:
        _, second = nearest(vectors, settled, exclude=index)
        without = _squares(second, same)
        costs = np.bincount(index, weights * (without - left), minlength=len(settled))
        left = np.where(index == costs.argmin(), without, left)
    near = max(1, min(NEIGHBOURS, len(vectors) // (4 * (len(centres) + 1))))
    cumulated = np.cumsum(weights * left)
    drawn = np.searchsorted(cumulated, generator.random(DRAWS) * cumulated[-1], side="right")
    trials = [around(vectors, row, near) for row in np.unique(drawn).tolist()]
    trials.sort(key=lambda trial: _inertia_with(vectors, trial, left, weights, steps=0))
    least = min(
        _inertia_with(vectors, trial, left, weights, steps=TRIAL_STEPS) for trial in trials[:BEST]
    )
    return settling + max(0.0, len(centres) * (rest - least) / whole)


def gain(vectors: Floats, centres: Floats, others: Floats, *, weights: Floats) -> float:
    """Give what moved centres take away of the inertia, in the measure of `evidence`.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1.
    centres, others
        float64[K, d] and float64[L, d].
    weights
        float64[n], above 0.
    """
    same = np.square(rounding(vectors))
    before, after = (_inertia(vectors, each, weights, same) for each in (centres, others))
    return _all_share(len(centres), 1.0 - after / before) if before else 0.0


def _all_share(segments: int, share: float) -> float:
    """Give what all segments gain together, in shares of a segment's."""
    return min(segments, NOISY_SEGMENTS) * share


def _inertia(vectors: Floats, centres: Floats, weights: Floats, same: float) -> float:
    """Weighted sum of squared distances from the nearest centre, without rounding."""
    _, distance = nearest(vectors, centres)
    return float((weights * _squares(distance, same)).sum())


def _squares(distance: Floats, same: float) -> Floats:
    """Squared distances, 0 for what is rounding: shares of rounding say anything."""
    squares = np.square(distance)
    return np.where(squares <= same, 0.0, squares)


def _inertia_with(
    vectors: Floats, centre: Floats, left: Floats, weights: Floats, *, steps: int
) -> float:
    """Move one more centre to those whom it serves better; give the inertia with it."""
    squares = np.square(distances_to(vectors, centre))
    for _ in range(steps):
        served = squares < left
        if not served.any():
            break
        centre = np.average(vectors[served], axis=0, weights=weights[served])
        squares = np.square(distances_to(vectors, centre))
    return float((weights * np.minimum(left, squares)).sum())
