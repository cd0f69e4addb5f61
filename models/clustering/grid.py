"""Users on a grid so fine that nobody sees it, on which sums and products have no rounding.

Looking for the number of segments takes hundreds of comparisons of all users with all centres.
Matrix products are fast, but round differently from processor to processor. Of numbers with twenty
binary places a product has forty, and a sum of thousands of them still fits a float64: it is exact,
so it is the same to the bit on any machine.
"""

from __future__ import annotations

import numpy as np

from models.clustering.reseed import ROUNDING
from models.distances import Floats, Ints

_PLACES = 20
_WEIGHT_STEP = 2.0**-6


class GridSample:
    """Weighted users with their coordinates in [-1, 1], in steps of 2^-20.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1.
    weights
        float64[n], above 0, at most some hundreds.
    scale
        What 1 on the grid is, a power of two, so that scaling loses nothing; by default the least
        that all coordinates are within.
    """

    def __init__(self, vectors: Floats, weights: Floats, *, scale: float | None = None) -> None:
        if scale is None:
            largest = float(np.abs(vectors).max())
            scale = 2.0 ** int(np.frexp(largest)[1]) if largest > 0.0 else 1.0
        self._scale = scale
        self._vectors = self.on_grid(vectors)
        self.weights = np.maximum(np.round(weights / _WEIGHT_STEP), 1.0) * _WEIGHT_STEP
        self._weighted = self._vectors * self.weights[:, None]
        self._norms = np.square(self._vectors).sum(axis=1)

    def __len__(self) -> int:
        return len(self._vectors)

    def best_known(self, count: int) -> GridSample:
        """Give the users of the largest weights, so many at most, in their order."""
        users = np.sort(np.argsort(-self.weights, kind="stable")[:count])
        vectors = self._vectors[users] * self._scale
        return GridSample(vectors, self.weights[users], scale=self._scale)

    def on_grid(self, vectors: Floats) -> Floats:
        """Bring vectors to the grid, float64[n, d]."""
        return _rounded(vectors / self._scale)

    def off_grid(self, points: Floats) -> Floats:
        """Give vectors of the length that they had."""
        return points * self._scale

    def squares(self, users: Ints | slice, centres: Floats) -> Floats:
        """Squared distance of users from each centre on the grid, float64[n, K]."""
        norms = np.square(centres).sum(axis=1)
        found: Floats = self._norms[users][:, None] + norms
        found -= 2.0 * (self._vectors[users] @ centres.T)
        return found

    @staticmethod
    def between(centres: Floats) -> Floats:
        """Squared distance of each two centres on the grid, float64[K, K]."""
        norms = np.square(centres).sum(axis=1)
        found: Floats = norms[:, None] + norms - 2.0 * (centres @ centres.T)
        return found

    def nearest(self, centres: Floats) -> Ints:
        """Row of each user's nearest centre, int64[n]; of equals the first."""
        rows: Ints = self.squares(slice(None), centres).argmin(axis=1)
        return rows

    def means(self, users: Ints, rows: Ints, centres: Floats) -> Floats:
        """Weighted mean of the users of each row, on the grid; the centre where there are none."""
        order = np.argsort(rows, kind="stable")
        present, first = np.unique(rows[order], return_index=True)
        own = users[order]
        weight = np.add.reduceat(self.weights[own], first)
        found = centres.copy()
        found[present] = _rounded(
            np.add.reduceat(self._weighted[own], first, axis=0) / weight[:, None]
        )
        return found

    def spread(
        self, centres: Floats, count: int, generator: np.random.Generator, counts: Floats
    ) -> Floats:
        """Pick more centres among the users by k-means++, far from those that are there.

        Parameters
        ----------
        centres
            float64[m, d], on the grid.
        count
            Centres to have in the end.
        generator
            Source of the draws.
        counts
            float64[n]. How much each user counts.

        Returns
        -------
        float64[K, d]
            Fewer than `count` where there are not that many different users.
        """
        everybody = slice(None)
        if not len(centres):
            centres = self._vectors[int(generator.integers(len(self)))][None]
        least = ROUNDING**2 * float(self._norms.max())
        squares = self.squares(everybody, centres).min(axis=1)
        draws = 2 + int(np.log(count))
        while len(centres) < count:
            chance = np.cumsum(np.where(squares > least, counts * squares, 0.0))
            if chance[-1] <= 0.0:
                break
            drawn = np.searchsorted(chance, generator.random(draws) * chance[-1], side="right")
            tried = self._vectors[drawn]
            left = np.minimum(squares[:, None], self.squares(everybody, tried))
            best = int(np.add.reduce(counts[:, None] * left, axis=0).argmin())
            centres, squares = np.vstack([centres, tried[best]]), left[:, best]
        return centres

    def lloyd(self, centres: Floats, steps: int) -> tuple[Floats, Ints]:
        """Move centres to the mean of their users, so often or until nothing moves.

        Returns
        -------
        tuple
            Centres, float64[K, d], and the row of each user's nearest, int64[n].
        """
        users, rows = np.arange(len(self)), self.nearest(centres)
        for _ in range(steps):
            centres = self.means(users, rows, centres)
            before, rows = rows, self.nearest(centres)
            if np.array_equal(before, rows):
                break
        return centres, rows


def _rounded(values: Floats) -> Floats:
    found: Floats = np.ldexp(np.round(np.ldexp(values, _PLACES)), -_PLACES)
    return found
