"""The clusterer that the trainer runs: one of River's, kept as good as a batch one.

River learns from every profile as it comes; by default it is its streaming k-means that does. On
its own it fails on embeddings in two ways. Its random first centres lie so far from unit vectors
that the first winner takes everything; so the first centres are picked by k-means++ once enough
users are known. And it never leaves a topic for a new one; so the sample of users is asked often
whether there is something new (`models.clustering.evidence`), and if so the centres are moved where
that helps (`models.clustering.reseed`), and, where their number is to be found, merged or made more
(`models.clustering.segment_count`).

A number that was given is a most at first. Topics come one after the other: what the first ones
would be cut into, to have the number, all has to be undone when the others come, and moves their
users twice. So as many are found as users tell apart; and the number that there has to be grows
with what is known (`models.clustering.policy.ClusteringPolicy.seats`), up to the one given.

DBSTREAM can take the place of k-means, and either can learn in fewer dimensions
(`models.clustering.clusterers`). DBSTREAM finds its own number of clusters and places its centres
itself; a look then measures whether its scale still fits, and leaves those out that serve hardly
any sampled user.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from models.clustering.clusterers.base import Clusterer, ClustererError, State
from models.clustering.clusterers.make import make_clusterer
from models.clustering.clusterers.state import from_json, to_json
from models.clustering.evidence import evidence, gain
from models.clustering.policy import ClusteringError, ClusteringPolicy
from models.clustering.reseed import lloyd, reseed, serving
from models.clustering.segment_count import NumberPoint, find_segments
from models.distances import Floats
from models.profiles.sample import UserSample
from models.segments.identity import match
from models.segments.members import members_of
from models.segments.model import SegmentModel
from models.segments.naming import name_segments
from models.segments.transitions import chronicled
from schemas.segment_model import is_provisional

logger = logging.getLogger(__name__)

LARGEST_STATE = 8_000_000
"""Characters of a clusterer's state in a snapshot at most: half of what a record of the topic of
models may have. It takes a thousand micro-clusters in 384 dimensions to come near."""


def numbers_looked_at(model: SegmentModel) -> tuple[NumberPoint, ...]:
    """Give the evidence for a version's number of segments: how far apart they are, by number.

    Empty where the number was given, or the version does not tell.
    """
    return tuple(
        NumberPoint(int(segments), float(apart))
        for segments, apart in _told_by(model).get("numbers", ())
    )


def grows(model: SegmentModel) -> bool:
    """Tell whether a version is on the way to a number of segments that was given."""
    return bool(_told_by(model).get("growing", False))


def without_state(learner: str | None) -> str | None:
    """Give what a version's `learner` says but for the clusterer's own state, the bulk of it.

    Who goes on from it begins anew with the version's centres, as after a change of the algorithm.
    """
    try:
        state = {} if learner is None else from_json(learner)
    except ClustererError:
        return learner
    return learner if state.get("clusterer") is None else to_json(state | {"clusterer": None})


def _told_by(model: SegmentModel) -> State:
    """Read what the clusterer left in a version; nothing where that is not known."""
    try:
        return {} if model.learner is None else from_json(model.learner)
    except ClustererError:
        return {}


class StreamingClusterer:
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
        # Samples since the latest look, and since it was last asked whether one is worth it.
        self._since_look = 0
        self._since_asked = 0
        # What spoke for another segment right after the latest version: noise, as there is none.
        self._noise = 0.0
        self._clusterer: Clusterer | None = None
        # The centres of the latest look, where those of the clusterer are not the ones to publish:
        # it learns in a projection, or has clusters that serve nobody.
        self._found: Floats | None = None
        # How far apart segments were, by their number, at the latest look; empty where it is given.
        self._curve: tuple[NumberPoint, ...] = ()
        # The centres of the latest version; None before the first.
        self._placed: Floats | None = None
        # Whether the sample was looked at since a version was taken or found not worth it.
        self._looked = False
        # Whether the number that was given is a most so far; and whether the latest look has found
        # groups that are apart, if fewer of them.
        self._growing = policy.grows
        self._apart = True
        # Whether the latest version is marked as one of few users.
        self._provisional = False

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
                f"{self.policy.warmup_users} users, or settle with {self.policy.least_users}"
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
        self._since_look += 1
        self._since_asked += 1
        if self._clusterer is None:
            if self.policy.is_warm(len(self.sample), float(self.sample.weights().sum())):
                self._look()
            return evicted
        self._clusterer.learn(vector)
        if self._since_look >= self._look_after or self._refined_now:
            self._look()
        elif self._since_asked >= self.policy.ask_after(self.samples):
            self._ask()
        return evicted

    def remember(
        self, user_id: str, vector: ArrayLike, terms: Mapping[str, float], weight: float = 1.0
    ) -> list[str]:
        """Take a user's present profile into the sample, and learn nothing; see `learn`."""
        return self.sample.put(user_id, vector, terms, weight)

    @property
    def _refined_now(self) -> bool:
        """Whether a provisional version is to be replaced, and was not yet looked into for it."""
        return (
            self._provisional
            and not self._looked
            and not self.policy.is_provisional(len(self.sample))
        )

    @property
    def _look_after(self) -> int:
        """Samples after which there is a look whatever speaks for it.

        Where the number is found, young models are looked at whenever they know twice as much:
        segments that could not be told apart by users of one text each are no news later.
        """
        if not (self.policy.finds_number or self._growing):
            return self.policy.reseed_every
        return min(self.policy.reseed_every, self.samples - self._since_look)

    def consider(self, *, ended: bool = False) -> bool:
        """Look at the sample if something speaks for it: when the stream pauses or has ended.

        That much is new is enough then: nothing better is to be waited for. Makes the first
        centres, too, if there are enough users for the number of segments; at the end there are all
        that were given.

        Returns
        -------
        bool
            Whether there are centres.
        """
        if ended and self._growing:
            return self.settle()
        if not self.ready or self._since_look >= self.policy.pause_share * self.samples:
            return self.look()
        self._ask()
        return True

    def _ask(self) -> None:
        """Look at the sample if there is something new in it."""
        # A look that waits for a version to be taken says all there is to say.
        if self._since_asked and not self._looked:
            self._since_asked = 0
            if self._seats_are_due or self._evidence() - self._noise >= self._least_evidence:
                self._look()

    @property
    def _seats(self) -> int:
        """Segments that there have to be by now, whatever users tell apart."""
        if not self._growing:
            return self.policy.least_segments
        return self.policy.seats(self.samples, len(self.sample), apart=self._apart)

    @property
    def _seats_are_due(self) -> bool:
        """Whether there have to be more segments, by enough for a version of them."""
        if not self._growing or self._placed is None:
            return False
        most = self.policy.most_segments
        return self._seats >= min(most, 1.0 + self.policy.seats_at_once * len(self._placed))

    @property
    def _least_evidence(self) -> float:
        """What has to speak for another segment for a look at the sample."""
        found = self.policy.finds_number or self._growing
        return self.policy.found_evidence if found else self.policy.given_evidence

    def _evidence(self, *, noise: bool = False) -> float:
        """Measure what speaks for another segment, or for another one in place of one.

        `noise` is that of it which would be there if the centres were where their users are.
        """
        # Of the sample and the latest version alone, which are read back after a stop, whatever
        # River has learned since.
        centres, wanted = self._placed, self.policy.segments_given
        if centres is None or not len(self.sample):
            return 0.0
        vectors, weights = self.sample.vectors(), self.sample.weights()
        if noise:
            centres, _ = lloyd(vectors, centres, weights=weights)
        return evidence(
            vectors,
            centres,
            np.random.default_rng((self.policy.seed, zlib.crc32(weights.tobytes()))),
            weights=weights,
            instead=not self.policy.finds_number and len(centres) == wanted,
        )

    def settle(self) -> bool:
        """Look at the sample for the number of segments that was given: when the stream ends.

        Returns
        -------
        bool
            Whether there are centres; there are none where it has too few users for the number.
        """
        self._growing = False
        return self.look()

    def look(self) -> bool:
        """Look at the sample now, whatever speaks for it.

        Makes the first centres, too, if it has enough users for the number of segments.

        Returns
        -------
        bool
            Whether there are centres.
        """
        if self.ready or len(self.sample) >= self.policy.least_users:
            self._look()
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
        matching = match(self.centres, self.embedding, previous, self.sample.vectors())
        return math.inf if matching.born or matching.retired else matching.moved

    def due(self, previous: SegmentModel | None) -> bool:
        """Whether a new version is worth publishing.

        It is when nothing was published yet, or nothing of this embedding model; when workers send
        more than twice the users that the sample can keep; and when a look at the sample has moved
        enough users, or centres far enough. What River learned between two looks waits for the next
        one: published by itself it made 85 versions and 11,000 moves of users of the Stack Exchange
        stream instead of 18 and 4,400, for a V-measure of 1.00 instead of 0.98 to 1.00. So it is
        cheap to ask after every batch.
        """
        if not self.ready or previous is None:
            return self.ready
        if previous.embedding != self.embedding:
            return True
        if previous.sample_threshold >= 2.0 * self.sample.threshold:
            return True
        if self._looked and self._provisional and not self.policy.is_provisional(len(self.sample)):
            return True
        if self._looked and not self._worth_it(previous):
            self._looked = False
            self._noise = self._evidence(noise=True)  # it came to nothing
        return self._looked

    def _worth_it(self, previous: SegmentModel) -> bool:
        """Tell whether a look has found what users or workers should know of."""
        if self.moved(previous) >= self.policy.publish_share:
            return True
        # Nobody moves where all users of a segment went the same way; but distances, confidence
        # and what is asked of the next look rest on where the centres are.
        return bool(len(self.sample)) and self._least_evidence <= gain(
            self.sample.vectors(),
            previous.centres,
            self.centres,
            weights=self.sample.weights(),
        )

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
        matching = match(self.centres, self.embedding, previous, self.sample.vectors())
        order = np.argsort(matching.ids)
        ids, centres = matching.ids[order], self.centres[order]
        self._put_in_order(centres)
        self._placed = centres.copy()
        self._noise = self._evidence(noise=True)
        self._provisional = self.policy.is_provisional(len(self.sample))
        members = members_of(self.sample.vectors(), centres)
        version, since, labels = 1, {}, {}
        if previous is not None:
            version = previous.version + 1
            since = dict(zip(previous.ids.tolist(), previous.since, strict=True))
            labels = dict(zip(previous.ids.tolist(), previous.labels, strict=True))
        names = name_segments(
            members.rows,
            self.sample.terms(),
            ids.tolist(),
            users=self.sample.users(),
            previous=labels,
            nouns=self.policy.name_words == "nouns",
        )
        model = SegmentModel(
            version=version,
            embedding=self.embedding,
            ids=ids,
            centres=centres,
            radii=members.radii,
            sizes=members.sizes,
            labels=names.labels,
            words=names.words,
            since=tuple(since.get(segment, version) for segment in ids.tolist()),
            next_id=matching.next_id,
            sample_threshold=self.sample.threshold,
            samples=self.samples,
            seed=self.policy.seed,
            learner=self._state(),
        )
        return chronicled(model, previous, matching)

    def catch_up(self) -> None:
        """Have it asked with the next sample, or pause, whether there is something new.

        For a sample that has gone on without being learned from.
        """
        self._since_asked = max(self._since_asked, self.policy.ask_after(self.samples))

    def begin_with(self, sample: UserSample, *, at_once: bool) -> None:
        """Begin with a sample that was read back, but without a version that fits the policy.

        `at_once` is for a number of segments that was given in the place of a published one: it is
        what somebody waits for.
        """
        self.sample = sample
        self._growing = self._growing and not at_once

    def restore(self, model: SegmentModel, sample: UserSample) -> None:
        """Go on from a published version and the sample of users that belongs to it.

        Restored right after it was published it goes on, to the bit, as one that never stopped.
        What River learned between the publication and the stop is lost, but for the sampled users,
        who are read back with their latest profiles. Where the version has no state for this
        policy, because the algorithm or the projection was changed or a migration made the version,
        the clusterer begins anew with the version's centres and these users.

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
        self._looked = False
        self._placed = np.array(model.centres)
        self._found = None if self._live else np.array(model.centres)
        state = self._state_in(model)
        self._since_look = 0 if state is None else int(state["since_look"])
        # Versions of before had neither: what they find noise is asked anew.
        self._since_asked = 0 if state is None else int(state.get("since_asked", 0))
        self._noise = 0.0 if state is None else float(state.get("noise", 0.0))
        self._curve = numbers_looked_at(model)
        self._provisional = is_provisional(model.learner)
        self._growing = self.policy.grows and grows(model)
        self._apart = state is None or bool(state.get("apart", True))
        if state is None or not self._resume(state["clusterer"]):
            self._begin(model.centres)

    def _begin(self, centres: Floats) -> None:
        """Begin anew with published centres and the sampled users."""
        self._clusterer = self._new_clusterer()
        vectors, weights = self.sample.vectors(), self.sample.weights()
        if not len(self.sample):
            vectors, weights = centres, np.ones(len(centres))
        if self.policy.own_number:
            # How wide clusters are has to be measured by as many centres as at first.
            centres, _ = self._improved(vectors, weights, None)
        self._clusterer.start(vectors, weights, centres)

    def _resume(self, state: State | None) -> bool:
        """Go on from a clusterer's own state, if there is one that can be read."""
        if state is None:
            return False
        clusterer = self._new_clusterer()
        try:
            clusterer.restore(state)
        except (KeyError, IndexError, TypeError, ValueError):
            logger.warning("the clusterer's state cannot be read: it begins anew", exc_info=True)
            return False
        self._clusterer = clusterer
        return True

    def _put_in_order(self, centres: Floats) -> None:
        """Have the rows in the order of ids from here on, as a restored clusterer has them."""
        if self._clusterer is not None and self._live:
            self._clusterer.steer(self.sample.vectors(), self.sample.weights(), centres)
        else:
            self._found = centres.copy()

    def _state(self) -> str:
        """Give all that a version has no other place for, as JSON."""
        state: State = {
            **self._kind(),
            "since_look": self._since_look,
            "since_asked": self._since_asked,
            "noise": self._noise,
            "clusterer": None,
        }
        if self._provisional:
            state["provisional"] = True
        if self._growing:
            state["growing"], state["apart"] = True, self._apart
        if self._curve:
            state["numbers"] = [list(point) for point in self._curve]
        if self._clusterer is not None and not self._clusterer.only_centres:
            text = to_json(state | {"clusterer": self._clusterer.snapshot()})
            if len(text) <= LARGEST_STATE:
                return text
            logger.warning("the clusterer's state is too large for a snapshot: it is left out")
        return to_json(state)

    def _state_in(self, model: SegmentModel) -> State | None:
        """Read what `_state` wrote into a version; None where it is of another kind."""
        if model.learner is None:
            return None
        try:
            state = from_json(model.learner)
        except ClustererError as error:
            logger.warning("version %d: %s: the clusterer begins anew", model.version, error)
            return None
        return state if all(state.get(k) == v for k, v in self._kind().items()) else None

    def _kind(self) -> State:
        """Give the part of the policy that a state is of."""
        kind: State = {"algorithm": self.policy.algorithm, "projection": self.policy.projection}
        if self.policy.projection != "none":
            kind["dimensions"] = self.policy.projection_dimensions
        return kind

    def _look(self) -> None:
        """Put the centres where they serve the sampled users best."""
        self._since_look = self._since_asked = 0
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
            self._found = serving(
                vectors, clusterer.centres, policy.most_segments, policy.least_members(len(vectors))
            )
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
        """Find good centres on the sample, and give how many steps it took."""
        # Seeded by what was learned so far: a restored clusterer needs no generator's state.
        generator = np.random.default_rng((self.policy.seed, self.samples))
        most, seats = self.policy.most_segments, self._seats
        self._growing = self._growing and seats < most
        if self.policy.segments_given is None or self._growing:
            found = find_segments(
                vectors,
                centres,
                most,
                generator,
                weights=weights,
                least_users=self.policy.least_members(len(vectors)),
                at_least=seats if self._growing else 1,
            )
            if self._growing:
                self._growing = len(found.centres) < most
                self._apart = found.apart
            else:
                self._curve = found.curve
            return found.centres, found.steps
        return reseed(vectors, centres, self.policy.segments_given, generator, weights=weights)

    def _new_clusterer(self) -> Clusterer:
        return make_clusterer(self.policy, lambda: (self.sample.vectors(), self.sample.weights()))
