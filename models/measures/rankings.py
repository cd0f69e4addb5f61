"""How good rankings are: Recall, NDCG and average precision over all items, coverage and novelty.

A ranking is judged against all items that could have been shown, not a sample of them: measures on
samples order methods differently (Krichene and Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020). Relevance is binary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.distances import Floats, Ints

MEASURES = ("recall@10", "recall@20", "ndcg@10", "map")
"""What `measured` gives, in this order."""


def order_of(scores: Floats, ties: Floats) -> Ints:
    """Order items by falling score, equal ones by falling `ties`, then by number; -inf is left out.

    Parameters
    ----------
    scores, ties
        float64[i].
    """
    order = np.lexsort((np.arange(len(scores)), -ties, -scores))
    shown: Ints = order[np.isfinite(scores[order])]
    return shown


def measured(order: Ints, relevant: Ints) -> Floats:
    """Judge one ranking, float64[4] as `MEASURES` says.

    Recall@k is the share of the relevant items among the first k; NDCG@10 discounts the n-th place
    by log2(n + 1) and divides by the best there can be (Jaervelin and Kekaelaeinen, TOIS 20(4),
    2002); average precision is the mean precision at the places of the relevant items, one that is
    not in the order adding 0.

    Parameters
    ----------
    order
        Items, the first one first, no item twice.
    relevant
        Those that were chosen, at least one, no item twice.
    """
    places = np.flatnonzero(np.isin(order, relevant))
    count = len(relevant)
    gains = 1.0 / np.log2(places[places < 10] + 2.0)
    best = (1.0 / np.log2(np.arange(min(count, 10)) + 2.0)).sum()
    precisions = np.arange(1, len(places) + 1) / (places + 1.0)
    return np.array(
        [
            (places < 10).sum() / count,
            (places < 20).sum() / count,
            gains.sum() / best,
            precisions.sum() / count,
        ]
    )


def novelty(shown: Ints, users: Floats, everybody: int) -> float:
    """Give the mean self-information of items shown, in bits: how few users have had them.

    -log2 of the share of users who have (Vargas and Castells, RecSys 2011); an item that nobody has
    had counts as had by one.

    Parameters
    ----------
    shown
        Items, at least one.
    users
        Of each item, how many users have had it.
    everybody
        Users in all, at least one.
    """
    shares = np.maximum(users[shown], 1.0) / everybody
    return float(-np.log2(np.minimum(shares, 1.0)).mean())


@dataclass(frozen=True)
class Interval:
    """A mean over users, and the interval that holds it in 95 of 100 draws of users."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Draws users with replacement, the same ones for all that is compared.

    By users, since rankings for one user are not independent of each other (a cluster bootstrap:
    Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 3.8).

    Parameters
    ----------
    users
        Of each ranking, the number of its user, int64[q], at least one.
    draws, seed
        How many, and from where.
    """

    def __init__(self, users: Ints, draws: int = 1000, seed: int = 0) -> None:
        different, self._own = np.unique(users, return_inverse=True)
        self._rankings = np.bincount(self._own).astype(np.float64)
        count = len(different)
        random = np.random.default_rng(seed)
        # Of each draw, how often each user was drawn; a user counts once, however many rankings.
        self._drawn = random.multinomial(count, np.full(count, 1 / count), draws) / count

    def interval(self, values: Floats) -> Interval:
        """Give the mean over users of what each ranking is worth, float64[q], with its interval."""
        means = np.bincount(self._own, values) / self._rankings
        drawn = self._drawn @ means
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Interval(float(means.mean()), float(low), float(high))


def coverage(shown: Sequence[Ints], items: int) -> float:
    """Give the share of all items that were shown to anybody."""
    different = np.unique(np.concatenate(shown)) if shown else np.zeros(0, np.int64)
    return len(different) / items if items else 0.0
