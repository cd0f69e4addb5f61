"""Finding the number of segments: as many as there are valleys between.

Two segments are two if few users lie halfway between them. So a set of centres is judged pair by
pair: the users of both are put on the line through the two centres, and where they are sparse in
the middle, compared with the ends, there is a valley. Structureless users have none wherever they
are cut: they are densest in the middle. One line has one dimension, so the answer does not depend
on how many dimensions the vectors have, which silhouettes and inertias do.

It is G-means' view along the line (Hamerly and Elkan, "Learning the k in k-means", NIPS 2003) with
two changes. Profiles of few texts are noisier than others, and a mix of widths fails any test of
normality, so what is looked for is the valley itself. And in hundreds of dimensions some line
always parts the users that it was fitted to; so, as in prediction strength (Tibshirani and Walther,
Journal of Computational and Graphical Statistics 14, 2005), users are put on lines that were fitted
to the other half of them.

All functions are pure, and the same to the last bit on any machine, as in
`models.clustering.reseed`.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from models.clustering.policy import LEAST_SEGMENTS
from models.clustering.reseed import TRIAL_STEPS, lloyd, reseed, spread
from models.distances import Floats, distances_to, nearest

SPLIT_DEPTH = 0.5
"""A new segment needs valleys this deep on all sides. The six sites of the Stack Exchange stream
are parted by 0.04 to 0.15; the best cut through a site, or through Cofacts, has 1.1 to 1.9. So 0.3
to 0.7 end the same."""

MERGE_DEPTH = 0.8
"""A valley this shallow is none any more. In between, what there is stays: segments must not come
and go with a few users. 0.6 to 1 end the same."""

TRIES = 4
"""Draws of k-means++ for one more segment: a small one is not always drawn at once."""

MOST_KNOWN = 10.0
"""Weight above which a profile is as good as known, so that more of it makes no difference."""

MOST_WEIGHT = 100.0
"""Weight up to which a profile pulls a centre. Without a bound one user with thousands of texts
takes a centre alone, again and again, in the place of a segment that is there."""

LEAST_USERS = 5.0
"""Well-known users, or as many others as weigh the same, around either end of a line."""

_REFIT_STEPS = 2


def valleys(vectors: Floats, centres: Floats, weights: Floats | None = None) -> Floats:
    """Measure how full the middle between each two centres is, compared with the emptier end.

    The line through two centres a and b has t = -1 at a and 1 at b. The middle is |t| < 1/3, the
    ends are as long and lie around the centres. One well-known user is added to the middle: a few
    users prove no valley.

    Parameters
    ----------
    vectors
        float64[n, d], in an order that says nothing of the segments: every second one is held out.
    centres
        float64[K, d].
    weights
        float64[n], above 0. How much each profile rests on; all the same by default.

    Returns
    -------
    float64[K, K]
        Symmetric, 0 for a valley without anybody, above 1 where there is none; infinity where an
        end has fewer than `LEAST_USERS`, and 0 on the diagonal.
    """
    counts = np.ones(len(vectors)) if weights is None else weights
    known = _known(counts)
    shape = (len(centres), len(centres))
    middle, ends = np.zeros(shape), np.zeros(shape)
    odd = np.arange(len(vectors)) % 2 == 1
    for held_out in (odd, ~odd):
        fitted = ~held_out
        if not fitted.any() or not held_out.any():
            continue
        own, _ = lloyd(vectors[fitted], centres, _REFIT_STEPS, counts[fitted])
        _add_lines(vectors[held_out], own, known[held_out], middle, ends)
    # ends[a, b] is the end at a of the line to b.
    emptier = np.minimum(ends, ends.T)
    depth = np.full(shape, np.inf)
    np.divide(middle + middle.T + 1.0, emptier, out=depth, where=emptier >= LEAST_USERS)
    np.fill_diagonal(depth, 0.0)
    return depth


def _known(weights: Floats) -> Floats:
    """How well each user is known, float64[n] in (0, 1].

    The noise of a profile falls with its weight. The square makes the better known half decide
    where there is one, and leaves a stream of single texts as it is.
    """
    full = min(MOST_KNOWN, float(np.quantile(weights, 0.9)))
    known: Floats = np.square(np.minimum(weights, full) / full)
    return known


def _add_lines(
    vectors: Floats, centres: Floats, known: Floats, middle: Floats, ends: Floats
) -> None:
    """Add users to the middles, upper triangle of [K, K], and the ends, [K, K], of all lines."""
    squares = np.stack([np.square(distances_to(vectors, centre)) for centre in centres], axis=1)
    rows = squares.argmin(axis=1)
    members = [np.flatnonzero(rows == row) for row in range(len(centres))]
    for a, b in combinations(range(len(centres)), 2):
        length = float(np.square(distances_to(centres[a][None], centres[b])[0]))
        if length <= 0.0:
            continue
        own = np.concatenate([members[a], members[b]])
        place = (squares[own, a] - squares[own, b]) / length
        weight = known[own]
        middle[a, b] += weight[np.abs(place) < 1 / 3].sum()
        ends[a, b] += weight[np.abs(place + 1.0) < 1 / 3].sum()
        ends[b, a] += weight[np.abs(place - 1.0) < 1 / 3].sum()


def find_segments(
    vectors: Floats,
    centres: Floats | None,
    most: int,
    generator: np.random.Generator,
    *,
    weights: Floats | None = None,
) -> tuple[Floats, int]:
    """Improve centres on a sample of users, and merge and add some where the users say so.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1; in an order that says nothing of the segments.
    centres
        float64[m, d]. Where the centres are; None at the beginning.
    most
        Centres at most.
    generator
        Source of the draws.
    weights
        float64[n], above 0. How much each profile rests on; all the same by default.

    Returns
    -------
    tuple
        Centres, float64[K, d], and the number of swaps, merges and births. K is `LEAST_SEGMENTS` or
        more, unless there are fewer different vectors, or `most` is less.
    """
    if weights is not None:
        weights = np.minimum(weights, MOST_WEIGHT)
    least = min(LEAST_SEGMENTS, most)
    count = least if centres is None else min(max(len(centres), least), most)
    centres, steps = reseed(vectors, centres, count, generator, weights=weights)
    depth = valleys(vectors, centres, weights)
    while len(centres) > least and depth.max() > MERGE_DEPTH:
        centres = _merged(vectors, centres, depth, weights)
        depth = valleys(vectors, centres, weights)
        steps += 1
    while len(centres) < most:
        # What was kept above may be shallower than a new valley has to be, but not get worse.
        worst = float(depth.max())
        limit = max(SPLIT_DEPTH, worst) if worst <= MERGE_DEPTH else SPLIT_DEPTH
        added = _one_more(vectors, centres, limit, generator, weights)
        if added is None:
            break
        centres, depth = added
        steps += 1
    return centres, steps


def _merged(vectors: Floats, centres: Floats, depth: Floats, weights: Floats | None) -> Floats:
    """Make one of the two centres with the shallowest valley between."""
    a, b = np.unravel_index(int(depth.argmax()), depth.shape)
    rows, _ = nearest(vectors, centres)
    both = (rows == a) | (rows == b)
    counts = np.ones(len(vectors)) if weights is None else weights
    start = np.delete(centres, b, axis=0)
    # Without members of either, the first stands for both.
    if both.any():  # a is before b, as the matrix is symmetric
        start[a] = np.average(vectors[both], axis=0, weights=counts[both])
    return lloyd(vectors, start, weights=weights)[0]


def _one_more(
    vectors: Floats,
    centres: Floats,
    limit: float,
    generator: np.random.Generator,
    weights: Floats | None,
) -> tuple[Floats, Floats] | None:
    """Add a centre, the best of several draws among those whose valleys are deep enough.

    Returns
    -------
    tuple or None
        Centres and the valleys between them; None where no draw will do.
    """
    best, least = None, np.inf
    for _ in range(TRIES):
        start = spread(vectors, len(centres) + 1, generator, centres, weights)
        if len(start) == len(centres):
            return None
        tried, inertia = lloyd(vectors, start, TRIAL_STEPS, weights)
        # Most draws fail, and do so after a few steps as well as in the end.
        if inertia >= least or valleys(vectors, tried, weights).max() > limit:
            continue
        tried, inertia = lloyd(vectors, tried, weights=weights)
        if inertia < least and (depth := valleys(vectors, tried, weights)).max() <= limit:
            best, least = (tried, depth), inertia
    return best
