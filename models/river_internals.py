"""The only module that reaches into River's private parts, for what River has no public way to do.

It was checked for River `CHECKED_VERSION`, and a test fails where another one is installed: look at
each class and function here then, and at what River has mended since.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from river import cluster

CHECKED_VERSION = "0.26.1"
"""River's version whose private parts these are."""


class SoundDBSTREAM(cluster.DBSTREAM):
    """DBSTREAM whose graph has no direction, and which drops what belongs to dead micro-clusters.

    River keeps the shared density of a pair under the lower key only, and follows it only that way:
    of three in a row, the middle one with the highest key, the third is cut off. When it removes a
    micro-cluster it stops looking at the first key above, though keys are not in order; a later
    micro-cluster with the same key inherits what is left. And it has no bound on their number.
    """

    most: int = 0
    """Micro-clusters at most; beyond that the weakest is dropped."""

    @property
    def learned(self) -> int:
        """Vectors learned: the time by which weights fade."""
        return int(self._time_stamp)

    @learned.setter
    def learned(self, count: int) -> None:
        self._time_stamp = count

    def _generate_weighted_adjacency_matrix(self) -> dict[int, dict[int, float]]:
        one_way = super()._generate_weighted_adjacency_matrix()  # type: ignore[no-untyped-call]
        both: dict[int, dict[int, float]] = {}
        for i, row in one_way.items():
            for j, value in row.items():
                both.setdefault(i, {})[j] = value
                both.setdefault(j, {})[i] = value
        return both

    def learn_one(self, x: dict[Hashable, Any], w: float | None = None) -> None:  # noqa: ARG002
        """Learn a vector, then keep within bounds."""
        super().learn_one(x)  # type: ignore[no-untyped-call]
        if len(self.micro_clusters) > self.most:
            self._drop_weakest()
        if self.learned % self.cleanup_interval == 0:
            self._forget_the_dead()

    def _drop_weakest(self) -> None:
        present = [
            each.weight * 2 ** (-self.fading_factor * (self.learned - each.last_update))
            for each in self.micro_clusters.values()
        ]
        del self.micro_clusters[list(self.micro_clusters)[int(np.argmin(present))]]
        self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """Drop shared densities that are 0 or of micro-clusters that are no more."""
        alive = self.micro_clusters
        for i in list(self.s):
            row = {j: s for j, s in self.s[i].items() if s > 0 and j in alive}
            if i in alive and row:
                self.s[i] = row
                self.s_t[i] = {j: self.s_t[i][j] for j in row}
            else:
                del self.s[i], self.s_t[i]
