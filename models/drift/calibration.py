"""What statistics come to without drift: permutations that respect who is in both samples.

A distance of means is never 0, and how far above it lies without any drift depends on the data. So
users are exchanged between the samples at random, over and over, and the statistic is computed each
time (Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 2005). A user in both
samples only ever changes places with himself: the two texts are alike, and to shuffle them among
all others would count as chance what is none, and hide a drift. (With many such users a test that
pools everybody hardly ever gives an alarm.)

An alarm has to be rarer by chance than one in as many permutations as there is time for. So the
tail is that of a Pearson type III distribution, a shifted gamma, with the mean, deviation and
skewness of the draws. That is what a sum of squares looks like, and the usual approximation of such
a tail (Gretton et al., "A Fast, Consistent Kernel Two-Sample Test", NIPS 2009; Larson and Owen,
"Moment Based Gene Set Tests", BMC Bioinformatics 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.distances import Floats, Ints
from models.drift.statistics import Bools

DRAWS = 400
"""Permutations. The deviation is known to 4 % by so many, the skewness to 0.12."""

_SYMMETRIC = 0.01
"""Skewness below which the distribution is taken to be normal."""


def pairs_of(users: NDArray[np.float64], others: NDArray[np.float64]) -> Ints:
    """Find the users who are in both samples.

    Parameters
    ----------
    users, others
        float64[n] and float64[m]: numbers that stand for users, nobody twice in either.

    Returns
    -------
    int64[p, 2]
        Row in the first and row in the second sample.
    """
    _, first, second = np.intersect1d(users, others, assume_unique=True, return_indices=True)
    return np.stack([first, second], axis=1).astype(np.int64)


def exchanges(
    count: int, other: int, pairs: Ints, draws: int, generator: np.random.Generator
) -> Bools:
    """Draw ways to exchange users between two samples.

    Parameters
    ----------
    count, other
        Rows n and m of the samples, the first one's first.
    pairs
        int64[p, 2], as `pairs_of` gives them; each is exchanged with an even chance. The others
        are shuffled among themselves.
    draws
        How many.
    generator
        Source of the draws.

    Returns
    -------
    bool[draws, n + m]
        Which rows make up the first sample, n of them in each draw.
    """
    first = np.zeros((draws, count + other), dtype=np.bool_)
    alone = np.ones(count + other, dtype=np.bool_)
    if len(pairs):
        swapped = generator.random((draws, len(pairs))) < 0.5
        first[:, pairs[:, 0]] = ~swapped
        first[:, count + pairs[:, 1]] = swapped
        alone[pairs[:, 0]] = alone[count + pairs[:, 1]] = False
    rows = np.flatnonzero(alone)
    marks = np.tile(rows < count, (draws, 1))
    first[:, rows] = generator.permuted(marks, axis=1)
    return first


def halvings(count: int, draws: int, generator: np.random.Generator) -> Bools:
    """Draw ways to cut n rows, n at least 2, in two: bool[draws, n], half of each row marked."""
    none = np.empty((0, 2), np.int64)
    return exchanges(count // 2, count - count // 2, none, draws, generator)


def means_by(features: Floats, first: Bools) -> tuple[Floats, Floats]:
    """Mean of the marked rows and of the others, for each draw.

    Parameters
    ----------
    features
        float64[n, f].
    first
        bool[draws, n], as many marked in each row, and not all.

    Returns
    -------
    tuple
        float64[draws, f] twice.
    """
    marked = int(first[0].sum())
    sums = first.astype(np.float64) @ features
    rest = features.sum(axis=0) - sums
    return sums / marked, rest / (len(features) - marked)


def per_user(count: int, other: int) -> float:
    """Give 1/n + 1/m: what a squared distance between two samples of one kind grows with."""
    return 1.0 / count + 1.0 / other


@dataclass(frozen=True)
class NullDistribution:
    """How a statistic is distributed where nothing has changed.

    Attributes
    ----------
    mean, deviation, skewness
        Of the statistic.
    """

    mean: float
    deviation: float
    skewness: float

    @classmethod
    def of(cls, draws: Floats) -> NullDistribution:
        """Take the moments of statistics that were drawn, float64[draws]."""
        mean, deviation = float(draws.mean()), float(draws.std())
        skewness = 0.0
        if deviation > 1e-12 * max(1.0, abs(mean)):
            skewness = float((((draws - mean) / deviation) ** 3).mean())
        return cls(mean, deviation, skewness)

    def times(self, factor: float) -> NullDistribution:
        """Give the distribution of the statistic times a factor above 0."""
        return NullDistribution(self.mean * factor, self.deviation * factor, self.skewness)

    def exceeded_by(self, chance: float) -> float:
        """Give the value that is exceeded with that chance, in (0, 1).

        A tail that is thinner than the normal one, skewed to the left, is taken as normal.
        """
        from scipy.special import gammainccinv, ndtri  # noqa: PLC0415 - only who looks for drift

        if self.skewness < _SYMMETRIC:
            return self.mean - self.deviation * float(ndtri(chance))
        shape = 4.0 / self.skewness**2
        tail = (float(gammainccinv(shape, chance)) - shape) / np.sqrt(shape)
        return self.mean + self.deviation * float(tail)
