"""Which clusterer, by the names that settings have for them."""

from __future__ import annotations

from models.clustering.clusterers.base import Clusterer, ClustererError, WarmStarted
from models.clustering.clusterers.clustream import CluStream
from models.clustering.clusterers.dbstream import DBSTREAM
from models.clustering.clusterers.denstream import DenStream
from models.clustering.clusterers.kmeans import KMeans
from models.clustering.clusterers.projection import (
    IncrementalPca,
    Members,
    Projected,
    RandomProjection,
)
from models.clustering.clusterers.streamkmeans import STREAMKMeans

ALGORITHMS: dict[str, type[WarmStarted]] = {
    each.name: each for each in (KMeans, STREAMKMeans, CluStream, DBSTREAM, DenStream)
}
"""Every algorithm by its name in `training.algorithm`."""

PROJECTIONS = ("none", "random", "pca")
"""What `training.projection` can be."""


def make_clusterer(
    algorithm: str,
    segments: int,
    *,
    members: Members,
    seed: int = 0,
    step: float = 0.02,
    projection: str = "none",
    dimensions: int = 32,
) -> Clusterer:
    """Make a clusterer.

    Parameters
    ----------
    algorithm
        A name of `ALGORITHMS`.
    segments
        Number of clusters K; see `WarmStarted` for those that find their own.
    members
        Whose means the centres are, in a projection.
    seed
        Seed of all draws.
    step
        The step of k-means; the others have their own defaults.
    projection
        A name of `PROJECTIONS`.
    dimensions
        Dimensions of the projection.

    Raises
    ------
    ClustererError
        Where a name is not known or a number is out of bounds.
    """
    if algorithm not in ALGORITHMS:
        raise ClustererError(f"algorithm is {algorithm!r}: give one of {', '.join(ALGORITHMS)}")
    clusterer = (
        KMeans(segments, seed=seed, step=step)
        if algorithm == KMeans.name
        else ALGORITHMS[algorithm](segments, seed=seed)
    )
    match projection:
        case "none":
            return clusterer
        case "random":
            return Projected(clusterer, RandomProjection(dimensions, seed=seed), members)
        case "pca":
            return Projected(clusterer, IncrementalPca(dimensions), members)
    raise ClustererError(f"projection is {projection!r}: give one of {', '.join(PROJECTIONS)}")
