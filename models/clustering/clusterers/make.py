"""Which clusterer, by the names that settings have for them."""

from __future__ import annotations

from models.clustering.clusterers.base import Clusterer, ClustererError
from models.clustering.clusterers.projection import (
    IncrementalPca,
    Members,
    Projected,
    RandomProjection,
)


def make_clusterer(
    algorithm: str,
    segments: int,
    *,
    members: Members,
    seed: int = 0,
    projection: str = "none",
    dimensions: int = 32,
) -> Clusterer:
    """Make a clusterer; only this loads River.

    Parameters
    ----------
    algorithm
        A name of `models.clustering.policy.ALGORITHMS`.
    segments
        Segments that are expected. How many k-means has, the centres say that it is given.
    members
        Whose means the centres are, in a projection.
    seed
        Seed of a random projection.
    projection
        A name of `models.clustering.policy.PROJECTIONS`.
    dimensions
        Dimensions of the projection.

    Raises
    ------
    ClustererError
        Where a name is not known or a number is out of bounds.
    """
    clusterer = _of_river(algorithm, segments)
    match projection:
        case "none":
            return clusterer
        case "random":
            return Projected(clusterer, RandomProjection(dimensions, seed=seed), members)
        case "pca":
            return Projected(clusterer, IncrementalPca(dimensions), members)
    raise ClustererError(f"projection is {projection!r}: give none, random or pca")


def _of_river(algorithm: str, segments: int) -> Clusterer:
    match algorithm:
        case "kmeans":
            from models.clustering.clusterers.kmeans import KMeans  # noqa: PLC0415

            return KMeans()
        case "dbstream":
            from models.clustering.clusterers.dbstream import DBSTREAM  # noqa: PLC0415

            return DBSTREAM(segments)
    raise ClustererError(f"algorithm is {algorithm!r}: give kmeans or dbstream")
