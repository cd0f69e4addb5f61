"""How the trainer learns segments: what of its clusterer can be set, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass

from models import bounds
from models.clustering.segment_count import LEAST_SEGMENTS
from models.profiles.sample import DEFAULT_CAPACITY

ALGORITHMS = {"kmeans": False, "dbstream": True}
"""Every algorithm of `models.clustering.clusterers` by its name in settings, and whether it finds
the number of clusters itself."""

PROJECTIONS = ("none", "random", "pca")
"""What they can learn in."""


class ClusteringError(ValueError):
    """A setting out of bounds, or a step asked of a clusterer that is not ready for it."""


@dataclass(frozen=True)
class ClusteringPolicy:
    """How to learn segments.

    Parameters
    ----------
    segments
        Number of segments k; None to find it on the sample of users, at every look
        (`models.clustering.segment_count`). An algorithm that finds its own number measures by so
        many centres how wide a cluster is.
    max_segments
        The most that are found, by whatever algorithm. Of no matter where the number is given.
    seed
        Seed of every draw.
    step
        Share of the way by which River's k-means moves the nearest centre towards a profile (its
        `halflife`).
    warm_up_users
        Users to know before the first centres are picked.
    sample_users
        Users in the sample.
    reseed_every
        Profiles learned between two looks at the sample.
    publish_share
        Share of the sampled users who must have another nearest segment for a new version to be
        worth publishing: each publication makes all workers look at all their users again.
    algorithm
        Name of the algorithm, one of `ALGORITHMS`.
    projection
        What to learn in: "none" for the space of the embedding model, "random" or "pca".
    projection_dimensions
        Dimensions of the projection.

    Raises
    ------
    ClusteringError
        Where a value is out of bounds.
    """

    segments: int | None = 8
    max_segments: int = 50
    seed: int = 0
    # On the Stack Exchange stream 0.1 ended at V = 0.90 where 0.02 ended at 0.99. 0.05 was as good,
    # but moved up to twice as many users between versions.
    step: float = 0.02
    # 60 to 200 ended the same. Few enough for a stream of some hundred users, and enough that most
    # first segments outlive the first looks.
    warm_up_users: int = 100
    sample_users: int = DEFAULT_CAPACITY
    # 500 made twice the versions and was no better; 2,000 ended at V = 0.91 in one run of six.
    reseed_every: int = 1_000
    # 0.2 % to 5 % ended the same: a look either moves hardly anybody, or a segment is born.
    publish_share: float = 0.01
    algorithm: str = "kmeans"
    projection: str = "none"
    projection_dimensions: int = 32

    def __post_init__(self) -> None:
        for name, known in (("algorithm", tuple(ALGORITHMS)), ("projection", PROJECTIONS)):
            if getattr(self, name) not in known:
                raise ClusteringError(
                    f"{name} is {getattr(self, name)!r}: give one of {', '.join(known)}"
                )
        bounds.at_least(
            ClusteringError,
            segments=self.segments,
            max_segments=self.max_segments,
            warm_up_users=self.warm_up_users,
            sample_users=self.sample_users,
            reseed_every=self.reseed_every,
            projection_dimensions=self.projection_dimensions,
        )
        bounds.at_least(ClusteringError, 0, seed=self.seed)
        bounds.shares(ClusteringError, step=self.step, publish_share=self.publish_share)
        if self.sample_users < self.least_users:
            raise ClusteringError(
                f"sample_users is {self.sample_users} for {self.least_segments} segments: "
                f"keep {self.least_users} users or more"
            )
        if self.warm_up_users > self.sample_users:
            raise ClusteringError(
                f"warm_up_users is {self.warm_up_users} for sample_users {self.sample_users}: "
                "the warm-up ends with as many users as the sample can hold, or fewer"
            )

    @property
    def least_users(self) -> int:
        """Users without whom there is no sense in looking for this many segments."""
        return 2 * self.least_segments

    @property
    def least_segments(self) -> int:
        """Segments at least: the number that was given, or the least that is ever found."""
        if self.segments is None:
            return min(LEAST_SEGMENTS, self.max_segments)
        return self.segments

    @property
    def own_number(self) -> bool:
        """Whether the algorithm finds the number of segments itself."""
        return ALGORITHMS[self.algorithm]

    @property
    def finds_number(self) -> bool:
        """Whether the number of segments is found, by the algorithm or by the looks."""
        return self.own_number or self.segments is None

    @property
    def most_segments(self) -> int:
        """Segments at most: the number that was given, or the most that may be found."""
        if self.own_number or self.segments is None:
            return self.max_segments
        return self.segments

    def allows(self, segments: int) -> bool:
        """Whether a model of so many segments is one that this policy could have learned."""
        least = 1 if self.own_number else self.least_segments
        return least <= segments <= self.most_segments
