"""Euclidean distances between profiles and centres, the same to the last bit on every machine.

Two workers, or one worker before and after a crash, must come to the same decision from the same
profile. So the result for a row does not depend on what other rows share the call, nor on the
processor or the BLAS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROWS_AT_ONCE = 128
"""Rows compared in one go, so that what is in between stays in the processor's cache: 4,096 rows of
d = 384 take six times as long a row."""


class VectorsError(ValueError):
    """Arrays that do not fit each other or the model, or that hold NaN or an infinity."""


def nearest(
    vectors: ArrayLike, centres: ArrayLike, *, exclude: Ints | None = None
) -> tuple[Ints, Floats]:
    """Find the nearest centre of each vector, by Euclidean distance; of equals the first wins.

    This is `river.cluster.KMeans.predict_one` for many rows at once. A matrix product finds the
    few centres that can be nearest, which is fast but rounds differently from batch to batch. Those
    are then measured one by one with `distances_to`, so that the answer for a row does not depend
    on its neighbours.

    Parameters
    ----------
    vectors
        float64[n, d].
    centres
        float64[K, d], K at least 1.
    exclude
        int64[n]. A centre's row that each vector must not be given, e.g. to find the second
        nearest. Needs K of at least 2.

    Returns
    -------
    tuple
        Row of the centre, int64[n], and the distance from it, float64[n].

    Raises
    ------
    VectorsError
        Where the shapes do not fit or a number is not finite.
    """
    vectors, centres = _checked(vectors, centres, 1 if exclude is None else 2)
    index = np.empty(len(vectors), dtype=np.int64)
    squared = np.empty(len(vectors))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        left_out = None if exclude is None else exclude[part]
        index[part], squared[part] = _nearest_squared(vectors[part], centres, left_out)
    return index, np.sqrt(squared)


def nearest_and_all(vectors: ArrayLike, centres: ArrayLike) -> tuple[Ints, Floats, Floats]:
    """Find the nearest centre of each vector as `nearest` does, with the distances from all.

    Where there are few centres it takes as long as `nearest` and `distances_to` one more.

    Returns
    -------
    tuple
        Row of the centre, int64[n], the distance from it, float64[n], and those of
        `distances_to_all`, float64[n, K].

    Raises
    ------
    VectorsError
        As `nearest`.
    """
    vectors, centres = _checked(vectors, centres, 1)
    squared = _squared_to_all(vectors, centres)
    # Of the squares: two that differ may have the same root.
    index = squared.argmin(axis=1).astype(np.int64)
    every = np.sqrt(squared)
    return index, every[np.arange(len(every)), index], every


def distances_to(vectors: ArrayLike, centres: ArrayLike) -> Floats:
    """Euclidean distance of each vector from the centre in the same row, or from a single centre.

    Parameters
    ----------
    vectors
        float64[n, d].
    centres
        float64[n, d] or float64[d].

    Returns
    -------
    float64[n]
        The same bits as `nearest` gives for the same pair.
    """
    return np.sqrt(_squared(np.asarray(vectors, np.float64), np.asarray(centres, np.float64)))


def distances_to_all(vectors: ArrayLike, centres: ArrayLike) -> Floats:
    """Euclidean distance of each vector, float64[n, d], from each of K centres, float64[n, K].

    The same bits as `distances_to` gives for each pair.
    """
    vectors, centres = np.asarray(vectors, np.float64), np.asarray(centres, np.float64)
    return np.sqrt(_squared_to_all(vectors, centres))


def separations(centres: ArrayLike) -> Floats:
    """Distance of each of K centres, float64[K, d], from the nearest other one, float64[K].

    Raises
    ------
    VectorsError
        As `nearest`; also with one centre only.
    """
    return nearest(centres, centres, exclude=np.arange(len(np.asarray(centres))))[1]


def _checked(vectors: ArrayLike, centres: ArrayLike, least: int) -> tuple[Floats, Floats]:
    """Give both as arrays in C order, of which at least so many are centres."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float64)
    centres = np.ascontiguousarray(centres, dtype=np.float64)
    if vectors.ndim != 2 or centres.ndim != 2 or vectors.shape[1] != centres.shape[1]:
        raise VectorsError(
            f"vectors has the shape {vectors.shape} and centres {centres.shape}: "
            "give rows of the same length, made by the same embedding model"
        )
    if len(centres) < least:
        raise VectorsError(f"{len(centres)} centres are too few to choose from: give more")
    if not (np.isfinite(vectors).all() and np.isfinite(centres).all()):
        raise VectorsError("vectors or centres hold NaN or an infinity: give finite numbers")
    return vectors, centres


def _squared_to_all(vectors: Floats, centres: Floats) -> Floats:
    """Squared distances of n vectors from each of K centres, float64[n, K]."""
    found = np.empty((len(vectors), len(centres)))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        for column, centre in enumerate(centres):
            found[part, column] = _squared(vectors[part], centre)
    return found


def _squared(vectors: Floats, centres: Floats) -> Floats:
    """Squared distance row by row, float64[n].

    The difference is a new array in C order, so NumPy adds up each row on its own, pairwise, in an
    order that only depends on d. `einsum`, `vecdot` and products go through code that differs
    between processors.
    """
    difference = np.ascontiguousarray(vectors - centres)
    np.square(difference, out=difference)
    return np.asarray(np.add.reduce(difference, axis=1), dtype=np.float64)


def _nearest_squared(vectors: Floats, centres: Floats, exclude: Ints | None) -> tuple[Ints, Floats]:
    """Nearest centre and squared distance for one chunk of rows."""
    centre_norms = np.add.reduce(np.square(centres), axis=1)
    # Squared distances less the vector's own norm, which is the same for all centres of a row.
    rough = centre_norms - 2.0 * (vectors @ centres.T)
    if exclude is not None:
        rough[np.arange(len(rough)), exclude] = np.inf
    # Both ways of measuring are wrong by at most 4 (d + 3) eps (|x|² + |c|²) together (Higham,
    # Accuracy and Stability, 3.1). A wider net only costs time: the true nearest is always in it.
    scale = np.add.reduce(np.square(vectors), axis=1) + centre_norms.max()
    slack = 16.0 * (vectors.shape[1] + 4) * np.finfo(np.float64).eps * scale
    row, column = np.nonzero(rough <= (rough.min(axis=1) + slack)[:, None])
    exact = np.full(rough.shape, np.inf)
    exact[row, column] = _squared(vectors[row], centres[column])
    index = exact.argmin(axis=1)
    return index.astype(np.int64), exact[np.arange(len(exact)), index]
