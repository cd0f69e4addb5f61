"""River's estimators where they had to be mended: what each class says, and nothing else.

What is not overridden is River's. The defects are those of River 0.26.1.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from river import cluster
from river.cluster.denstream import DenStreamMicroCluster

Point = dict[Hashable, Any]
"""A vector as River takes it."""

Micro = dict[int, DenStreamMicroCluster]
"""DenStream's micro-clusters by key."""


class WarmSTREAMKMeans(cluster.STREAMKMeans):
    """STREAMKMeans whose k-means of a chunk begins with the centres so far.

    River begins each chunk with random centres. On unit vectors one of them takes the whole chunk,
    and the others, still random, are then learned as if they were vectors. Beginning with the
    centres so far, a centre without vectors in the chunk stays what it is, and learning it again
    changes nothing.
    """

    def learn_one(self, x: Point, w: float | None = None) -> None:  # noqa: ARG002
        """Learn a vector; with the last of a chunk, the chunk."""
        self.time_stamp += 1
        self._temp_chunk[len(self._temp_chunk)] = x
        if len(self._temp_chunk) < self.chunk_size:
            return
        chunk = cluster.KMeans(n_clusters=self.n_clusters, **self.kwargs)
        chunk.centers = {row: centre.copy() for row, centre in self._kmeans.centers.items()}
        for point in self._temp_chunk.values():
            chunk.learn_one(point)
        for centre in chunk.centers.values():
            self._kmeans.learn_one(centre)
        self._temp_chunk = {}

    def put(self, centres: dict[int, Any]) -> None:
        """Go on from these centres."""
        self.n_clusters = self._kmeans.n_clusters = len(centres)
        self._kmeans.centers = self.centers = centres


class SoundDBSTREAM(cluster.DBSTREAM):
    """DBSTREAM whose graph has no direction, and which drops what belongs to dead micro-clusters.

    River keeps the shared density of a pair under the lower key only, and follows it only that way:
    of three in a row, the middle one with the highest key, the third is cut off. When it removes a
    micro-cluster it stops looking at the first key above, though keys are not in order; a later
    micro-cluster with the same key inherits what is left.
    """

    most: int = 0

    def _generate_weighted_adjacency_matrix(self) -> dict[int, dict[int, float]]:
        one_way = super()._generate_weighted_adjacency_matrix()  # type: ignore[no-untyped-call]
        both: dict[int, dict[int, float]] = {}
        for i, row in one_way.items():
            for j, value in row.items():
                both.setdefault(i, {})[j] = value
                both.setdefault(j, {})[i] = value
        return both

    def learn_one(self, x: Point, w: float | None = None) -> None:  # noqa: ARG002
        """Learn a vector, then keep within bounds."""
        super().learn_one(x)  # type: ignore[no-untyped-call]
        if len(self._micro_clusters) > self.most:
            self._drop_weakest()
        if self._time_stamp % self.cleanup_interval == 0:
            self._forget_the_dead()

    def _drop_weakest(self) -> None:
        """Keep the number of micro-clusters within bounds: River's own bound is none."""
        present = [
            each.weight * 2 ** (-self.fading_factor * (self._time_stamp - each.last_update))
            for each in self._micro_clusters.values()
        ]
        del self._micro_clusters[list(self._micro_clusters)[int(np.argmin(present))]]
        self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """Drop shared densities that are 0 or of micro-clusters that are no more."""
        alive = self._micro_clusters
        for i in list(self.s):
            row = {j: s for j, s in self.s[i].items() if s > 0 and j in alive}
            if i in alive and row:
                self.s[i] = row
                self.s_t[i] = {j: self.s_t[i][j] for j in row}
            else:
                del self.s[i], self.s_t[i]


