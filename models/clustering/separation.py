"""How far apart two segments are, in units of their own spread, measured on users held out.

The users of two segments are put on the line through the two centres. Cut in two, any cloud has two
halves with some distance between; a normal one cut at a share p of its users has a variance between
the halves of r(p) times that within. So the ratio of the two variances, divided by r(p), is 1 for
one cloud, 1.7 for a box, 2.5 where two clouds are five of their standard deviations apart, whatever
the sizes of the two, the dimensions, and the scale of the embedding.

It is G-means' view along the line (Hamerly and Elkan, "Learning the k in k-means", NIPS 2003) with
a measure of effect in the place of a test: with enough users a test finds every cloud not normal.
In hundreds of dimensions some line always parts the users that it was fitted to; so, as in
prediction strength (Tibshirani and Walther, Journal of Computational and Graphical Statistics 14,
2005), users are put on lines that were fitted to the other half of them.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from models.clustering.grid import GridSample
from models.distances import Floats, Ints

LEAST_USERS = 2.5
"""Well-known users, or as many others as weigh the same, on either side of a line."""

_FARTHEST = 8.0
"""Places on a line are bounded: two centres may be nearly the same."""


def separations(sample: GridSample, rows: Ints, centres: Floats, known: Floats) -> Floats:
    """Measure how far apart each two segments are.

    Parameters
    ----------
    sample
        n users, in an order that says nothing of the segments: half of them is held out, in turns.
    rows
        int64[n]. Row of each user's centre.
    centres
        float64[K, d], on the sample's grid.
    known
        float64[n]. How much each user counts, 0 to 1.

    Returns
    -------
    float64[K, K]
        Symmetric. Where either side has too few users it is below 0.1, and by the distance; on the
        diagonal infinity.
    """
    count = len(centres)
    sums = np.zeros((3, count, count))
    places = np.arange(len(rows))
    for half in (places % 2 == 1, places // 2 % 2 == 1):
        for held_out in (half, ~half):
            fitted, held = np.flatnonzero(~held_out), np.flatnonzero(held_out)
            if len(fitted) and len(held):
                own = sample.means(fitted, rows[fitted], centres)
                _add_places(sample, held, own, known[held] / 2.0, sums)
    enough, apart = _apart(*sums)
    lengths = sample.between(centres)
    lengths /= 10.0 * max(float(lengths.max()), np.finfo(float).tiny)
    found = np.where(enough, apart, lengths)
    found = np.minimum(found, found.T)
    np.fill_diagonal(found, np.inf)
    return found


def _apart(size: Floats, total: Floats, squares: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Give whether both sides of each line have enough users, and how far apart they are.

    Parameters
    ----------
    size, total, squares
        float64[K, K]. Number of users of a segment, and their places and squared places on the
        line to another one.
    """
    # What is at the other end, seen from the own one.
    other_size, other_total, other_squares = size.T, -total.T, squares.T
    enough = np.minimum(size, other_size) >= LEAST_USERS
    size, other_size = np.maximum(size, 1e-9), np.maximum(other_size, 1e-9)
    mean, other_mean = total / size, other_total / other_size
    within = squares - size * mean**2 + other_squares - other_size * other_mean**2
    both = size + other_size
    share = size / both
    between = both * share * (1.0 - share) * np.square(mean - other_mean)
    found = np.full(size.shape, np.inf)
    np.divide(between, within, out=found, where=within > 1e-9 * between)
    return enough, found / _of_a_normal_cloud(share)


def _add_places(
    sample: GridSample, users: Ints, centres: Floats, known: Floats, sums: Floats
) -> None:
    """Add the users' number, places and squared places to [3, K, K], by own and by other centre.

    A place is -1 at the own centre and 1 at the other one.
    """
    squares = sample.squares(users, centres)
    own = squares.argmin(axis=1)
    lengths = sample.between(centres)[own]
    nearest = squares[np.arange(len(own)), own][:, None]
    place = np.zeros_like(squares)
    np.divide(nearest - squares, lengths, out=place, where=lengths > 0.0)
    np.clip(place, -_FARTHEST, _FARTHEST, out=place)
    order = np.argsort(own, kind="stable")
    present, first = np.unique(own[order], return_index=True)
    weight, place = known[order][:, None], place[order]
    for part, values in enumerate((np.ones_like(place), place, np.square(place))):
        sums[part, present] += np.add.reduceat(weight * values, first, axis=0)


@cache
def _table() -> tuple[Floats, Floats]:
    """Shares, and what a normal cloud that is cut there has, float64[m] each."""
    normal = NormalDist()
    shares = np.linspace(0.001, 0.999, 999)
    density = np.array([normal.pdf(normal.inv_cdf(share)) for share in shares.tolist()])
    between = np.square(density) / (shares * (1.0 - shares))
    # Rounded, since the last bits of a logarithm differ between machines.
    return shares, np.round(between / (1.0 - between), 9)


def _of_a_normal_cloud(share: Floats) -> Floats:
    """Give the variance between over that within, of a normal cloud cut at a share of its users."""
    found: Floats = np.interp(share, *_table())
    return found
