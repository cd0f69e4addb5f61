"""River's DenStream, with its defects gone round: micro-clusters that grow up, joined by DBSCAN."""

from __future__ import annotations

import numpy as np
from river.cluster.denstream import DenStreamMicroCluster
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from models.clustering.clusterers.base import (
    ClustererError,
    State,
    WarmStarted,
    as_features,
    as_rows,
    assign,
)
from models.clustering.clusterers.dbstream import LEAST_WIDTH, outgrown, width
from models.clustering.clusterers.kmeans import check_share
from models.clustering.clusterers.mended import Micro, SoundDenStream, SoundMicroCluster
from models.distances import Floats, Ints

CHAINED_SHARE = 0.95
"""More of the known users than this in one cluster, and it is a chain and no segment."""

NARROWER = 0.8
NARROWINGS = 5
"""Epsilon falls to a third at most."""


class DenStream(WarmStarted):
    """`river.cluster.DenStream`, which finds the number of clusters itself.

    Everything hangs on epsilon, the most that the radius of a micro-cluster may be. Unless it is
    given, it is `radius_factor` times how far the vectors of the warm-up are from the nearest of
    their K centres, in the median; it is measured again as DBSTREAM's radius is.

    River's own start, a DBSCAN over the first vectors, finds nothing dense in 384 dimensions; here
    the warm-up is learned vector by vector.

    A chain of micro-clusters that touch can swallow everybody, and there is no telling from the
    distances at which epsilon it does. So where nearly all known users end in one cluster, epsilon
    is narrowed and the clusterer begins anew, some times over.

    River has no weights for it.

    Parameters
    ----------
    segments, seed, warm_up
        As for `WarmStarted`.
    epsilon
        The most radius of a micro-cluster; None to find it in the warm-up.
    radius_factor
        See above.
    fading
        Share of a doubling by which weights fade with a tick of `stream_speed` vectors.
    stream_speed
        Vectors learned between two ticks.
    least_weight
        Weight (River's `mu`) above which a micro-cluster is joined with others.
    potential
        Share of that (River's `beta`) above which it counts as a cluster at all.
    micro_clusters
        The most micro-clusters; None for 200, or 10 K where that is more. Beyond that the
        lightest is dropped.

    References
    ----------
    Cao et al., "Density-based clustering over an evolving data stream with noise", SDM 2006.
    """

    name = "denstream"
    own_number = True

    def __init__(
        self,
        segments: int,
        *,
        seed: int = 0,
        warm_up: int = 100,
        epsilon: float | None = None,
        radius_factor: float = 0.9,
        fading: float = 0.05,
        stream_speed: int = 100,
        least_weight: float = 6.0,
        potential: float = 0.5,
        micro_clusters: int | None = None,
    ) -> None:
        super().__init__(segments, seed=seed, warm_up=warm_up)
        if micro_clusters is None:
            micro_clusters = max(200, 10 * segments)
        for field, value in (
            ("epsilon", epsilon),
            ("radius_factor", radius_factor),
            ("fading", fading),
        ):
            if value is not None and not value > 0:
                raise ClustererError(f"{field} is {value}: give a number above 0")
        for field, count in (("stream_speed", stream_speed), ("micro_clusters", micro_clusters)):
            if count < 1:
                raise ClustererError(f"{field} is {count}: give a count, 1 or more")
        check_share("potential", potential)
        if not least_weight * potential > 1:
            raise ClustererError(
                f"least_weight is {least_weight} and potential {potential}: "
                "their product must be above 1"
            )
        self.epsilon = epsilon
        self.radius_factor = radius_factor
        self.fading = fading
        self.stream_speed = stream_speed
        self.least_weight = least_weight
        self.potential = potential
        self.micro_clusters = micro_clusters
        self._river = self._new(epsilon or LEAST_WIDTH)
        # What epsilon was before it was narrowed: what a new measurement is compared with.
        self._measured = self._river.epsilon
        self._up_to_date = False

    def _new(self, epsilon: float) -> SoundDenStream:
        river = SoundDenStream(
            decaying_factor=self.fading,
            beta=self.potential,
            mu=self.least_weight,
            epsilon=epsilon,
            stream_speed=self.stream_speed,
        )
        river.initialized = True
        river.most = self.micro_clusters
        return river

    def _start(self, vectors: Floats, weights: Floats, centres: Floats) -> None:  # noqa: ARG002
        self._measured = self._fitting(vectors, centres)
        self._begin(vectors, self._measured)
        if self.epsilon is None:
            self._unchain(vectors, centres)

    def _begin(self, vectors: Floats, epsilon: float) -> None:
        self._river = self._new(epsilon)
        for vector in vectors:
            self._river.learn_one(as_features(vector))
        self._up_to_date = False

    def _steer(self, vectors: Floats, weights: Floats, centres: Floats) -> None:
        if outgrown(self._measured, self._fitting(vectors, centres)):
            self._start(vectors, weights, centres)
        elif self.epsilon is None:
            self._unchain(vectors, centres)

    def _unchain(self, vectors: Floats, centres: Floats) -> None:
        """Narrow epsilon as long as one cluster has nearly all users, though there are more."""
        if len(np.unique(centres, axis=0)) < 2:
            return
        for _ in range(NARROWINGS):
            if not self._chained(vectors):
                return
            self._begin(vectors, NARROWER * self._river.epsilon)

    def _chained(self, vectors: Floats) -> bool:
        if not len(self._centres()):
            return False
        largest = np.bincount(self._labels(vectors)).max()
        return bool(largest > CHAINED_SHARE * len(vectors))

    def _fitting(self, vectors: Floats, centres: Floats) -> float:
        return self.epsilon or self.radius_factor * width(vectors, centres)

    def _learn(self, vector: Floats, weight: float) -> None:  # noqa: ARG002
        self._river.learn_one(as_features(vector))
        self._up_to_date = False

    def _centres(self) -> Floats:
        self._refresh()
        return as_rows(self._river.centers)

    def _labels(self, vectors: Floats) -> Ints:
        centres = self._centres()
        river = self._river
        return assign(
            vectors, centres, lambda each: river._get_closest_cluster_key(each, river.clusters)
        )

    def _predict_one(self, vector: Floats) -> int:
        return int(self._river.predict_one(as_features(vector)))

    def _refresh(self) -> None:
        """Do what River does on every prediction, once for all of them and in arrays."""
        if self._up_to_date:
            return
        river = self._river
        micro = list(river.p_micro_clusters.values())
        labels = dict(zip(micro, self._joined(micro).tolist(), strict=True))
        river.n_clusters, river.clusters = river._generate_clusters_for_labels(labels)
        self._up_to_date = True

    def _joined(self, micro: list[DenStreamMicroCluster]) -> Ints:
        """Cluster of each micro-cluster, int64[m], numbered as they come first."""
        if not micro:
            return np.empty(0, dtype=np.int64)
        river = self._river
        places = as_rows({row: each.center for row, each in enumerate(micro)})
        distances = cdist(places, places)
        radii = np.array([each.calc_radius(river.timestamp) for each in micro])
        core = np.array([each.calc_weight(river.timestamp) > river.mu for each in micro])
        limits = np.minimum(2 * river.epsilon, radii[:, None] + radii)
        linked = core[:, None] & core & (distances < limits)
        # Where rounding decides, River is asked.
        unclear = core[:, None] & core & np.isclose(distances, limits, rtol=1e-9, atol=1e-12)
        for i, j in np.argwhere(np.triu(unclear, 1)).tolist():
            near = river._is_directly_density_reachable(micro[i], micro[j])
            linked[i, j] = linked[j, i] = near
        _, component = connected_components(linked, directed=False)
        _, first, back = np.unique(component, return_index=True, return_inverse=True)
        order = np.empty(len(first), dtype=np.int64)
        order[np.argsort(first)] = np.arange(len(first))
        joined: Ints = order[back]
        return joined

    def _state(self) -> State:
        river = self._river
        return {
            "epsilon": river.epsilon,
            "measured": self._measured,
            "tick": river.timestamp,
            "learned": river._n_samples_seen,
            "potential": self._micro_state(river.p_micro_clusters),
            "outliers": self._micro_state(river.o_micro_clusters),
        }

    def _micro_state(self, micro: Micro) -> State:
        shape = (-1, self.dimensions)
        return {
            "keys": np.array(list(micro), dtype=np.int64),
            "sums": as_rows({key: each.linear_sum for key, each in micro.items()}).reshape(shape),
            "squares": as_rows({key: each.squared_sum for key, each in micro.items()}).reshape(
                shape
            ),
            "counts": np.array([each.N for each in micro.values()], dtype=np.int64),
            "created": np.array([each.creation_time for each in micro.values()], dtype=np.int64),
            "edited": np.array([each.last_edit_time for each in micro.values()], dtype=np.int64),
        }

    def _restore(self, state: State) -> None:
        river = self._river = self._new(float(state["epsilon"]))
        self._measured = float(state["measured"])
        river.timestamp = int(state["tick"])
        river._n_samples_seen = int(state["learned"])
        river.p_micro_clusters = self._micro_clusters(state["potential"])
        river.o_micro_clusters = self._micro_clusters(state["outliers"])
        self._up_to_date = False

    def _micro_clusters(self, state: State) -> Micro:
        micro: Micro = {}
        for row, key in enumerate(state["keys"].tolist()):
            each = SoundMicroCluster({}, int(state["created"][row]), self.fading)
            each.N = int(state["counts"][row])
            each.last_edit_time = int(state["edited"][row])
            each.linear_sum = dict(enumerate(state["sums"][row].tolist()))
            each.squared_sum = dict(enumerate(state["squares"][row].tolist()))
            micro[key] = each
        return micro

    def _size(self) -> int:
        count = len(self._river.p_micro_clusters) + len(self._river.o_micro_clusters)
        # The clusters that were asked for last are sums of micro-clusters, kept beside them.
        return (count + len(self._river.clusters)) * (2 * self.dimensions + 4)

    def _max_size(self, dimensions: int) -> int:
        return 2 * self.micro_clusters * (2 * dimensions + 4)
