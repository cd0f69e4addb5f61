"""What one user is shown: items in an order by what is known of the segment and of the user.

Each source orders the candidates by numbers of its own scale. They are brought to [0, 1] by their
least and greatest among the candidates and added up with weights, which is CombSUM with the usual
min-max normalisation (Fox and Shaw, "Combination of Multiple Searches", TREC-2, 1994; Lee,
"Analyses of Multiple Evidence Combination", SIGIR 1997). Popularity goes in as its logarithm: it
spans orders of magnitude, and the first item would silence the rest.

    score(i) = (1 - e) P(i) + e (a C(i) + (1 - a) F(i)),      e = b n / (n + k)

P from p(i | s), C from the cosine of the user's profile with the item's vector, F from the factors,
n the user's events, k those after which own evidence counts half, a and b shares. Where there are
no factors of the user, or no profile, the other one takes their share; where there is neither, e is
0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.recommendation.policy import RecommendationPolicy

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Reason(StrEnum):
    """What brought an item up most."""

    SEGMENT = "segment"
    """It is popular in the user's segments, more than among all users."""
    POPULAR = "popular"
    """It is popular among all users, and in the segments not more than that."""
    SIMILAR = "similar"
    """What is written about it is like what the user writes."""
    FACTORS = "factors"
    """Users who chose alike chose it."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Items for one user.

    Attributes
    ----------
    places
        Which candidates, the first one first, int64 (n,).
    scores
        In [0, 1], float64 (n,).
    reasons
        One each.
    """

    places: I64
    scores: F64
    reasons: tuple[Reason, ...]


def evidence(events: float, policy: RecommendationPolicy) -> float:
    """Give n / (n + k) of a user's events: how much the user's own evidence counts, below 1."""
    return events / (events + policy.evidence_events)


def cosines(profile: NDArray[np.floating], vectors: NDArray[np.floating]) -> F64:
    """Give the cosine of a profile (d,) with n vectors (n, d), float64 (n,); 0 with a zero vector.

    Row by row and in one order, so that the bits do not hang on the other candidates.
    """
    wide, own = vectors.astype(np.float64), profile.astype(np.float64)
    products = np.add.reduce(wide * own, axis=1)
    lengths = np.sqrt(np.add.reduce(np.square(wide), axis=1) * np.add.reduce(np.square(own)))
    found: F64 = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return found


def scaled(numbers: F64) -> F64:
    """Bring numbers to [0, 1] by their least and greatest; NaN is least, equal ones are 0."""
    known = ~np.isnan(numbers)
    if not known.any():
        return np.zeros_like(numbers)
    low, high = float(numbers[known].min()), float(numbers[known].max())
    if not high > low:
        return np.zeros_like(numbers)
    return np.where(known, (numbers - low) / (high - low), 0.0)


def rank(
    segment: F64,
    overall: F64,
    policy: RecommendationPolicy,
    *,
    events: float = 0.0,
    similarity: F64 | None = None,
    factors: F64 | None = None,
    owned: NDArray[np.bool_] | None = None,
    top: int | None = None,
) -> Ranking:
    """Order candidates for a user.

    Parameters
    ----------
    segment, overall
        p(i | s), mixed over the user's segments, and p(i), float64 (n,).
    policy
        k, the shares a and b, and N.
    events
        How many events are known of the user.
    similarity
        Cosines with the user's profile, float64 (n,); None without a profile.
    factors
        What the factors say of the user and each item, NaN where they do not know it; None where
        they do not know the user.
    owned
        Which candidates the user already has: they are left out, bool (n,).
    top
        N in place of the policy's.
    """
    popularity = scaled(np.log(np.maximum(segment, np.finfo(np.float64).tiny)))
    parts = shares_of(events, policy, profile=similarity is not None, factors=factors is not None)
    mixed = parts[0] * popularity
    own = np.zeros((2, len(segment)))
    if similarity is not None:
        own[0] = parts[1] * scaled(similarity)
    if factors is not None:
        own[1] = parts[2] * scaled(factors)
    scores = mixed + own[0] + own[1]
    left = np.arange(len(scores)) if owned is None else np.flatnonzero(~owned)
    # Of equals the more popular one leads, and then the first: the merged order of candidates.
    order = left[np.lexsort((left, -segment[left], -scores[left]))]
    chosen = order[: policy.top if top is None else top]
    by_segment = np.where(segment > overall * (1 + 1e-9), 0, 1)
    contributions = np.stack([own[0], own[1], mixed])[:, chosen]
    kinds = (Reason.SIMILAR, Reason.FACTORS)
    # Of equals popularity is the reason: it is the plainer one.
    leading = 2 - contributions[::-1].argmax(axis=0)
    reasons = tuple(
        kinds[kind] if kind < 2 else (Reason.SEGMENT, Reason.POPULAR)[popular]
        for kind, popular in zip(leading.tolist(), by_segment[chosen].tolist(), strict=True)
    )
    return Ranking(chosen, scores[chosen], reasons)


def shares_of(
    events: float, policy: RecommendationPolicy, *, profile: bool, factors: bool
) -> tuple[float, float, float]:
    """Give the weights of popularity, similarity and factors, which add up to 1."""
    if not (profile or factors):
        return 1.0, 0.0, 0.0
    own = policy.own_weight * evidence(events, policy)
    similar = policy.similarity_weight if profile and factors else float(profile)
    return 1.0 - own, own * similar, own * (1.0 - similar)
