"""What an event counts for its item, by its type and rating, and how that fades.

Forward decay (Cormode et al., "Forward Decay: A Practical Time Decay Model for Streaming Systems",
ICDE 2009) adds an event of time t with the weight gain * 2^((t - L) / h), L a landmark and h the
half-life: nothing that was added before has to be touched. Here a landmark is a whole number of
half-lives, the *epoch*, which each item has of its own. To move it multiplies by a power of two,
which rounds nothing. So sums are the same to the bit however their events were cut into batches,
as long as those lie within 120 half-lives (what float32 spans without losing bits), and no pair
that faded below `RecommendationPolicy.faintest` comes again: it is dropped where a batch ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from models.recommendation.policy import RecommendationPolicy
from schemas.events import EventType

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_MICROSECOND = timedelta(microseconds=1)


def gains_of(types: Sequence[EventType], ratings: F64, policy: RecommendationPolicy) -> F64:
    """Give what n events count at their own time, float64 (n,), 0 or more.

    The type's weight, times 2 (r - low) / (high - low) where there is a rating r, which is taken
    into the scale first: the middle of the scale counts as an event without a rating.

    Parameters
    ----------
    types
        Of the events.
    ratings
        float64 (n,), NaN where there is none.
    policy
        Has the weights and the scale of ratings.
    """
    weights = np.array([policy.type_weights.get(each, 1.0) for each in types], np.float64)
    low, high = policy.rating_low, policy.rating_high
    liking = 2 * (np.clip(ratings, low, high) - low) / (high - low)
    return weights * np.where(np.isnan(ratings), 1.0, liking)


def epochs_of(times: I64, half_life: timedelta) -> I64:
    """Give the whole half-lives since 1970 of times in microseconds, int64 (n,)."""
    epochs: I64 = times // (half_life // _MICROSECOND)
    return epochs


def anchored(gains: F64, times: I64, half_life: timedelta) -> F64:
    """Give gains as they count at the epochs of their own times, float64 (n,).

    Computed one by one with the C library's pow, as `models.profiles.rows.fade` is: a state must
    not depend on the batch.
    """
    length = half_life // _MICROSECOND
    shares = [2.0 ** (rest / length) for rest in (times % length).tolist()]
    return gains * np.array(shares, np.float64)


def weight_at(weights: F64, epochs: I64, now: int, half_life: timedelta) -> F64:
    """Fade weights that are anchored at epochs to a time, float64 (n,).

    Parameters
    ----------
    weights, epochs
        float64 and int64 (n,).
    now
        Microseconds since 1970; may lie before an epoch.
    half_life
        Of the weights.
    """
    length = half_life // _MICROSECOND
    steps = np.clip(epochs - now // length, -2000, 1000).astype(np.int32)
    faded: F64 = np.ldexp(weights, steps) * 2.0 ** -((now % length) / length)
    return faded
