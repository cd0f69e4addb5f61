"""The clusterer that the trainer runs: River's streaming k-means, kept as good as a batch one.

River learns from every profile as it comes. On its own it fails on embeddings in two ways. Its
random first centres lie so far from unit vectors that the first winner takes everything; so the
first centres are picked by k-means++ once enough users are known. And it never leaves a topic for
a new one; so from time to time the centres are checked on the sample of users and moved where that
helps (`models.reseed`).

Another of River's algorithms can take the place of k-means (`models.clusterers`), and any of them
can learn in fewer dimensions. One with a fixed number of clusters is steered by the looks at the
sample as k-means is. One that finds its own number places its centres itself; a look then measures
whether its scale still fits, and leaves those out that serve hardly any sampled user.

References
----------
Sculley, "Web-scale k-means clustering", WWW 2010, for the streaming step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.clusterers import ALGORITHMS, PROJECTIONS, Clusterer, make_clusterer
from models.distances import Floats, Ints, nearest
from models.identity import match
from models.labels import label, typical_words
from models.reseed import reseed, serving
from models.sample import DEFAULT_CAPACITY, UserSample
from models.segments import SegmentModel

logger = logging.getLogger(__name__)


class ClusteringError(ValueError):
    """A setting out of bounds, or a step asked of a clusterer that is not ready for it."""


@dataclass(frozen=True)
class ClusteringPolicy:
    """How to learn segments.

    Parameters
    ----------
    segments
        Number of segments k.
    seed
        Seed of every draw.
    step
        Share of the way by which River's k-means moves the nearest centre towards a profile (its
        `halflife`). The other algorithms have their own defaults.
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
        Name of the algorithm, one of `models.clusterers.ALGORITHMS`.
    projection
        What to learn in: "none" for the space of the embedding model, "random" or "pca".
    projection_dimensions
        Dimensions of the projection.

    Raises
    ------
    ClusteringError
        Where a value is out of bounds.
    """

    segments: int = 8
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
        for name in (
            *("segments", "warm_up_users", "sample_users", "reseed_every"),
            "projection_dimensions",
        ):
            if getattr(self, name) < 1:
                raise ClusteringError(f"{name} is {getattr(self, name)}: give a count, 1 or more")
        for name in ("step", "publish_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ClusteringError(f"{name} is {getattr(self, name)}: give a share in (0, 1]")
        if self.seed < 0:
            raise ClusteringError(f"seed is {self.seed}: give 0 or more")
        if self.sample_users < self.least_users:
            raise ClusteringError(
                f"sample_users is {self.sample_users} for {self.segments} segments: "
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
        return 2 * self.segments

    @property
    def own_number(self) -> bool:
        """Whether the algorithm finds the number of segments itself."""
        return ALGORITHMS[self.algorithm].own_number


class StreamingKMeans:
    """River's clusterer with a start, a memory of users and a way out of bad places.

    The outcome depends only on the policy and on the order of what was learned, not on
    PYTHONHASHSEED, the machine or the time.

    Parameters
    ----------
    policy
        How to learn.
    embedding
        SHA-256 of the embedding model that the profiles come from.
    """

    def __init__(self, policy: ClusteringPolicy, embedding: str) -> None:
        self.policy = policy
        self.embedding = embedding
        self.sample = UserSample(policy.sample_users)
        self.samples = 0
        self._since_reseed = 0
        self._clusterer: Clusterer | None = None
        # The centres of the latest look, where those of the clusterer are not the ones to publish:
        # it learns in a projection, or has clusters that serve nobody.
        self._found: Floats | None = None
        # Whether the sample was looked at since a version was taken or found not worth it.
        self._looked = False

    @property
    def ready(self) -> bool:
        """Whether there are centres, so that a snapshot can be taken."""
        return self._clusterer is not None and (self._live or self._found is not None)

    @property
    def _live(self) -> bool:
        """Whether the clusterer's own centres are the ones to publish, at any moment."""
        return not self.policy.own_number and self.policy.projection == "none"

    @property
    def centres(self) -> Floats:
        """Centres of the segments at this moment, float64[K, d].

        They are River's, or, of an algorithm with its own number of clusters and in a projection,
        those of the latest look at the sample.

        Raises
        ------
        ClusteringError
            Before there are any.
        """
        if self._clusterer is None or not self.ready:
            raise ClusteringError(
                f"no centres yet, {len(self.sample)} users known: learn from "
                f"{self.policy.warm_up_users} users, or settle with {self.policy.least_users}"
            )
        return self._clusterer.centres if self._found is None else self._found.copy()

    def learn(
        self, user_id: str, vector: ArrayLike, terms: Mapping[str, float], weight: float = 1.0
    ) -> list[str]:
        """Learn from a user's present profile.

        Parameters
        ----------
        user_id
            The user.
        vector
            float64[d], of unit length.
        terms
            Typical terms of the user with weights, for the labels.
        weight
            How much the profile rests on. A profile of one text is mostly noise, one of ten is not:
            the looks at the sample weigh users by it.

        Returns
        -------
        list of str
            Users who left the sample; `user_id` itself where it is not wanted in it. Nothing is
            learned from such a user: heavy users outside the sample would pull the centres.
        """
        evicted = self.sample.put(user_id, vector, terms, weight)
        if user_id in evicted:
            return evicted
        self.samples += 1
        self._since_reseed += 1
        if self._clusterer is None:
            if len(self.sample) >= max(self.policy.warm_up_users, self.policy.least_users):
                self._reseed()
            return evicted
        self._clusterer.learn(vector, weight)
        if self._since_reseed >= self.policy.reseed_every:
            self._reseed()
        return evicted

    def settle(self) -> bool:
        """Look at the sample now: when the stream pauses or ends.

        Starts the model too, if it has enough users for the number of segments.

        Returns
        -------
        bool
            Whether there are centres.
        """
        if self.ready or len(self.sample) >= self.policy.least_users:
            self._reseed()
        return self.ready

    def forget(self, user_id: str) -> None:
        """Take a user out of the sample, e.g. after an erasure; the centres follow with time."""
        self.sample.discard(user_id)

    def moved(self, previous: SegmentModel) -> float:
        """Measure how much has changed since a published version, in users.

        Returns
        -------
        float
            Share of the sampled users whose nearest segment would be another; infinity when a
            segment would be born or retired.
        """
        matching = match(self.centres, self.embedding, previous)
        if matching.born or matching.retired:
            return math.inf
        if not len(self.sample):
            return 0.0
        vectors = self.sample.vectors()
        now, _ = nearest(vectors, self.centres)
        before, _ = nearest(vectors, previous.centres)
        return float(np.mean(matching.ids[now] != previous.ids[before]))

    def due(self, previous: SegmentModel | None) -> bool:
        """Whether a new version is worth publishing.

        It is when nothing was published yet, or nothing of this embedding model; when workers send
        more than twice the users that the sample can keep; and when a look at the sample has moved
        enough users. What River learned between two looks waits for the next one: published by
        itself it made 85 versions and 11,000 moves of users of the Stack Exchange stream instead of
        18 and 4,400, for a V-measure of 1.00 instead of 0.98 to 1.00. So it is cheap to ask after
        every batch.
        """
        if not self.ready or previous is None:
            return self.ready
        if previous.embedding != self.embedding:
            return True
        if previous.sample_threshold >= 2.0 * self.sample.threshold:
            return True
        self._looked = self._looked and self.moved(previous) >= self.policy.publish_share
        return self._looked

    def snapshot(self, previous: SegmentModel | None) -> SegmentModel:
        """Give the present centres as the version after `previous`.

        Parameters
        ----------
        previous
            The latest published version, None for none. Segments that go on keep its ids. If it is
            of another embedding model, all segments are new; ids and versions still count on.

        Raises
        ------
        ClusteringError
            Before there are centres.
        """
        self._looked = False
        matching = match(self.centres, self.embedding, previous)
        order = np.argsort(matching.ids)
        ids, centres = matching.ids[order], self.centres[order]
        rows, radii = self._members(centres)
        words = typical_words(rows, self.sample.terms(), len(ids))
        version = 1 if previous is None else previous.version + 1
        since = (
            {}
            if previous is None
            else dict(zip(previous.ids.tolist(), previous.since, strict=True))
        )
        return SegmentModel(
            version=version,
            embedding=self.embedding,
            ids=ids,
            centres=centres,
            radii=radii,
            sizes=np.bincount(rows, minlength=len(ids)),
            labels=tuple(
                label(segment, own) for segment, own in zip(ids.tolist(), words, strict=True)
            ),
            words=tuple(words),
            since=tuple(since.get(segment, version) for segment in ids.tolist()),
            next_id=matching.next_id,
            sample_threshold=self.sample.threshold,
            samples=self.samples,
            seed=self.policy.seed,
        )

    def restore(self, model: SegmentModel, sample: UserSample) -> None:
        """Go on from a published version and the sample of users that belongs to it.

        K-means goes on from the version's centres. The others keep more than centres, and no topic
        has it: they begin anew with these centres and the sampled users, each with the latest
        profile. What is lost is what was learned from users outside the sample and from former
        profiles, and how long ago; an algorithm with its own number of clusters may find others.

        Parameters
        ----------
        model
            The latest version, of the same embedding model.
        sample
            The users, as read back from the topic that keeps them.

        Raises
        ------
        ClusteringError
            Where the version is of another embedding model.
        """
        if model.embedding != self.embedding:
            raise ClusteringError(
                f"version {model.version} is of the embedding model {model.embedding}, not "
                f"{self.embedding}: begin anew and give it to snapshot as the previous one"
            )
        self.sample = sample
        self.samples = model.samples
        self._since_reseed = 0
        self._looked = False
        self._clusterer = self._new_clusterer()
        vectors, weights = self.sample.vectors(), self.sample.weights()
        if not len(self.sample):
            vectors, weights = model.centres, np.ones(len(model.centres))
        centres = model.centres
        if self.policy.own_number:
            # How wide clusters are has to be measured by as many centres as at first.
            centres, _ = self._improved(vectors, weights, None)
        self._clusterer.start(vectors, weights, centres)
        self._found = None if self._live else np.array(model.centres)

    def _members(self, centres: Floats) -> tuple[Ints, Floats]:
        """Row of the centre of each sampled user, and the radius of each centre."""
        if not len(self.sample):
            return np.empty(0, dtype=np.int64), np.zeros(len(centres))
        rows, distances = nearest(self.sample.vectors(), centres)
        members = np.bincount(rows, minlength=len(centres))
        squares = np.bincount(rows, weights=np.square(distances), minlength=len(centres))
        return rows, np.sqrt(squares / np.maximum(members, 1))

    def _reseed(self) -> None:
        """Put the centres where they serve the sampled users best."""
        self._since_reseed = 0
        if not len(self.sample):
            return
        vectors, weights = self.sample.vectors(), self.sample.weights()
        policy, clusterer = self.policy, self._clusterer
        # To an algorithm with its own number K centres are but a measure of how wide clusters are.
        centres = None if clusterer is None or policy.own_number else clusterer.centres
        improved, swaps = self._improved(vectors, weights, centres)
        clusterer = self._clusterer = clusterer or self._new_clusterer()
        clusterer.steer(vectors, weights, improved)
        if not (self._live or policy.own_number):
            self._found = improved
        if policy.own_number and clusterer.ready:
            self._found = serving(vectors, clusterer.centres)
        logger.info(
            "segments re-seeded",
            extra={
                "swaps": swaps,
                "segments": len(self.centres) if self.ready else 0,
                "users": len(vectors),
            },
        )
        self._looked = True

    def _improved(
        self, vectors: Floats, weights: Floats, centres: Floats | None
    ) -> tuple[Floats, int]:
        """Find good centres on the sample, and give how many were swapped."""
        # Seeded by what was learned so far: a restored clusterer needs no generator's state.
        generator = np.random.default_rng((self.policy.seed, self.samples))
        return reseed(vectors, centres, self.policy.segments, generator, weights=weights)

    def _new_clusterer(self) -> Clusterer:
        policy = self.policy
        return make_clusterer(
            policy.algorithm,
            policy.segments,
            seed=policy.seed,
            step=policy.step,
            projection=policy.projection,
            dimensions=policy.projection_dimensions,
            members=lambda: (self.sample.vectors(), self.sample.weights()),
        )
