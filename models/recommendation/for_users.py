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

from collections.abc import Sequence
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
    sorted, order
        The digests in their order, uint64 (n,), and which candidates they are of.
    """

    items: tuple[str, ...]
    digests: U32
    segment: F64
    overall: F64
    vectors: F32
    sorted: NDArray[np.uint64]
    order: I64

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
        in_own = frozenset(own.items)
        names = [*own.items, *(item for item in everybody.items if item not in in_own)]
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
        digests = item_digests(items)
        by_digest = np.argsort(digests, kind="stable")
        return cls(
            items,
            digests,
            segment[order],
            overall[order],
            unit_rows(vectors[order]).astype(np.float32),
            digests[by_digest].astype(np.uint64),
            by_digest,
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


def evidence_of(events: I64, *, known: Bools, policy: RecommendationPolicy) -> F64:
    """Give what the segment counts for users with so many events, float64 (u,).

    `known` says of whom the segment has a list, bool (u,). The rest of 1 is what
    is popular among all users; see `cold_start.believe`.
    """
    own: F64 = np.where(events <= 1, 1.0, events / (events + policy.evidence_events))
    return np.where(known, own, 0.0)


def rank_users(  # noqa: PLR0917 - one array after the other
    sets: Sequence[Candidates],
    which: I64,
    mixture: F64,
    sums: F32,
    events: I64,
    had: U32,
    policy: RecommendationPolicy,
    top: int,
) -> UserRankings:
    """Rank for each user the candidates of the user's segment.

    Parameters
    ----------
    sets
        g of them, each with n candidates, one at least.
    which
        Which of them each user has, int64 (u,), ascending.
    mixture
        What the segment counts for each user, float64 (u,): `evidence_of`.
    sums
        The users' profiles, of any length, float32 (u, d).
    events
        Events in them, int64 (u,).
    had
        Digests of the items that each user has, 0 for none, uint32 (u, k).
    policy
        k and the shares.
    top
        N.
    """
    # Shorter sets are filled up with their first candidate, which changes no least and no greatest.
    sizes = np.array([len(each) for each in sets], np.int64)
    n = int(sizes.max())
    of_segment, of_all = np.empty((len(sets), n)), np.empty((len(sets), n))
    for number, each in enumerate(sets):
        for own, column in ((of_segment, each.segment), (of_all, each.overall)):
            own[number, : len(each)] = column
            own[number, len(each) :] = column[0]
    popular, share = of_all[which], mixture[:, None]
    likely = share * of_segment[which] + (1.0 - share) * popular
    bounds = np.searchsorted(which, np.arange(len(sets) + 1)).tolist()
    comparable = np.array([each.vectors.shape[1] == sums.shape[1] for each in sets], np.bool_)
    own = policy.own_weight * (events / (events + policy.evidence_events)) * comparable[which]
    similar = own[:, None] * _scaled(_cosines(sets, bounds, sums, n), ALIKE)
    by_popularity = (1.0 - own)[:, None] * _scaled(np.log(np.maximum(likely, _TINY)), 0.0)
    scores = by_popularity + similar
    owned = _owned(sets, which, had, n)
    owned |= np.arange(n) >= sizes[which, None]
    counts = np.minimum(n - np.count_nonzero(owned, axis=1), top)
    # What is owned comes last. Of equals the more popular one leads, and then the first.
    keyed = np.where(owned, np.inf, -scores)
    order = np.argsort(keyed, axis=1)
    rows = np.arange(len(which))[:, None]
    ordered = keyed[rows, order[:, : top + 1]]
    tied = (ordered[:, 1:] == ordered[:, :-1]) & np.isfinite(ordered[:, 1:])
    for row in np.flatnonzero(tied.any(axis=1)).tolist():
        order[row] = np.lexsort((np.arange(n), -likely[row], keyed[row]))
    places = order[:, :top]
    led = likely[rows, places] > popular[rows, places] * (1 + 1e-9)
    alike = similar[rows, places] > by_popularity[rows, places]
    reasons = np.where(alike, _SIMILAR, np.where(led, 0, 1)).astype(np.int8)
    return UserRankings(places, counts, scores[rows, places], reasons)


def _cosines(sets: Sequence[Candidates], bounds: Sequence[int], sums: F32, n: int) -> F32:
    """Give the cosine of each user's profile with the user's candidates, float32 (u, n)."""
    found = np.zeros((len(sums), n), np.float32)
    for each, first, end in zip(sets, bounds, bounds[1:], strict=False):
        if each.vectors.shape[1] == sums.shape[1]:
            found[first:end, : len(each)] = sums[first:end] @ each.vectors.T
            found[first:end, len(each) :] = found[first:end, :1]
    lengths = np.sqrt(np.einsum("ud,ud->u", sums, sums))[:, None]
    cosines: F32 = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return cosines


def _scaled(numbers: NDArray[np.floating], least: float) -> NDArray[np.floating]:
    """Bring rows to [0, 1] by their least and greatest; where these are as good as equal, to 0."""
    low = numbers.min(axis=1, keepdims=True)
    spread = numbers.max(axis=1, keepdims=True) - low
    apart = spread > least
    found: NDArray[np.floating] = (numbers - low) * np.where(
        apart, 1.0 / np.where(apart, spread, 1.0), 0.0
    )
    return found


def _owned(sets: Sequence[Candidates], which: I64, had: U32, n: int) -> Bools:
    """Tell which of the candidates each user has, bool (u, n)."""
    found = np.zeros((len(had), n), np.bool_)
    rows, columns = np.nonzero(had)
    if not len(rows):
        return found
    # The number of the set above the digest: one search for all.
    shift = np.uint64(32)
    keys = np.concatenate(
        [(np.uint64(number) << shift) | each.sorted for number, each in enumerate(sets)]
    )
    places = np.concatenate([each.order for each in sets])
    wanted = (which[rows].astype(np.uint64) << shift) | had[rows, columns]
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit = np.flatnonzero(keys[at] == wanted)
    while len(hit):
        found[rows[hit], places[at[hit]]] = True
        # Two candidates may have one digest.
        hit = hit[at[hit] + 1 < len(keys)]
        at[hit] += 1
        hit = hit[keys[at[hit]] == wanted[hit]]
    return found
