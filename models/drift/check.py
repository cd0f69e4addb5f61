"""Whether the users of today are those of the reference, by several statistics at once.

What is compared of a user is one text: the latest. Profiles would be the wrong thing. A profile of
one text is mostly noise, one of ten is not; so while a group is young its profiles become others
from day to day although what people write stays the same, and every test sees that at once. Latest
texts do not age. And one text a user, not all: a user's texts are alike, so that many of them are
not many observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from models.distances import Floats, Ints, nearest
from models.drift.calibration import (
    DRAWS,
    NullDistribution,
    exchanges,
    halvings,
    means_by,
    pairs_of,
    per_user,
)
from models.drift.detector import DETECTOR, detects
from models.drift.features import RandomFeatures, median_distance
from models.drift.policy import DriftPolicy
from models.drift.statistics import (
    SortedComponents,
    component_distances,
    cosine_distance,
    psi,
    spreads,
    squared_distance,
)
from models.segments.model import SegmentModel

MMD, COSINE, EUCLIDEAN = "mmd", "mean_cosine", "mean_euclidean"
COMPONENTS, PSI = "drifted_components", "segment_psi"
TESTS = (MMD, COSINE, EUCLIDEAN, COMPONENTS, PSI)
VECTOR_TESTS = (MMD, COSINE, EUCLIDEAN, COMPONENTS)

SEGMENT_DRAWS = 200
"""Halvings for the components of a segment: there are many segments, and each version is new."""

COMPONENT_CHANCE = 0.05
"""Share of the components that are over their threshold without any drift."""

SHARE_OFFSET = 0.01
"""Added to a share of components before its logarithm is taken, which hardly is skewed. A tail that
is fitted to the shares themselves is off by 13 % after 100 draws, as their skewness is."""


@dataclass(frozen=True)
class Outcome:
    """A statistic beside its threshold.

    Attributes
    ----------
    statistic
        Less what it comes to by chance, so about 0 without drift; the share of drifted components
        is as it is.
    threshold
        Above it there is an alarm.
    """

    statistic: float
    threshold: float

    @property
    def alarm(self) -> bool:
        """Whether the statistic is over its threshold."""
        return self.statistic > self.threshold


@dataclass(frozen=True)
class DriftReport:
    """What a look has found.

    Attributes
    ----------
    tests
        Outcome of each of `TESTS`, of all users.
    segments
        Outcome of each of `VECTOR_TESTS` by segment, for those with enough users.
    detections
        By detector, whether it finds a change of the distance from the nearest centre.
    reference_users, current_users, both
        Users on either side, and in both.
    """

    tests: Mapping[str, Outcome]
    segments: Mapping[int, Mapping[str, Outcome]] = field(default_factory=dict)
    detections: Mapping[str, bool] = field(default_factory=dict)
    reference_users: int = 0
    current_users: int = 0
    both: int = 0

    @property
    def alarms(self) -> tuple[str, ...]:
        """Tests that are over their threshold."""
        return tuple(name for name, outcome in self.tests.items() if outcome.alarm)

    @property
    def drifted_segments(self) -> tuple[int, ...]:
        """Segments of which a test is over its threshold."""
        return tuple(
            segment
            for segment, outcomes in self.segments.items()
            if any(outcome.alarm for outcome in outcomes.values())
        )


@dataclass(frozen=True, eq=False)
class Texts:
    """One text a user, in the order in which they came.

    Attributes
    ----------
    users
        float64[n]. Numbers that stand for the users, nobody twice: `models.profiles.sample.rank`.
    vectors
        float64[n, d]. Embeddings of their latest texts.
    """

    users: Floats
    vectors: Floats

    def __len__(self) -> int:
        return len(self.users)


def compared(squared: float, null: NullDistribution, chance: float, *, root: bool) -> Outcome:
    """Set a statistic that grows with squared distance beside its threshold.

    What it comes to by chance is taken off both, which leaves an unbiased estimate; then the root,
    if a distance is wanted. The order of the two is the same before and after.
    """
    values = (max(0.0, squared - null.mean), max(0.0, null.exceeded_by(chance) - null.mean))
    statistic, threshold = (rounded(np.sqrt(value) if root else value) for value in values)
    return Outcome(statistic, threshold)


def rounded(value: float) -> float:
    """Drop the last digits, in which one processor's sums differ from another's."""
    return float(f"{value:.9g}")


class ComponentShare:
    """The share of components that differ, calibrated once on the halves of a reference.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 4. The reference.
    seed
        Of the halvings.
    draws
        How many of them.
    """

    def __init__(self, vectors: Floats, seed: int, draws: int = DRAWS) -> None:
        self._vectors = vectors
        self._scale = spreads(vectors)
        components = SortedComponents(vectors, self._scale)
        halves = halvings(len(vectors), draws, np.random.default_rng((seed, 2)))
        half = len(vectors) // 2
        # A distance between distribution functions shrinks as the deviation of a mean does.
        self._half = np.sqrt(per_user(half, len(vectors) - half))
        drawn = np.stack([components.distances(each) for each in halves])
        self._limit = float(np.quantile(drawn, 1.0 - COMPONENT_CHANCE))
        shares = (drawn > self._limit).mean(axis=1)
        self._null = NullDistribution.of(np.log(shares + SHARE_OFFSET))

    def compare(self, others: Floats, chance: float) -> Outcome:
        """Compare the reference with another sample, float64[m, d]."""
        limit = self._limit * np.sqrt(per_user(len(self._vectors), len(others))) / self._half
        distances = component_distances(self._vectors, others, self._scale)
        threshold = min(1.0, float(np.exp(self._null.exceeded_by(chance))) - SHARE_OFFSET)
        return Outcome(rounded(float((distances > limit).mean())), rounded(threshold))


class SegmentCheck:
    """The reference's texts in one segment, calibrated once on their halves.

    Users in both samples are not treated apart here: the two texts of a user need not be in one
    segment. So where many are in both, the threshold is rather too high.
    """

    def __init__(self, vectors: Floats, features: Floats, seed: int) -> None:
        count = len(vectors)
        self._count = count
        self._mean, self._feature_mean = vectors.mean(axis=0), features.mean(axis=0)
        halves = halvings(count, DRAWS, np.random.default_rng((seed, 3)))
        first, second = means_by(np.hstack([features, vectors]), halves)
        cut = features.shape[1]
        unit = 1.0 / per_user(count // 2, count - count // 2)
        drawn = {
            MMD: squared_distance(first[:, :cut], second[:, :cut]),
            COSINE: cosine_distance(first[:, cut:], second[:, cut:]),
            EUCLIDEAN: squared_distance(first[:, cut:], second[:, cut:]),
        }
        self._units = {
            name: NullDistribution.of(values).times(unit) for name, values in drawn.items()
        }
        self._share = ComponentShare(vectors, seed, SEGMENT_DRAWS)

    def compare(self, vectors: Floats, features: Floats, chance: float) -> dict[str, Outcome]:
        """Compare with the current texts of the segment, each test at that chance."""
        mean = vectors.mean(axis=0)
        found = {
            MMD: squared_distance(self._feature_mean, features.mean(axis=0)),
            COSINE: cosine_distance(self._mean, mean),
            EUCLIDEAN: squared_distance(self._mean, mean),
        }
        factor = per_user(self._count, len(vectors))
        outcomes = {
            name: compared(
                float(value), self._units[name].times(factor), chance, root=name == EUCLIDEAN
            )
            for name, value in found.items()
        }
        return outcomes | {COMPONENTS: self._share.compare(vectors, chance)}


class DriftCheck:
    """Compares current users with a reference; the same two always give the same report.

    Parameters
    ----------
    reference
        Its texts, of four users at least.
    policy
        How to compare.
    seed
        Seed of every draw.
    """

    def __init__(self, reference: Texts, policy: DriftPolicy, seed: int) -> None:
        self.reference = reference
        self.policy = policy
        self._seed = seed
        vectors = reference.vectors
        self._draw = RandomFeatures.draw(vectors.shape[1], median_distance(vectors), seed)
        self._features = self._draw(vectors)
        self._share = ComponentShare(vectors, seed)
        self._model: SegmentModel | None = None
        self._rows: Ints = np.empty(0, np.int64)
        self._distances: Floats = np.empty(0)
        self._segments: dict[int, SegmentCheck] = {}

    def look(self, current: Texts, model: SegmentModel) -> DriftReport:
        """Compare the current users with the reference.

        Parameters
        ----------
        current
            Their texts, of one user at least.
        model
            The segments of today; both samples are measured by them.
        """
        self._measure_by(model)
        rows, distances = nearest(current.vectors, model.centres)
        features = self._draw(current.vectors)
        pairs = pairs_of(self.reference.users, current.users)
        chance = self.policy.significance / len(TESTS)
        rows_of_both = np.concatenate([self._rows, rows])
        segments = np.eye(len(model.ids))[rows_of_both]
        tests = self._compare(current, features, segments, pairs, chance)
        tests[COMPONENTS] = self._share.compare(current.vectors, chance)
        return DriftReport(
            {name: tests[name] for name in TESTS},
            self._by_segment(current, features, rows, model),
            {
                # The numbers of users are hashes, so their order is one of chance.
                DETECTOR: detects(
                    self._distances[np.argsort(self.reference.users)],
                    distances[np.argsort(current.users)],
                )
            },
            len(self.reference),
            len(current),
            len(pairs),
        )

    def _measure_by(self, model: SegmentModel) -> None:
        """Find the reference's texts in the segments of a version, once for each version."""
        if self._model is model:
            return
        vectors = self.reference.vectors
        self._rows, self._distances = nearest(vectors, model.centres)
        self._model, self._segments = model, {}
        for row in range(len(model.ids)):
            own = self._rows == row
            if own.sum() >= self.policy.segment_users:
                self._segments[row] = SegmentCheck(vectors[own], self._features[own], self._seed)

    def _compare(
        self, current: Texts, features: Floats, segments: Floats, pairs: Ints, chance: float
    ) -> dict[str, Outcome]:
        """Compare means and shares, against exchanges of users between the two samples."""
        n, m = len(self.reference), len(current)
        pooled = np.hstack(
            [
                np.concatenate([self._features, features]),
                np.concatenate([self.reference.vectors, current.vectors]),
                segments,
            ]
        )
        cuts = [features.shape[1], pooled.shape[1] - segments.shape[1]]
        drawn = exchanges(n, m, pairs, DRAWS, np.random.default_rng((self._seed, 1)))
        # The first row is the truth: all of the reference on one side.
        drawn = np.concatenate([(np.arange(n + m) < n)[None], drawn])
        first, second = (np.split(side, cuts, axis=1) for side in means_by(pooled, drawn))
        counts = [np.rint(side[2] * size) for side, size in ((first, n), (second, m))]
        found = {
            MMD: squared_distance(first[0], second[0]),
            COSINE: cosine_distance(first[1], second[1]),
            EUCLIDEAN: squared_distance(first[1], second[1]),
            PSI: psi(counts[0], counts[1]),
        }
        return {
            name: compared(
                float(values[0]), NullDistribution.of(values[1:]), chance, root=name == EUCLIDEAN
            )
            for name, values in found.items()
        }

    def _by_segment(
        self, current: Texts, features: Floats, rows: Ints, model: SegmentModel
    ) -> dict[int, dict[str, Outcome]]:
        tested = {
            row: own
            for row in self._segments
            if (own := rows == row).sum() >= self.policy.segment_users
        }
        chance = self.policy.significance / (len(VECTOR_TESTS) * max(1, len(tested)))
        return {
            int(model.ids[row]): self._segments[row].compare(
                current.vectors[own], features[own], chance
            )
            for row, own in tested.items()
        }


def churn(before: Iterable[int], now: Iterable[int]) -> float | None:
    """Share of users whose segment is another one than it was; None without users."""
    moved = [old != new for old, new in zip(before, now, strict=True)]
    return sum(moved) / len(moved) if moved else None
