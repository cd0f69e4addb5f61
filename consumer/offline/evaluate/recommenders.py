"""What an evaluation ranks items by: the product's ways, their peers, and controls.

Each gives a score of every item for some users from the events before a moment, and from no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from consumer.offline.evaluate.choices import NO_CATEGORY, Choices, commonest, faded, latest
from models.distances import Floats, Ints
from models.profiles.policy import ProfilePolicy
from models.recommendation.cold_start import believe, mixed_popularity
from models.recommendation.factors import Factors
from models.recommendation.policy import RecommendationPolicy
from models.recommendation.popularity import shares, smoothed
from models.recommendation.ranking import scaled, shares_of
from schemas.segment_model import NO_SEGMENT

RECENT = 10
"""Recent popularity fades by this part of the half-life."""

_ALS_FACTORS, _ALS_ITERATIONS, _ALS_L2, _ALS_ALPHA = 32, 15, 0.05, 20.0


def summed(owners: Ints, weights: Floats, count: int) -> Floats:
    """Add weights up by owner, float64[count]."""
    return np.bincount(owners, weights, count).astype(np.float64)


def has_als() -> bool:
    """Tell whether the library of the ALS peer is installed."""
    return find_spec("implicit") is not None


@dataclass(eq=False)
class Past:
    """The events before a moment, and what follows from them.

    Parameters
    ----------
    choices
        All events.
    end
        Those before are the past.
    now
        The moment, microseconds since 1970.
    policy, profile
        How popularity and profiles fade.
    stand_in
        A segment for each user in place of the learned ones, int64[users], for the control.
    factors
        Factors that have learned these events.
    """

    choices: Choices
    end: int
    now: int
    policy: RecommendationPolicy
    profile: ProfilePolicy
    stand_in: Ints
    factors: Factors

    @cached_property
    def user(self) -> Ints:
        """Of each event, its user."""
        return self.choices.user[: self.end]

    @cached_property
    def item(self) -> Ints:
        """Of each event, its item."""
        return self.choices.item[: self.end]

    @cached_property
    def events(self) -> Ints:
        """Events of each user, int64[users]."""
        return np.bincount(self.user, minlength=len(self.choices.users))

    @cached_property
    def had(self) -> csr_matrix:
        """Which items each user has had, as 1, float64[users, items], sparse."""
        shape = (len(self.choices.users), len(self.choices.items))
        pairs = np.unique(self.user * shape[1] + self.item)
        ones = np.ones(len(pairs))
        return csr_matrix((ones, (pairs // shape[1], pairs % shape[1])), shape)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Items that there were, bool[items]."""
        return np.bincount(self.item, minlength=len(self.choices.items)) > 0

    @cached_property
    def weights(self) -> Floats:
        """What each event counts now."""
        gains = self.choices.gain[: self.end]
        return gains * faded(self.choices.time[: self.end], self.now, self.policy.half_life)

    @cached_property
    def segments(self) -> Ints:
        """Segment of each user, as of the latest event, int64[users]."""
        count = len(self.choices.users)
        return latest(self.user, self.choices.segment[: self.end], count, NO_SEGMENT)

    @cached_property
    def overall(self) -> Floats:
        """p(i) among all users, float64[items]."""
        return self._shares(self.weights)

    def by_group(self, groups: Ints, none: int) -> dict[int, Floats]:
        """Give p(i | group), float64[items], by the group that each event is of."""
        found = {}
        for group in np.unique(groups[groups != none]).tolist():
            own = np.where(groups == group, self.weights, 0.0)
            weights = summed(self.item, own, len(self.choices.items))
            total = float(weights.sum())
            found[group] = smoothed(weights, total, self.overall, self.policy.prior_weight)
        return found

    @cached_property
    def by_segment(self) -> dict[int, Floats]:
        """p(i | s), by segment."""
        return self.by_group(self.choices.segment[: self.end], NO_SEGMENT)

    @cached_property
    def item_vectors(self) -> Floats:
        """Mean vectors of what is written about items, of unit length or 0, float64[items, d]."""
        return self._means(self.item, len(self.choices.items), self.weights)

    @cached_property
    def profiles(self) -> Floats:
        """Profile vectors of users, of unit length or 0, float64[users, d]."""
        weights = faded(self.choices.time[: self.end], self.now, self.profile.half_life)
        return self._means(self.user, len(self.choices.users), weights)

    def _shares(self, weights: Floats) -> Floats:
        counted = summed(self.item, weights, len(self.choices.items))
        return shares(counted, float(counted.sum()))

    def _means(self, owners: Ints, count: int, weights: Floats) -> Floats:
        matrix = csr_matrix((weights, (owners, np.arange(self.end))), (count, self.end))
        sums = np.asarray(matrix @ self.choices.vectors[: self.end].astype(np.float64))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        units: Floats = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        return units

    # What follows are the methods: scores float64[q, items] for users int64[q].

    def popular(self, users: Ints) -> Floats:
        """Global popularity."""
        return np.tile(self.overall, (len(users), 1))

    def recent(self, users: Ints) -> Floats:
        """Popularity that fades faster."""
        half_life: timedelta = self.policy.half_life / RECENT
        gains = self.choices.gain[: self.end]
        found = self._shares(gains * faded(self.choices.time[: self.end], self.now, half_life))
        return np.tile(found, (len(users), 1))

    def in_category(self, users: Ints) -> Floats:
        """Popularity in the category that most of the user's events are in."""
        categories = self.choices.category[: self.end]
        own = commonest(self.user, categories, len(self.choices.users), NO_CATEGORY)
        return self._of_group(self.by_group(categories, NO_CATEGORY), own[users])

    def in_segment(self, users: Ints) -> Floats:
        """Popularity in the user's segment."""
        return self._of_group(self.by_segment, self.segments[users])

    def in_shuffled(self, users: Ints) -> Floats:
        """Popularity in segments that were dealt out at random, of the same sizes."""
        groups = self.by_group(self.stand_in[self.user], NO_SEGMENT)
        own = np.where(self.events > 0, self.stand_in, NO_SEGMENT)
        return self._of_group(groups, own[users])

    def similar(self, users: Ints) -> Floats:
        """Cosine of the user's profile with what is written about items."""
        found: Floats = self.profiles[users] @ self.item_vectors.T
        return found

    def neighbours(self, users: Ints) -> Floats:
        """Item-kNN: the summed cosine of an item's users with those of the user's items.

        Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001.
        """
        counts = np.asarray(self.had.sum(axis=0)).ravel()
        scale = np.divide(1.0, np.sqrt(counts), out=np.zeros_like(counts), where=counts > 0)
        own = self.had[users].multiply(scale).tocsr()
        found: Floats = (own @ self.had.T @ self.had).multiply(scale).toarray()
        return found

    def als(self, users: Ints) -> Floats:
        """Alternating least squares on implicit feedback, by the library implicit.

        Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
        """
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - of an extra

        # It warns of BLAS with threads of its own, which are slower than its.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=_ALS_FACTORS,
                iterations=_ALS_ITERATIONS,
                regularization=_ALS_L2,
                alpha=_ALS_ALPHA,
                num_threads=1,
                random_state=0,
            )
            model.fit(self.had.astype(np.float32), show_progress=False)
        found: Floats = (model.user_factors[users] @ model.item_factors.T).astype(np.float64)
        # Of users without an event it has noise.
        found[self.events[users] == 0] = 0.0
        return found

    def factorised(self, users: Ints) -> Floats:
        """River's factors, learned online; users it does not know get 0."""
        names = self.choices.items
        found = np.zeros((len(users), len(names)))
        for row, user in enumerate(users.tolist()):
            scores = self.factors.scores(self.choices.users[user], names)
            if scores is not None:
                found[row] = np.nan_to_num(scores, nan=-1e9)
        return found

    def mixed(self, users: Ints) -> Floats:
        """Give the product's: the segment's items, ordered by the user's own evidence too."""
        found = np.empty((len(users), len(self.choices.items)))
        ids = sorted(self.by_segment)
        for row, user in enumerate(users.tolist()):
            events = int(self.events[user])
            belief = believe(ids, self.policy, segment=int(self.segments[user]), events=events)
            popularity = mixed_popularity(belief, self.by_segment, self.overall)
            found[row] = self._with_own(user, popularity, events)
        return found

    def _with_own(self, user: int, popularity: Floats, events: int) -> Floats:
        """Rank the leading items of a popularity as `models.recommendation.ranking` does."""
        free = self.known.copy()
        free[self.had[[user]].indices] = False
        left = np.flatnonzero(free)
        first = left[np.argsort(-popularity[left], kind="stable")[: self.policy.candidates]]
        # Behind the candidates, by popularity alone: below all that they can have.
        found = popularity - 2.0
        factors = self.factors.scores(
            self.choices.users[user], [self.choices.items[place] for place in first.tolist()]
        )
        profile = self.profiles[user]
        has_profile = bool(profile.any())
        part, similar, liked = shares_of(
            events, self.policy, profile=has_profile, factors=factors is not None
        )
        tiny = np.finfo(np.float64).tiny
        scores = part * scaled(np.log(np.maximum(popularity[first], tiny)))
        if similar > 0:
            scores = scores + similar * scaled(self.item_vectors[first] @ profile)
        if liked > 0 and factors is not None:
            scores = scores + liked * scaled(factors)
        found[first] = scores
        return found

    def _of_group(self, groups: dict[int, Floats], own: Ints) -> Floats:
        return np.stack([groups.get(group, self.overall) for group in own.tolist()])
