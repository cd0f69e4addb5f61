"""How far two samples of vectors are apart: what is measured of drift, before any threshold.

All functions are pure and symmetric in the two samples, but for the scale of a component.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.distances import Floats, Ints

Bools = NDArray[np.bool_]

SMOOTHING = 0.5
"""Users added to each segment before shares are compared: a share of 0 has no logarithm."""


def squared_distance(mean: Floats, other: Floats) -> Floats:
    """Squared Euclidean distance of means, of one pair or of many.

    Parameters
    ----------
    mean, other
        float64[..., d].

    Returns
    -------
    float64[...]
    """
    return np.asarray(np.square(mean - other).sum(axis=-1))


def cosine_distance(mean: Floats, other: Floats) -> Floats:
    """1 less the cosine between means, in [0, 2]; 0 where one of them is 0.

    Parameters
    ----------
    mean, other
        float64[..., d].
    """
    lengths = np.linalg.norm(mean, axis=-1) * np.linalg.norm(other, axis=-1)
    product = (mean * other).sum(axis=-1)
    cosine = np.divide(product, lengths, out=np.ones_like(lengths), where=lengths > 0)
    return np.asarray(1.0 - np.clip(cosine, -1.0, 1.0))


def psi(counts: Ints, others: Ints) -> Floats:
    """Compute the population stability index of two tables of counts by segment, at least 0.

    The sum of (p - q) ln(p / q) over the segments' shares p and q, with half a user more in each
    segment. Symmetric, and for small changes 2 / n times a chi-squared statistic.

    Parameters
    ----------
    counts, others
        int64[..., K].
    """
    p, q = _shares(counts), _shares(others)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def _shares(counts: Ints) -> Floats:
    smoothed = counts + SMOOTHING
    return np.asarray(smoothed / smoothed.sum(axis=-1, keepdims=True))


def spreads(vectors: Floats) -> Floats:
    """Give the standard deviation of each component, float64[d]; 1 where it does not vary."""
    found = vectors.std(axis=0)
    return np.where(found > 1e-12, found, 1.0)


class SortedComponents:
    """Vectors sorted component by component, to compare parts of them many times.

    The Wasserstein distance of two samples on a line is the area between their distribution
    functions; in the order of the values both are running sums.

    Parameters
    ----------
    vectors
        float64[n, d].
    scale
        float64[d]. What a component's distances are divided by.
    """

    def __init__(self, vectors: Floats, scale: Floats) -> None:
        # A component's values side by side: that sorts three times as fast. In which order equal
        # ones come is no matter, as there is no gap between them.
        columns = np.ascontiguousarray(vectors.T)
        self._order = np.argsort(columns, axis=1)
        ordered = np.take_along_axis(columns, self._order, axis=1)
        self._gaps = np.diff(ordered, axis=1) / scale[:, None]

    def distances(self, first: Bools) -> Floats:
        """Wasserstein distance between the marked rows and the others, by component, float64[d].

        Parameters
        ----------
        first
            bool[n]. Which rows are the first sample; neither may be empty.
        """
        count = int(first.sum())
        steps = np.where(first, 1.0 / count, -1.0 / (len(first) - count))
        between = np.abs(np.cumsum(steps[self._order], axis=1)[:, :-1])
        return np.asarray((between * self._gaps).sum(axis=1))


def component_distances(vectors: Floats, others: Floats, scale: Floats) -> Floats:
    """Wasserstein distance of two samples in each component, in units of its scale, float64[d].

    Parameters
    ----------
    vectors, others
        float64[n, d] and float64[m, d], neither empty.
    scale
        float64[d], e.g. `spreads` of the reference.
    """
    first = np.arange(len(vectors) + len(others)) < len(vectors)
    return SortedComponents(np.concatenate([vectors, others]), scale).distances(first)
