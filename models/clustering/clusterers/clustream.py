"""River's CluStream: many micro-clusters along the stream, k-means over them now and then."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from river import cluster, stats
from river.cluster.clustream import CluStreamMicroCluster

from models.clustering.clusterers.base import (
    ClustererError,
    State,
    WarmStarted,
    as_features,
    as_rows,
    assign,
)
from models.clustering.reseed import lloyd
from models.distances import Floats, Ints, nearest

_NEVER = 2**62
"""A `time_gap` at which River does not cluster the micro-clusters itself."""

_SUMMARY_STEPS = 5
"""Lloyd's steps for the first micro-clusters. They are many and small; where exactly they lie does
not matter."""


class CluStream(WarmStarted):
    """`river.cluster.CluStream`, with three things put right for unit vectors.

    * River's k-means over the micro-clusters begins with random centres each time and collapses.
      Here it begins with the centres so far and takes Lloyd's steps, each micro-cluster weighing
      what it holds; the result is put into River, which predicts with it.
    * River compares the distance of a vector, over all dimensions, with the mean deviation of one
      dimension. In 384 dimensions nothing ever fits, and each vector costs a merge of the two
      nearest micro-clusters (40 ms). The factor of the radius is multiplied by the square root
      of d, which makes it the root mean square distance that the paper means.
    * The first micro-clusters are made of the whole warm-up, as in the paper, not of the first
      vectors.

    A vector's weight is not passed on: a micro-cluster of one vector whose weight is not 1 has the
    radius 0 in River and takes in nothing more.

    Parameters
    ----------
    segments, seed, warm_up
        As for `WarmStarted`.
    micro_clusters
        The most micro-clusters; None for 100, or 5 K where that is more.
    radius_factor
        How many times the root mean square deviation a vector may be away and still fit.
    window
        Vectors after which a micro-cluster that got nothing more may be replaced.
    gap
        Vectors learned between two rounds of k-means over the micro-clusters.

    References
    ----------
    Aggarwal et al., "A framework for clustering evolving data streams", VLDB 2003.
    """

    name = "clustream"

    def __init__(
        self,
        segments: int,
        *,
        seed: int = 0,
        warm_up: int = 100,
        micro_clusters: int | None = None,
        radius_factor: float = 2.0,
        window: int = 5_000,
        gap: int = 100,
    ) -> None:
        super().__init__(segments, seed=seed, warm_up=warm_up)
        if micro_clusters is None:
            micro_clusters = max(100, 5 * segments)
        for field, value in (("micro_clusters", micro_clusters), ("window", window), ("gap", gap)):
            if value < 1:
                raise ClustererError(f"{field} is {value}: give a count, 1 or more")
        if micro_clusters < segments:
            raise ClustererError(
                f"micro_clusters is {micro_clusters} for {segments} segments: give as many or more"
            )
        if not radius_factor > 0:
            raise ClustererError(f"radius_factor is {radius_factor}: give a factor above 0")
        self.micro_clusters = micro_clusters
        self.radius_factor = radius_factor
        self.window = window
        self.gap = gap
        self._river = self._new()
        self._macro_of: Ints | None = None

    def _new(self) -> Any:
        return cluster.CluStream(
            n_macro_clusters=self.segments,
            max_micro_clusters=self.micro_clusters,
            # River says int and takes any number.
            micro_cluster_r_factor=self.radius_factor * math.sqrt(max(self.dimensions, 1)),  # type: ignore[arg-type]
            time_window=self.window,
            time_gap=_NEVER,
            seed=self.seed,
        )

    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None:  # noqa: ARG002
        self._river = self._new()
        self._river._timestamp = len(vectors) - 1
        different = np.unique(vectors, axis=0)
        # Any rows do as first places: users come in the order of their hash.
        rows = np.unique(np.linspace(0, len(different) - 1, self.micro_clusters).astype(np.int64))
        places, _ = lloyd(vectors, different[rows], _SUMMARY_STEPS)
        index, _ = nearest(vectors, places)
        for key, place in enumerate(np.unique(index).tolist()):
            members = vectors[index == place]
            mean = members.mean(axis=0)
            squares = np.square(members - mean).sum(axis=0)
            moment = (float(len(members)), float(self._river._timestamp), 0.0)
            self._river.micro_clusters[key] = _micro_cluster(moment, mean, squares)
        # With fewer than it may have, River goes on to make one of each vector.
        self._river._initialized = len(self._river.micro_clusters) >= self.micro_clusters
        self._put(centres)

    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:  # noqa: ARG002
        self._put(centres)

    def _put(self, centres: Floats) -> None:
        kmeans = cluster.KMeans(n_clusters=len(centres), seed=self.seed)
        kmeans.centers = {row: as_features(centre) for row, centre in enumerate(centres)}
        self._river.n_macro_clusters = len(centres)
        self._river._kmeans_mc = kmeans
        self._river.centers = kmeans.centers
        self._macro_of = None

    def _learn(self, vector: Floats, weight: float) -> None:  # noqa: ARG002
        self._river.learn_one(as_features(vector))
        self._macro_of = None
        if self._river._timestamp % self.gap == self.gap - 1:
            micro = self._river.micro_clusters.values()
            weights = np.array([each.weight for each in micro], dtype=np.float64)
            centres, _ = lloyd(self._micro_centres(), self._centres(), weights=weights)
            self._put(centres)

    def _micro_centres(self) -> Floats:
        return as_rows({key: each.center for key, each in self._river.micro_clusters.items()})

    def _centres(self) -> Floats:
        return as_rows(self._river.centers)

    def _labels(self, vectors: Floats) -> Ints:
        places = self._micro_centres()
        if self._macro_of is None:
            self._macro_of = assign(places, self._centres(), self._river._kmeans_mc.predict_one)
        keys = list(self._river.micro_clusters)
        rows = assign(
            vectors, places, lambda features: keys.index(self._river._get_closest_mc(features)[0])
        )
        labels: Ints = self._macro_of[rows]
        return labels

    def _predict_one(self, vector: Floats) -> int:
        return int(self._river.predict_one(as_features(vector)))

    def _state(self) -> State:
        micro = self._river.micro_clusters
        times = [each.var_time for each in micro.values()]
        return {
            "learned": self._river._timestamp,
            "centres": self._centres(),
            "keys": np.array(list(micro), dtype=np.int64),
            "means": self._micro_centres(),
            "squares": np.array(
                [[var._S for var in each.var_x.values()] for each in micro.values()]
            ),
            "moments": np.array([[time.n, time.mean._mean, time._S] for time in times]),
        }

    def _restore(self, state: State) -> None:
        self._river = self._new()
        self._river._timestamp = int(state["learned"])
        self._river.micro_clusters = {
            key: _micro_cluster(tuple(moment), mean, squares)
            for key, moment, mean, squares in zip(
                state["keys"].tolist(),
                state["moments"].tolist(),
                state["means"],
                state["squares"],
                strict=True,
            )
        }
        self._river._initialized = len(self._river.micro_clusters) >= self.micro_clusters
        self._put(np.asarray(state["centres"]))

    def _size(self) -> int:
        micro = len(self._river.micro_clusters)
        return micro * (2 * self.dimensions + 4) + len(self._river.centers) * self.dimensions

    def _max_size(self, dimensions: int) -> int:
        centres = max(self.segments, len(self._river.centers))
        return self.micro_clusters * (2 * dimensions + 4) + centres * dimensions


def _variance(count: float, mean: float, squares: float) -> stats.Var:
    """Give River's running variance: a count, a mean and the sum of squares about it."""
    var = stats.Var()
    var.mean.n, var.mean._mean, var._S = count, mean, squares
    return var


def _micro_cluster(
    moment: tuple[float, ...], mean: Floats, squares: Floats
) -> CluStreamMicroCluster:
    """Give River's micro-cluster; `moment` is the variance of the times of its vectors."""
    count = moment[0]
    micro = CluStreamMicroCluster(x={}, w=1.0, timestamp=int(moment[1]))
    micro.var_x = {
        key: _variance(count, *pair)
        for key, pair in enumerate(zip(mean.tolist(), squares.tolist(), strict=True))
    }
    micro.var_time = _variance(*moment)
    return micro
