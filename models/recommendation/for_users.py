"""Items for many users at once: what `ranking.rank` says of each of them, as arrays.

Users of one segment have the same candidates: the items of the segment's list and of that of all
users. A list has the leading items alone, so of an item that is in one of the two the other's share
is worked out from what the lists say (`popularity` has the notation):

* p(i) of an item that only the segment's list has follows from p(i | s) = (w_si + m p(i)) /
  (W_s + m), all of which is in the list. With m = 0 it is at least w_si / W. It is not above that
  of the last item in the list of all.
* p(i | s) of an item that only the list of all has is m p(i) / (W_s + m): nothing is known of it in
  the segment.

A user of a segment with n events gets e p(i | s) + (1 - e) p(i), as `cold_start` mixes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.profiles.items import U32, item_digests
from models.profiles.rows import unit_rows
from models.recommendation.policy import RecommendationPolicy
from models.recommendation.ranking import Reason

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

REASONS = (Reason.SEGMENT, Reason.POPULAR, Reason.SIMILAR)
"""By the code of a reason."""
_SIMILAR = 2

ALIKE = 1e-4
"""Cosines that lie no farther apart are taken for equal: vectors of items are in float16."""

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True, eq=False)
class ItemList:
    """What leads in a segment, or among all users.

    Attributes
    ----------
    items
        Ids of n items.
    scores, weights
        p(i | s) and w_si, float64 (n,) both.
    total
        W_s.
    vectors
        Of what is written about them, float32 (n, d); zero where nothing is, (n, 0) without any.
    """

    items: tuple[str, ...]
    scores: F64
    weights: F64
    total: float
    vectors: F32


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The items that users of one segment may be given, the most popular there first.

    Attributes
    ----------
    items, digests
        Their ids and digests, (n,).
    segment, overall
        p(i | s) and p(i), float64 (n,).
    vectors
        Of length 1 or 0, float32 (n, d).
    """

    items: tuple[str, ...]
    digests: U32
    segment: F64
    overall: F64
    vectors: F32

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, own: ItemList | None, everybody: ItemList, prior: float) -> Self:
        """Put two lists together; without one of the segment only that of all users counts.

        `prior` is m.
        """
        if own is None:
            own = ItemList((), np.zeros(0), np.zeros(0), 0.0, everybody.vectors[:0])
        place = {item: number for number, item in enumerate(everybody.items)}
        names = [*own.items, *(item for item in everybody.items if item not in {*own.items})]
        n, scale = len(own.items), own.total + prior
        overall, segment = np.zeros(len(names)), np.zeros(len(names))
        there = np.array([place.get(item, -1) for item in names], np.int64)
        overall[there >= 0] = everybody.scores[there[there >= 0]]
        segment[:n] = own.scores
        segment[n:] = overall[n:] * (prior / scale if scale > 0 else 1.0)
        missing = np.flatnonzero(there < 0)
        if len(missing):
            least = own.weights[missing] / everybody.total if everybody.total > 0 else 0.0
            told = (own.scores[missing] * scale - own.weights[missing]) / prior if prior else least
            most = everybody.scores.min(initial=np.inf)
            overall[missing] = np.minimum(np.maximum(told, least), most)
        length = max(own.vectors.shape[1], everybody.vectors.shape[1])
        vectors = np.zeros((len(names), length), np.float32)
        # Where the two are of different lengths, they are of two embedding models.
        if everybody.vectors.shape[1] == length:
            vectors[there >= 0] = everybody.vectors[there[there >= 0]]
        if own.vectors.shape[1] == length:
            vectors[:n] = own.vectors
        order = np.lexsort((np.arange(len(names)), -segment))
        items = tuple(names[number] for number in order.tolist())
        return cls(
            items,
            item_digests(items),
            segment[order],
            overall[order],
            unit_rows(vectors[order]).astype(np.float32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class UserRankings:
    """Items for u users.

    Attributes
    ----------
    places
        Which candidates, the first one first, int64 (u, N); only the first `counts` are meant.
    counts
        How many each user gets, int64 (u,).
    scores, reasons
        As in `ranking.Ranking`, float64 (u, N), and codes into `REASONS`, int8 (u, N).
    """

    places: I64
    counts: I64
    scores: F64
    reasons: NDArray[np.int8]


def evidence_of(events: I64, *, known: bool, policy: RecommendationPolicy) -> F64:
    """Give what the segment counts for users with so many events, float64 (u,).

    `known` says whether they are in a segment of which there is a list. The rest of 1 is what
    is popular among all users; see `cold_start.believe`.
    """
    if not known:
        return np.zeros(len(events))
    own: F64 = np.where(events <= 1, 1.0, events / (events + policy.evidence_events))
    return own


def rank_users(  # noqa: PLR0917 - one array after the other
    candidates: Candidates,
    mixture: F64,
    sums: NDArray[np.floating],
    events: I64,
    had: U32,
    policy: RecommendationPolicy,
    top: int,
) -> UserRankings:
    """Rank the candidates for each user.

    Parameters
    ----------
    candidates
        n of them, one at least.
    mixture
        What the segment counts for each user, float64 (u,): `evidence_of`.
    sums
        The users' profiles, of any length, (u, d).
    events
        Events in them, int64 (u,).
    had
        Digests of the items that each user has, 0 for none, uint32 (u, k).
    policy
        k and the shares.
    top
        N.
    """
    u, n = len(events), len(candidates)
    share, popular, mixed = mixture[:, None], candidates.overall, candidates.segment
    likely = share * mixed + (1.0 - share) * popular
    own = np.zeros(u)
    similar = np.zeros((u, n))
    if candidates.vectors.shape[1] == sums.shape[1]:
        own = policy.own_weight * (events / (events + policy.evidence_events))
        similar = own[:, None] * _scaled(_cosines(sums, candidates.vectors), ALIKE)
    by_popularity = (1.0 - own)[:, None] * _scaled(np.log(np.maximum(likely, _TINY)), 0.0)
    scores = by_popularity + similar
    owned = _owned(candidates.digests, had)
    counts = np.minimum(n - owned.sum(axis=1), top)
    # What is owned comes last. Of equals the more popular one leads, and then the first.
    keyed = np.where(owned, np.inf, -scores)
    order = np.argsort(keyed, axis=1, kind="stable")
    ordered = np.take_along_axis(keyed, order, axis=1)[:, : top + 1]
    for row in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)).tolist():
        order[row] = np.lexsort((np.arange(n), -likely[row], keyed[row]))
    places = order[:, :top]
    led = np.take_along_axis(likely, places, 1) > popular[places] * (1 + 1e-9)
    alike = np.take_along_axis(similar, places, 1) > np.take_along_axis(by_popularity, places, 1)
    reasons = np.where(alike, _SIMILAR, np.where(led, 0, 1)).astype(np.int8)
    return UserRankings(places, counts, np.take_along_axis(scores, places, 1), reasons)


