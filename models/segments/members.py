"""Who belongs to which centre, and how far the members are from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.distances import Floats, Ints, nearest


@dataclass(frozen=True, eq=False)
class Members:
    """Users by their nearest centre.

    Attributes
    ----------
    rows
        int64[n]. Row of each user's centre.
    sizes
        int64[K]. Users of each centre.
    radii
        float64[K]. Root mean square distance of its users; 0 without any.
    """

    rows: Ints
    sizes: Ints
    radii: Floats


def members_of(vectors: Floats, centres: Floats) -> Members:
    """Give each user to the nearest centre.

    Parameters
    ----------
    vectors
        float64[n, d]; of any shape without users.
    centres
        float64[K, d], K at least 1.
    """
    count = len(centres)
    if not len(vectors):
        return Members(np.empty(0, np.int64), np.zeros(count, np.int64), np.zeros(count))
    rows, distances = nearest(vectors, centres)
    sizes = np.bincount(rows, minlength=count)
    squares = np.bincount(rows, weights=np.square(distances), minlength=count)
    return Members(rows, sizes, np.sqrt(squares / np.maximum(sizes, 1)))
