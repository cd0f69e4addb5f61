"""Mean and variance of ratings from sums that are added up and merged.

Kept are the weight W = sum w, and S1 = sum w (r - c) and S2 = sum w (r - c)^2 about a fixed number
c close to the ratings, here the first one that came. So adding and merging is adding numbers, and
yet little is lost to cancellation: the shifted algorithm of Chan, Golub and LeVeque, "Algorithms
for Computing the Sample Variance", The American Statistician 37(3), 1983. What was added about
different c is merged by their pairwise formula (`merged`).

Weights fade, so they are no counts: the variance is that of the weighted ratings themselves,
M2 / W, and 0 for a single one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Of n groups of ratings: W, mean, and M2 = sum w (r - mean)^2, float64 (n,) each.

    Where nothing was rated all three are 0.
    """

    weight: F64
    mean: F64
    m2: F64

    def variance(self) -> F64:
        """Give the weighted variance, float64 (n,); 0 where nothing was rated."""
        return np.divide(self.m2, self.weight, out=np.zeros_like(self.m2), where=self.weight > 0)


def of_sums(weight: F64, first: F64, second: F64, centre: F64) -> Moments:
    """Give the moments that sums about `centre` stand for, all float64 (n,)."""
    rated = weight > 0
    shift = np.divide(first, weight, out=np.zeros_like(first), where=rated)
    m2 = np.maximum(second - first * shift, 0.0)
    return Moments(
        np.where(rated, weight, 0.0),
        np.where(rated, centre + shift, 0.0),
        np.where(rated, m2, 0.0),
    )


def merged(moments: Moments, groups: I64, count: int) -> Moments:
    """Merge moments by group, of which there are `count`.

    Parameters
    ----------
    moments
        Of n parts.
    groups
        Of which group each is, int64 (n,), from 0 up.
    count
        Number of groups.
    """
    weight = summed(moments.weight, groups, count)
    total = summed(moments.weight * moments.mean, groups, count)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    # Chan's formula for many parts at once: within each part, and between parts and the whole.
    between = moments.weight * np.square(moments.mean - mean[groups])
    return Moments(weight, mean, summed(moments.m2 + between, groups, count))


def summed(numbers: F64, groups: I64, count: int) -> F64:
    """Add numbers up by group, one after the other, float64 (count,)."""
    return np.bincount(groups, numbers, count).astype(np.float64)
