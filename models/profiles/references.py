"""References of the events that weigh most in a profile: by them it can be explained later.

A profile is a sum, and what went into it cannot be told from it. So of each user the places of a
few events are kept, those with the greatest weights: who asks why a user is where he is reads
their texts again, where the input still has them. A reference has the weight that the event had at
its own time, by its type. Faded to a later time t it is weight * 2^-((t - time) / half-life)
(`faded`), and which of two events weighs more never changes: it is the one with the greater
log2(weight) + time / half-life. So references are written once and never again while they are kept,
and which ones a user has follows from the user's events alone, however they are batched.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

REFERENCE = np.dtype([("offset", "<i8"), ("time", "<i8"), ("hash", "<u8"), ("weight", "<f4")])
"""Offset in the user's partition of the input, event time in microseconds since 1970, hash of the
event id (`models.profiles.rows.hash_event_id`; 0 marks an empty place), weight at that time."""

References = NDArray[Any]
"""Of n users, REFERENCE (n, k), the heaviest first, empty places behind them."""
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

_MICROSECOND = timedelta(microseconds=1)
_FEW_WEIGHTS = 6


def of_events(offsets: I64, times: I64, hashes: NDArray[np.uint64], weights: F64) -> NDArray[Any]:
    """Make references of m events, REFERENCE (m,)."""
    made = np.empty(len(offsets), REFERENCE)
    made["offset"], made["time"], made["hash"] = offsets, times, hashes
    made["weight"] = weights
    return made


def held(references: References) -> I64:
    """Count the references of each of n users, int64 (n,)."""
    counts: I64 = np.count_nonzero(references["hash"], axis=1)
    return counts


def refer(references: References, places: I64, events: NDArray[Any], half_life: timedelta) -> None:
    """Take events in; of each user the heaviest stay, of equals those that came last.

    Parameters
    ----------
    references
        Of n users, REFERENCE (n, k); changed in place.
    places, events
        Rows of the users, int64 (m,), and their events in the order in which they came,
        REFERENCE (m,).
    half_life
        By which profiles fade.
    """
    most = references.shape[1]
    if not (most and len(places)):
        return
    ranks = _ranks(events, half_life)
    left = np.flatnonzero(~_inserted(references, places, events, ranks, half_life))
    if len(left):
        _merge(references, places[left], events[left], ranks[left], half_life)


def _inserted(
    references: References, places: I64, events: NDArray[Any], ranks: F64, half_life: timedelta
) -> NDArray[np.bool_]:
    """Put events in among references that are in their order; tell which events that was done with.

    They are those that are a user's only one, which nearly all are. It takes a third of the time.
    """
    done: NDArray[np.bool_] = (np.bincount(places) == 1)[places]
    # Behind the last place that somebody has filled only the next one can be.
    filled = np.flatnonzero((references["hash"] != 0).any(axis=0))
    width = min(int(filled.max(initial=-1)) + 2, references.shape[1])
    some = np.flatnonzero(done)
    former = references[places[some], :width]
    orders = np.full(former.shape, -np.inf)
    taken = former["hash"] != 0
    orders[taken] = _ranks(former[taken], half_life)
    # They are not where another half-life has put them in their order.
    in_order = (orders[:, :-1] >= orders[:, 1:]).all(axis=1)
    if not in_order.all():
        done[some[~in_order]] = False
        some, former, orders = some[in_order], former[in_order], orders[in_order]
    at = (orders > ranks[some, None]).sum(axis=1)
    nth = np.arange(width)
    moved = np.take_along_axis(former, np.maximum(nth - (nth > at[:, None]), 0), axis=1)
    fits = np.flatnonzero(at < width)
    moved[fits, at[fits]] = events[some[fits]]
    references[places[some], :width] = moved
    return done


def _merge(
    references: References, places: I64, events: NDArray[Any], ranks: F64, half_life: timedelta
) -> None:
    """Sort events among references, however many of them are one user's."""
    most = references.shape[1]
    users, own, counts = np.unique(places, return_inverse=True, return_counts=True)
    if counts.max() > most:
        among = _first_of_each(own, counts, ranks, most)
        events, own, ranks = events[among], own[among], ranks[among]
    # A row a user: the new ones, the later ones first, so that a stable sort leaves them ahead of
    # their equals; then the former ones.
    nth = _later_of_each(own)
    width = int(nth.max()) + 1
    several = np.zeros((len(users), width + most), REFERENCE)
    several[own, nth] = events
    several[:, width:] = former = references[users]
    orders = np.full(several.shape, np.inf)
    orders[own, nth] = -ranks
    taken = former["hash"] != 0
    orders[:, width:][taken] = -_ranks(former[taken], half_life)
    chosen = np.argsort(orders, axis=1, kind="stable")[:, :most]
    references[users] = several[np.arange(len(users))[:, None], chosen]


def _first_of_each(own: I64, counts: I64, ranks: F64, most: int) -> I64:
    """Give the places of so many events of each user at most, the heaviest, in their order."""
    left = [np.flatnonzero(counts[own] <= most)]
    for user in np.flatnonzero(counts > most).tolist():
        its = np.flatnonzero(own == user)[::-1]
        left.append(its[np.argsort(-ranks[its], kind="stable")[:most]])
    return np.sort(np.concatenate(left))


def _later_of_each(own: I64) -> I64:
    """Give of each event how many of its user's come after it, int64 (m,)."""
    order = np.argsort(own, kind="stable")
    ordered = own[order]
    ends = np.searchsorted(ordered, ordered, "right")
    later = np.empty_like(own)
    later[order] = ends - 1 - np.arange(len(own))
    return later


def heaviest(references: References, most: int) -> References:
    """Give so many references of each user, where there may be more or fewer, REFERENCE (n, most).

    So a group whose setting has changed goes on with what there is.
    """
    if references.shape[1] == most:
        return references
    found = np.zeros((len(references), most), REFERENCE)
    both = min(references.shape[1], most)
    found[:, :both] = references[:, :both]
    return found


def faded(events: NDArray[Any], at: int, half_life: timedelta) -> F64:
    """Give with what weight events are in a profile, float64 (m,).

    Parameters
    ----------
    events
        REFERENCE (m,), none of them later than `at`.
    at
        The profile's reference time, microseconds since 1970.
    half_life
        By which it has faded.
    """
    scale = -1.0 / (half_life // _MICROSECOND)
    ages = (at - events["time"]).tolist()
    shares = np.array([2.0 ** (scale * age) for age in ages], np.float64)
    weights: F64 = events["weight"].astype(np.float64) * shares
    return weights


def _ranks(events: NDArray[Any], half_life: timedelta) -> F64:
    """Give numbers that are greater the more an event weighs, at whatever time, float64 (m,)."""
    ranks: F64 = _logs(events["weight"]) + events["time"] / (half_life // _MICROSECOND)
    return ranks


def _logs(weights: NDArray[np.float32]) -> F64:
    """Give logarithms to the base 2, float64 (m,).

    Few weights differ, so the C library is asked: it rounds a number alike wherever that stands in
    an array. And so each is looked for, which takes less time than to sort them, up to some.
    """
    logs = np.full(len(weights), np.nan)
    for _ in range(_FEW_WEIGHTS):
        left = np.isnan(logs)
        if not len(left) or not left[(first := int(left.argmax()))]:
            return logs
        logs[weights == weights[first]] = _log(float(weights[first]))
    different, which = np.unique(weights, return_inverse=True)
    return np.array([_log(weight) for weight in different.tolist()])[which]


def _log(weight: float) -> float:
    return math.log2(weight) if weight > 0 else -math.inf
