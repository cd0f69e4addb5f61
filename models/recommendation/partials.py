"""Each partition's leading items and totals, and the top N of all of them by segment.

Events are keyed by item, so all that is known of an item is in one partition, and partitions differ
in their items. Yet no partition can name the items that lead in all: how popular an item is in a
segment is smoothed by its share among all users (`models.recommendation.popularity`), whose total
it does not know. But the smoothed share grows with two numbers it does know, the weight in the
segment and the weight in all. So it gives the C items that lead by the one and the C that lead by
the other. None that it leaves out is above the C-th in either, which bounds what it can reach: the
threshold algorithm of Fagin, Lotem and Naor, "Optimal Aggregation Algorithms for Middleware",
Journal of Computer and System Sciences 66(4), 2003. Items of the merged top above all bounds are
exactly right, and the others err by `Top.slack` at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.recommendation.gains import weight_at
from models.recommendation.moments import Moments, merged, of_sums, summed
from models.recommendation.popularity import shares, smoothed
from models.recommendation.rows import mean_vectors
from models.recommendation.table import ItemTable

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

EVERYBODY = -1
"""The segment id that stands for all users, with or without a segment, in what is merged."""


class PartialsError(ValueError):
    """Partials that cannot be merged: of other times, or two that know the same item."""


@dataclass(frozen=True, eq=False)
class Partial:
    """What one partition knows, faded to one time.

    Attributes
    ----------
    at
        The time, microseconds since 1970.
    items
        Ids of c candidates.
    weights
        Their weight among all users, float64 (c,).
    vectors
        Mean vectors of their texts, float16 (c, d); 0 without a text.
    ratings
        Their moments.
    segments
        Ids of s segments, EVERYBODY first, ascending, int64 (s,).
    totals
        Weight of all items in each segment, float64 (s,).
    segment_ratings
        Moments of all ratings in each segment.
    floors
        What no item that is left out is above in weight, for each segment, float64 (s,).
    pair_items, pair_segments, pair_weights, pair_ratings
        All pairs of the candidates: places in `items` and in `segments`, int64 (p,), and their
        weights and moments.
    give
        How many times the partition has given away what it knows, this one included; 0 where that
        is not counted.
    """

    at: int
    items: tuple[str, ...]
    weights: F64
    vectors: NDArray[np.float16]
    ratings: Moments
    segments: I64
    totals: F64
    segment_ratings: Moments
    floors: F64
    pair_items: I64
    pair_segments: I64
    pair_weights: F64
    pair_ratings: Moments
    give: int = 0


@dataclass(frozen=True, eq=False)
class Top:
    """The leading items of a segment.

    Attributes
    ----------
    segment
        Its id, EVERYBODY for all users.
    items
        Places in `Merged.items`, the leading one first, int64 (n,).
    scores
        p(i | s), float64 (n,).
    weights, ratings
        Faded weight and moments of the ratings in the segment.
    total
        Weight of all items in it.
    exact
        So many of the first are certainly those that lead.
    slack
        By how much an item that was left out may be above the last one here, at most; 0 if none.
    """

    segment: int
    items: I64
    scores: F64
    weights: F64
    ratings: Moments
    total: float
    exact: int
    slack: float


@dataclass(frozen=True, eq=False)
class Merged:
    """All partitions' candidates and the top of each segment.

    Attributes
    ----------
    at
        The time that weights are faded to.
    items, vectors, overall
        Ids of all candidates, their vectors, float16 (c, d), and p(i), float64 (c,).
    ratings
        Moments of the candidates' ratings.
    tops
        By segment id, EVERYBODY first.
    segment_ratings
        Moments of all ratings in each segment, in the order of `tops`.
    """

    at: int
    items: tuple[str, ...]
    vectors: NDArray[np.float16]
    overall: F64
    ratings: Moments
    tops: dict[int, Top]
    segment_ratings: Moments


def partial_of(
    table: ItemTable,
    now: int,
    half_life: timedelta,
    candidates: int,
    *,
    vectors: bool = True,
    faintest: float = 0.0,
) -> Partial:
    """Give a partition's candidates and totals.

    Parameters
    ----------
    table
        Its items.
    now
        Time to fade to, microseconds since 1970; the same in all partitions.
    half_life
        By which they fade.
    candidates
        C, by each order.
    vectors
        Whether with the candidates' vectors, which take most of the room; else they have d = 0.
    faintest
        Pairs that weigh less are left out, and with its last pair a segment.
    """
    held = table.held()
    numbers, pairs, whose = held.numbers, held.pairs, held.owners
    epochs = numbers["epoch"]
    weight, rated = (
        weight_at(pairs[name].astype(np.float64), epochs[whose], now, half_life)
        for name in ("weight", "rated")
    )
    strong = np.maximum(weight, rated) >= faintest
    pairs, whose = pairs[strong], whose[strong]
    overall = weight_at(numbers["weight"], epochs, now, half_life)
    # As if everybody were one segment more.
    segments, which = np.unique(pairs["segment"].astype(np.int64), return_inverse=True)
    segments = np.concatenate([[EVERYBODY], segments])
    groups = np.concatenate([np.zeros(len(overall), np.int64), which + 1])
    owners = np.concatenate([np.arange(len(overall)), whose])
    weights = np.concatenate([overall, weight[strong]])
    moments = _moments(numbers, whose, pairs, now, half_life)
    leading, floors = _leading(weights, groups, len(segments), candidates)
    chosen = np.unique(owners[leading])
    place = np.full(len(overall), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    kept = np.flatnonzero(place[whose] >= 0) + len(overall)
    sums = table.sums(held.seats[chosen]) if vectors else np.zeros((len(chosen), 0), np.float32)
    return Partial(
        at=now,
        items=tuple(table.items(held.seats[chosen])),
        weights=overall[chosen],
        vectors=mean_vectors(sums, numbers["texts"][chosen]),
        ratings=_taken(moments, chosen),
        segments=segments,
        totals=summed(weights, groups, len(segments)),
        segment_ratings=merged(moments, groups, len(segments)),
        floors=floors,
        pair_items=place[owners[kept]],
        pair_segments=groups[kept],
        pair_weights=weights[kept],
        pair_ratings=_taken(moments, kept),
    )


def merge(partials: Sequence[Partial], top: int, prior: float) -> Merged:
    """Merge what partitions know into the top of each segment.

    Parameters
    ----------
    partials
        One of each partition, of the same time, at least one.
    top
        N.
    prior
        m of `models.recommendation.popularity`.

    Raises
    ------
    PartialsError
        Where there is none, times differ, or an item is in two.
    """
    items = _checked(partials)
    weights = np.concatenate([each.weights for each in partials])
    everything = float(sum(each.totals[0] for each in partials))
    overall = shares(weights, everything)
    ids = np.unique(np.concatenate([each.segments for each in partials]))
    places = [np.searchsorted(ids, each.segments) for each in partials]
    totals = np.zeros(len(ids))
    for each, place in zip(partials, places, strict=True):
        totals[place] += each.totals
    starts = np.cumsum([0, *(len(each.items) for each in partials)])
    pair_items = np.concatenate(
        [each.pair_items + start for each, start in zip(partials, starts.tolist(), strict=False)]
    )
    pair_groups = np.concatenate(
        [place[each.pair_segments] for each, place in zip(partials, places, strict=True)]
    )
    pair_weights = np.concatenate([each.pair_weights for each in partials])
    pair_ratings = _joined([each.pair_ratings for each in partials])
    ratings = _joined([each.ratings for each in partials])
    order = np.argsort(pair_groups, kind="stable")
    bounds = np.searchsorted(pair_groups[order], np.arange(len(ids) + 1))
    # Ties are settled by id: what is published must not hang on the order of partitions.
    by_name = np.empty(len(items), np.int64)
    by_name[sorted(range(len(items)), key=items.__getitem__)] = np.arange(len(items))
    tops: dict[int, Top] = {}
    for group, segment in enumerate(ids.tolist()):
        own, own_ratings = np.zeros(len(items)), _none_rated(len(items))
        if segment == EVERYBODY:
            scores, own, own_ratings = overall, weights, ratings
        else:
            pairs = order[bounds[group] : bounds[group + 1]]
            own[pair_items[pairs]] = pair_weights[pairs]
            _set(own_ratings, pair_items[pairs], _taken(pair_ratings, pairs))
            scores = smoothed(own, float(totals[group]), overall, prior)
        first = np.lexsort((by_name, -scores))[:top]
        bound = _bound(partials, segment, everything, float(totals[group]), prior)
        reached = scores[first]
        last = float(reached[-1]) if len(first) == top else 0.0
        tops[segment] = Top(
            segment=segment,
            items=first,
            scores=reached,
            weights=own[first],
            ratings=_taken(own_ratings, first),
            total=float(totals[group]),
            exact=int((reached > bound).sum()) if bound > 0 else len(first),
            slack=max(0.0, bound - last),
        )
    return Merged(
        at=partials[0].at,
        items=items,
        vectors=np.concatenate([each.vectors for each in partials]),
        overall=overall,
        ratings=ratings,
        tops=tops,
        segment_ratings=merged(
            _joined([each.segment_ratings for each in partials]),
            np.concatenate(places),
            len(ids),
        ),
    )


def _moments(
    numbers: NDArray[Any], owners: I64, pairs: NDArray[Any], now: int, half_life: timedelta
) -> Moments:
    """Give the moments of all items, and then of all pairs, faded to a time."""
    epochs = np.concatenate([numbers["epoch"], numbers["epoch"][owners]])
    centres = np.concatenate([numbers["centre"], numbers["centre"][owners]])
    rated, first, second = (
        weight_at(
            np.concatenate([numbers[name], pairs[name].astype(np.float64)]), epochs, now, half_life
        )
        for name in ("rated", "first", "second")
    )
    return of_sums(rated, first, second, centres)


def _leading(weights: F64, groups: I64, count: int, most: int) -> tuple[I64, F64]:
    """Find the heaviest of each group, and the weight that none of the rest is above."""
    order = np.lexsort((-weights, groups))
    starts = np.searchsorted(groups[order], np.arange(count + 1))
    rank = np.arange(len(order)) - starts[groups[order]]
    floors = np.zeros(count)
    next_ones = order[rank == most]
    floors[groups[next_ones]] = weights[next_ones]
    return order[rank < most], floors


def _bound(
    partials: Sequence[Partial], segment: int, everything: float, total: float, prior: float
) -> float:
    """Give what the score of an item that a partition left out is at most."""
    highest = 0.0
    for each in partials:
        overall = float(each.floors[0]) / everything if everything > 0 else 0.0
        if segment == EVERYBODY:
            highest = max(highest, overall)
            continue
        place = int(np.searchsorted(each.segments, segment))
        there = place < len(each.segments) and each.segments[place] == segment
        own = float(each.floors[place]) if there else 0.0
        if own > 0 or overall > 0:
            score = smoothed(np.array([own]), total, np.array([overall]), prior)
            highest = max(highest, float(score[0]))
    return highest


def _checked(partials: Sequence[Partial]) -> tuple[str, ...]:
    if not partials:
        raise PartialsError("there is no partial to merge: give one of each partition")
    times = {each.at for each in partials}
    if len(times) > 1:
        raise PartialsError(f"partials are of the times {sorted(times)}: fade all to one")
    items = tuple(item for each in partials for item in each.items)
    if len(set(items)) < len(items):
        seen: set[str] = set()
        twice = next(item for item in items if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        raise PartialsError(f"item {twice!r} is in two partials: key events by item")
    return items


def _none_rated(count: int) -> Moments:
    return Moments(np.zeros(count), np.zeros(count), np.zeros(count))


def _taken(moments: Moments, places: I64) -> Moments:
    return Moments(moments.weight[places], moments.mean[places], moments.m2[places])


def _set(moments: Moments, places: I64, values: Moments) -> None:
    moments.weight[places] = values.weight
    moments.mean[places] = values.mean
    moments.m2[places] = values.m2


def _joined(moments: Sequence[Moments]) -> Moments:
    return Moments(
        np.concatenate([each.weight for each in moments]),
        np.concatenate([each.mean for each in moments]),
        np.concatenate([each.m2 for each in moments]),
    )
