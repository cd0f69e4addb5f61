"""River's DBSTREAM: micro-clusters of one radius, joined where they share vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from river.cluster.dbstream import DBSTREAMMicroCluster

from models.clustering.clusterers.base import (
    RiverClusterer,
    State,
    as_features,
    as_rows,
    check_above_zero,
    check_counts,
)
from models.distances import Floats, nearest
from models.river_internals import SoundDBSTREAM

_COMPARED = 500
"""Vectors whose distances from each other are looked at, at most."""

MOST_CHANGE = 0.25
"""Share by which the fitting radius may differ from the one in use."""

LEAST_WIDTH = 1e-6
"""Radius where all vectors are the same: any will do."""


class DBSTREAM(RiverClusterer):
    """`river.cluster.DBSTREAM`, which finds the number of clusters itself.

    Everything hangs on the radius. Unless it is given, it is `radius_factor` times how far the
    first vectors are from the nearest of their K centres, in the median, or from the nearest of the
    others, where that is more: a micro-cluster begins at a vector and gathers nothing if no other
    is within its radius. It is measured again when the clusterer is steered, and where it no longer
    fits, all begins anew: profiles of few events lie far apart, and those of the same users close
    together later.

    River has no weights for it. Its labels are positions that mean something only until the next
    vector is learned, and where nothing is strong yet it answers 0: here it is not ready then.

    Parameters
    ----------
    segments
        Segments that are expected; only the bound on micro-clusters hangs on it.
    radius
        Of a micro-cluster; None to find it.
    radius_factor
        See above.
    fading
        Share of a doubling by which weights fade with a vector: they halve in 1 / `fading` vectors.
    cleanup
        Vectors learned between two removals of weak micro-clusters.
    intersection
        Share of their weight that two micro-clusters must have in common to be joined.
    least_weight
        Weight below which a micro-cluster is noise.
    micro_clusters
        The most micro-clusters; None for 200, or 10 K where that is more. Beyond that the
        weakest is dropped.

    References
    ----------
    Hahsler and Bolaños, "Clustering data streams based on shared density between micro-clusters",
    IEEE TKDE 28, 2016.
    """

    name = "dbstream"

    def __init__(
        self,
        segments: int,
        *,
        radius: float | None = None,
        radius_factor: float = 1.1,
        fading: float = 0.0005,
        cleanup: int = 200,
        intersection: float = 0.3,
        least_weight: float = 5.0,
        micro_clusters: int | None = None,
    ) -> None:
        if micro_clusters is None:
            micro_clusters = max(200, 10 * segments)
        check_above_zero(
            radius=radius,
            radius_factor=radius_factor,
            fading=fading,
            intersection=intersection,
            least_weight=least_weight,
        )
        check_counts(segments=segments, cleanup=cleanup, micro_clusters=micro_clusters)
        self.radius = radius
        self.radius_factor = radius_factor
        self.fading = fading
        self.cleanup = cleanup
        self.intersection = intersection
        self.least_weight = least_weight
        self.micro_clusters = micro_clusters
        self._river = self._new(radius or LEAST_WIDTH)

    def _new(self, radius: float) -> SoundDBSTREAM:
        river = SoundDBSTREAM(
            clustering_threshold=radius,
            fading_factor=self.fading,
            cleanup_interval=self.cleanup,
            intersection_factor=self.intersection,
            minimum_weight=self.least_weight,
        )
        river.most = self.micro_clusters
        return river

    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None:  # noqa: ARG002
        self._river = self._new(self._fitting(vectors, centres))
        for vector in vectors:
            self._river.learn_one(as_features(vector))

    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        radius = self._river.clustering_threshold
        if abs(self._fitting(vectors, centres) / radius - 1.0) > MOST_CHANGE:
            self._start(vectors, weights, centres)

    def _fitting(self, vectors: Floats, centres: Floats) -> float:
        return self.radius or self.radius_factor * reach(vectors, centres)

    def _state(self) -> State:
        river = self._river
        micro = river.micro_clusters
        pairs = [(i, j) for i, row in river.s.items() for j in row]
        shared = [(river.s[i][j], river.s_t[i][j]) for i, j in pairs]
        return {
            "radius": river.clustering_threshold,
            "learned": river.learned,
            "keys": np.array(list(micro), dtype=np.int64),
            "centres": as_rows({key: each.center for key, each in micro.items()}),
            "weights": np.array([each.weight for each in micro.values()], dtype=np.float64),
            "updates": np.array([each.last_update for each in micro.values()], dtype=np.int64),
            "pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2),
            "shared": np.array([value for value, _ in shared], dtype=np.float64),
            "shared_at": np.array([at for _, at in shared], dtype=np.int64),
        }

    def _restore(self, state: State) -> None:
        river = self._river = self._new(float(state["radius"]))
        river.learned = int(state["learned"])
        columns: tuple[Any, ...] = (
            state["keys"].tolist(),
            state["centres"],
            state["updates"].tolist(),
            state["weights"].tolist(),
        )
        for key, centre, update, weight in zip(*columns, strict=True):
            river.micro_clusters[key] = DBSTREAMMicroCluster(
                x=as_features(centre), last_update=update, weight=weight
            )
        columns = (state["pairs"].tolist(), state["shared"].tolist(), state["shared_at"].tolist())
        for (i, j), value, at in zip(*columns, strict=True):
            river.s.setdefault(i, {})[j] = value
            river.s_t.setdefault(i, {})[j] = at


def reach(vectors: Floats, centres: Floats) -> float:
    """Distance within which most vectors, float64[n, d], have a centre and a neighbour.

    The larger of two medians: the distance from the nearest of the centres, and that from the
    nearest of the other vectors.
    """
    _, distances = nearest(vectors, centres)
    width = max(float(np.median(distances)), LEAST_WIDTH)
    some = vectors[:: -(-len(vectors) // _COMPARED)]
    if len(some) < 2:
        return width
    _, distances = nearest(some, some, exclude=np.arange(len(some)))
    return max(float(np.median(distances)), width)
