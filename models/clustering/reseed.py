"""Finding good centres on a sample of users: k-means++, Lloyd's steps and moving bad centres.

Streaming k-means only ever moves a centre to what is near it. Where topics appear one after the
other, all first centres sit in the oldest topic and stay there. So now and then a centre that is
hardly needed is taken away and a new one is put where the users are badly served, if that helps.
This is the random swap of Fränti ("Efficiency of random swap clustering", Journal of Big Data 5,
2018) with both ends chosen instead of drawn: which to remove by what its removal costs, where to
put it by the D² weights of k-means++ (Arthur and Vassilvitskii, SODA 2007).

All functions are pure. They measure with `models.distances.nearest`, so the same rows and the same
generator give the same bits on any machine.
"""

from __future__ import annotations

import numpy as np

from models.distances import Floats, distances_to, nearest

LLOYD_STEPS = 50
"""The most steps of Lloyd's to the end. Stopping at 8 left the inertia of the Stack Exchange sample
0.7 % above where it ends: more than what a good swap gains, so good swaps went unseen."""

TRIAL_STEPS = 8
"""Steps after which the swaps that were tried are compared; only the best is taken to the end."""

MIN_GAIN = 0.005
"""Share by which the inertia has to fall for a swap to be kept. Below it the gain is rounding or
a different way to cut the same cloud in two, and ids would change hands for nothing."""

NEIGHBOURS = 10
"""Users whose mean makes a new centre. One user's profile is mostly noise in 384 dimensions: it is
farther from its own kind than the mean of everything, so as a centre it would only win itself."""

TRIES = 3
"""Draws of k-means++ for one swap: a single draw often lands in the cluster it came from."""

ROUNDING = 1e-3
"""Share of the vectors' length within which two are the same: what a profile's sum loses where it
is kept in float16 (2^-12 for each number), with room. Texts that differ are a hundred times as far
apart."""