class SoundMicroCluster(DenStreamMicroCluster):
    """A micro-cluster whose radius is the root mean square distance of its vectors (River #2004).

    River takes the length of the vector of squared sums where the sum of its parts is meant. Away
    from the origin that makes the radius 0, and every vector fits.
    """

    __slots__ = ()

    def calc_radius(self, timestamp: int) -> float:  # noqa: ARG002 - the fading cancels out
        """Give the radius, whatever the time."""
        return _radius(self.linear_sum.values(), self.squared_sum.values(), self.N)

    def radius_with(self, x: Point) -> float:
        """Give the radius that it would have with one more vector."""
        return _radius(
            [total + x[key] for key, total in self.linear_sum.items()],
            [total + x[key] * x[key] for key, total in self.squared_sum.items()],
            self.N + 1,
        )


def _radius(sums: Iterable[float], squares: Iterable[float], count: float) -> float:
    variance = sum(squares) / count - sum(value * value for value in sums) / (count * count)
    return math.sqrt(max(variance, 0.0))


class SoundDenStream(cluster.DenStream):
    """DenStream with the five defects put right that matter here.

    * The radius: see `SoundMicroCluster`.
    * River gives a new micro-cluster the number of those there are as its key, which after a
      removal may be another's: that one is overwritten. Here it is the highest key and one.
    * Asking for a prediction adds the micro-clusters of a cluster up in the first of them, in
      place. Here in a copy.
    * DBSCAN does not go on from the neighbours of neighbours. Here a micro-cluster's neighbours
      are all that can be reached from it.
    * There is no bound on the number of micro-clusters. Here the lightest is dropped.
    """

    most: int = 0

    def learn_one(self, x: Point, w: float | None = None) -> None:  # noqa: ARG002
        """Learn a vector, then keep within bounds."""
        super().learn_one(x)  # type: ignore[no-untyped-call]
        for micro in (self.o_micro_clusters, self.p_micro_clusters):
            if len(self.p_micro_clusters) + len(self.o_micro_clusters) > self.most and micro:
                weights = [each.calc_weight(self.timestamp) for each in micro.values()]
                del micro[list(micro)[int(np.argmin(weights))]]

    def _merge(self, point: Point) -> None:
        potential = self._nearest_that_fits(point, self.p_micro_clusters)
        if potential is not None:
            self.p_micro_clusters[potential].insert(point, self.timestamp)
            return
        outlier = self._nearest_that_fits(point, self.o_micro_clusters)
        if outlier is None:
            new = SoundMicroCluster(point, self.timestamp, self.decaying_factor)
            self.o_micro_clusters[_next_key(self.o_micro_clusters)] = new
            return
        grown = self.o_micro_clusters[outlier]
        grown.insert(point, self.timestamp)
        if grown.calc_weight(self.timestamp) > self.mu * self.beta:
            del self.o_micro_clusters[outlier]
            self.p_micro_clusters[_next_key(self.p_micro_clusters)] = grown

    def _nearest_that_fits(self, point: Point, micro: Micro) -> int | None:
        key = self._get_closest_cluster_key(point, micro)
        if key < 0 or micro[key].radius_with(point) > self.epsilon:
            return None
        return int(key)

    def _query_neighbor(self, cluster: DenStreamMicroCluster) -> deque[DenStreamMicroCluster]:
        reached = [cluster]
        for each in reached:
            known = set(map(id, reached))
            near = super()._query_neighbor(each)  # type: ignore[no-untyped-call]
            reached += [other for other in near if id(other) not in known]
        return deque(reached[1:])

    @staticmethod
    def _generate_clusters_for_labels(
        cluster_labels: dict[DenStreamMicroCluster, int],
    ) -> tuple[int, Micro]:
        clusters: Micro = {}
        for micro, label in cluster_labels.items():
            if label in clusters:
                clusters[label].merge(micro)
            else:
                clusters[label] = copy.copy(micro)
                clusters[label].linear_sum = dict(micro.linear_sum)
                clusters[label].squared_sum = dict(micro.squared_sum)
        return len(clusters), clusters


def _next_key(micro: Micro) -> int:
    return max(micro, default=-1) + 1
