"""Which clusterer, by the names that settings have for them."""

from __future__ import annotations

from typing import assert_never

from models.clustering.clusterers.base import Clusterer
from models.clustering.clusterers.projection import (
    IncrementalPca,
    Members,
    Projected,
    RandomProjection,
)
from models.clustering.policy import ClusteringPolicy


def make_clusterer(policy: ClusteringPolicy, members: Members) -> Clusterer:
    """Make a clusterer; only this loads River.

    Parameters
    ----------
    policy
        The algorithm, and what it learns in.
    members
        Whose means the centres are, in a projection.
    """
    clusterer = _of_river(policy)
    match policy.projection:
        case "none":
            return clusterer
        case "random":
            projection = RandomProjection(policy.projection_dimensions, seed=policy.seed)
            return Projected(clusterer, projection, members)
        case "pca":
            return Projected(clusterer, IncrementalPca(policy.projection_dimensions), members)
    assert_never(policy.projection)


def _of_river(policy: ClusteringPolicy) -> Clusterer:
    match policy.algorithm:
        case "kmeans":
            from models.clustering.clusterers.kmeans import KMeans  # noqa: PLC0415

            return KMeans()
        case "dbstream":
            from models.clustering.clusterers.dbstream import DBSTREAM  # noqa: PLC0415

            return DBSTREAM(policy.least_segments)
    assert_never(policy.algorithm)