def _cosines(sums: NDArray[np.floating], vectors: F32) -> F64:
    profiles = unit_rows(sums).astype(np.float32)
    return (profiles @ vectors.T).astype(np.float64)


def _scaled(numbers: F64, least: float) -> F64:
    """Bring rows to [0, 1] by their least and greatest; where these are as good as equal, to 0."""
    low = numbers.min(axis=1, keepdims=True)
    spread = numbers.max(axis=1, keepdims=True) - low
    apart = spread > least
    found: F64 = np.where(apart, (numbers - low) / np.where(apart, spread, 1.0), 0.0)
    return found


def _owned(digests: U32, had: U32) -> Bools:
    """Tell which of n candidates each user has, bool (u, n)."""
    found = np.zeros((len(had), len(digests)), np.bool_)
    filled = np.flatnonzero((had != 0).any(axis=0))
    if not len(filled):
        return found
    held = had[:, : int(filled[-1]) + 1]
    order = np.argsort(digests)
    ordered = digests[order]
    at = np.minimum(np.searchsorted(ordered, held), len(digests) - 1)
    rows, columns = np.nonzero((ordered[at] == held) & (held != 0))
    # Two candidates may have one digest.
    for step in range(int(np.unique(ordered, return_counts=True)[1].max())):
        places = np.minimum(at[rows, columns] + step, len(digests) - 1)
        same = ordered[places] == held[rows, columns]
        found[rows[same], order[places[same]]] = True
    return found