def spread(
    vectors: Floats,
    count: int,
    generator: np.random.Generator,
    centres: Floats | None = None,
    weights: Floats | None = None,
) -> Floats:
    """Pick more centres among the vectors by k-means++, far from those that are there.

    Of several draws the one that leaves the least inertia is taken, as in scikit-learn.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1.
    count
        Centres to have in the end.
    generator
        Source of the draws.
    centres
        float64[m, d]. Those to begin with; none by default.
    weights
        float64[n], above 0. How much each vector counts; all the same by default.

    Returns
    -------
    float64[K, d]
        `count` centres, or fewer where there are not that many different vectors.
    """
    near = max(1, min(NEIGHBOURS, len(vectors) // (4 * count)))
    if centres is None or not len(centres):
        centres = around(vectors, int(generator.integers(len(vectors))), near)[None]
    _, distance = nearest(vectors, centres)
    counts = _counts(vectors, weights)
    same = np.square(rounding(vectors))
    weight = _beyond(counts, np.square(distance), same)
    draws = 2 + int(np.log(count))
    while len(centres) < count and weight.any():
        cumulated = np.cumsum(weight)
        drawn = np.searchsorted(cumulated, generator.random(draws) * cumulated[-1], side="right")
        tried = [around(vectors, row, near) for row in drawn.tolist()]
        left = [
            np.minimum(weight, _beyond(counts, np.square(distances_to(vectors, centre)), same))
            for centre in tried
        ]
        best = int(np.argmin([part.sum() for part in left]))
        centres = np.vstack([centres, tried[best]])
        weight = left[best]
    return centres


def distinct(centres: Floats) -> Floats:
    """Leave out the centres that differ from an earlier one by rounding only.

    Parameters
    ----------
    centres
        float64[K, d].

    Returns
    -------
    float64[m, d]
        The others, in their order.
    """
    same = rounding(centres)
    kept: list[int] = []
    for row, centre in enumerate(centres):
        if not kept or float(distances_to(centres[kept], centre).min()) > same:
            kept.append(row)
    return centres[kept]


def rounding(vectors: Floats) -> float:
    """Distance within which two of these vectors are the same."""
    return ROUNDING * float(np.sqrt(np.square(vectors).sum(axis=1).max(initial=0.0)))


def _beyond(counts: Floats, squares: Floats, same: float) -> Floats:
    """Weighted squared distances, 0 for what is rounding, float64[n]."""
    return np.where(squares <= same, 0.0, counts * squares)


def _counts(vectors: Floats, weights: Floats | None) -> Floats:
    return np.ones(len(vectors)) if weights is None else weights


def around(vectors: Floats, row: int, count: int) -> Floats:
    """Mean of the vectors nearest to one of them, itself included, float64[d]."""
    distance = distances_to(vectors, vectors[row])
    mean: Floats = vectors[np.argsort(distance, kind="stable")[:count]].mean(axis=0)
    return mean


def lloyd(
    vectors: Floats,
    centres: Floats,
    steps: int = LLOYD_STEPS,
    weights: Floats | None = None,
) -> tuple[Floats, float]:
    """Move centres to the mean of their members, several times; stop early when nothing moves.

    A centre without members stays where it is.

    Parameters
    ----------
    vectors
        float64[n, d].
    centres
        float64[K, d].
    steps
        The most steps.
    weights
        float64[n], above 0. How much each vector counts; all the same by default.

    Returns
    -------
    tuple
        Centres, float64[K, d], and their inertia: the weighted sum of squared distances of the
        vectors from the nearest centre.
    """
    counts = _counts(vectors, weights)
    centres = centres.copy()
    index, distance = nearest(vectors, centres)
    for _ in range(steps):
        for row in np.unique(index):
            members = index == row
            centres[row] = np.average(vectors[members], axis=0, weights=counts[members])
        before = index
        index, distance = nearest(vectors, centres)
        if np.array_equal(index, before):
            break
    return centres, float((counts * np.square(distance)).sum())


def removal_costs(vectors: Floats, centres: Floats, weights: Floats | None = None) -> Floats:
    """By how much the inertia rises when a centre is taken away, float64[K]; K at least 2.

    Of two centres that share a cloud either costs little, since the other is near. A centre
    without members costs nothing.
    """
    index, distance = nearest(vectors, centres)
    _, second = nearest(vectors, centres, exclude=index)
    rise = _counts(vectors, weights) * (np.square(second) - np.square(distance))
    costs = np.zeros(len(centres))
    np.add.at(costs, index, rise)
    return costs


def serving(vectors: Floats, centres: Floats, most: int, least_users: int) -> Floats:
    """Leave out the centres that are the nearest of too few vectors.

    Dead and duplicate centres are among them: of two in one place the first serves everybody.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1.
    centres
        float64[K, d].
    most
        Centres to keep at most: those that serve most, of equals the first.
    least_users
        Vectors that a centre has to serve: what is smaller is noise that a density-based algorithm
        has not let go of yet.

    Returns
    -------
    float64[m, d]
        The others, in their order; the one that serves most is always among them.
    """
    rows, _ = nearest(vectors, centres)
    served = np.bincount(rows, minlength=len(centres))
    enough = served >= min(served.max(), least_users)
    first = np.argsort(-served, kind="stable")[:most]
    kept: Floats = centres[np.sort(first[enough[first]])]
    return kept


def reseed(
    vectors: Floats,
    centres: Floats | None,
    count: int,
    generator: np.random.Generator,
    *,
    weights: Floats | None = None,
    min_gain: float = MIN_GAIN,
) -> tuple[Floats, int]:
    """Improve centres on a sample of users until no swap helps any more.

    First the number of centres is brought to `count`, and centres that serve nobody are moved. A
    swap then has to beat the best that the centres reach without it.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1.
    centres
        float64[m, d]. Where the centres are; None at the beginning.
    count
        Centres wanted.
    generator
        Source of the draws.
    weights
        float64[n], above 0. How much each vector counts; all the same by default.
    min_gain
        Share by which the inertia has to fall for a swap to be kept.

    Returns
    -------
    tuple
        Centres, float64[K, d], where K is `count` or the number of different vectors if that is
        smaller; and the number of swaps.
    """
    if centres is not None:
        used, _ = nearest(vectors, centres)
        centres = distinct(centres[np.unique(used)])
        while len(centres) > count:
            least = int(removal_costs(vectors, centres, weights).argmin())
            centres = np.delete(centres, least, axis=0)
    start = spread(vectors, count, generator, centres, weights)
    centres, inertia = lloyd(vectors, start, weights=weights)
    swaps = 0
    # Every swap cuts the inertia by a share of min_gain, so there is an end; the bound is for the
    # time that a call may take, and what is left is done the next time.
    while len(centres) > 1 and swaps < 2 * count:
        swapped, lower = _best_swap(vectors, centres, generator, weights)
        if lower > (1.0 - min_gain) * inertia:
            break
        centres, inertia = swapped, lower
        swaps += 1
    return centres, swaps


def _best_swap(
    vectors: Floats,
    centres: Floats,
    generator: np.random.Generator,
    weights: Floats | None,
) -> tuple[Floats, float]:
    """Put the least needed centre somewhere else: the best of several draws."""
    least = int(removal_costs(vectors, centres, weights).argmin())
    kept = np.delete(centres, least, axis=0)
    draws = [spread(vectors, len(centres), generator, kept, weights) for _ in range(TRIES)]
    trials = [lloyd(vectors, draw, TRIAL_STEPS, weights) for draw in draws]
    best, _ = min(trials, key=lambda outcome: outcome[1])
    return lloyd(vectors, best, weights=weights)
