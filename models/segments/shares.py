"""What each event of a user adds to a margin: exact shares, which add up to it.

A user is nearer to one centre than to another by the margin m = d' - d of the two distances. That
is not linear in the profile, the difference of their squares is. With the profile p = S/|S| of the
sum S = sum of w_i v_i, of events with embeddings v_i and faded weights w_i, the nearer centre c and
the other one c',

    d'^2 - d^2 = sum of (w_i / |S|) 2 v_i·(c - c')  +  |c'|^2 - |c|^2

and m is that divided by d' + d. So each event has a share of the margin, and the centres have one
that is no event's: with no event at all, the user would be nearer to one of them by that much.
Nothing is estimated, sampled or fitted, which is what LIME and SHAP (Lundberg and Lee, "A Unified
Approach to Interpreting Model Predictions", NeurIPS 2017) do where a model is not a sum.

The share says what an event adds while |S| and the distances are as they are. What would be without
it is another question, since both change: `without` answers that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.distances import Floats, Ints, VectorsError, distances_to

_WHOLE = 1e-6
"""Up to this share of a profile's weight may be missing from events that are all there are: weights
are float32 where they are kept."""


@dataclass(frozen=True, eq=False)
class Shares:
    """Terms that add up to a margin.

    Attributes
    ----------
    margin
        What they add up to.
    events
        float64[k]. Of each event that is known.
    centres
        No event's.
    others
        Of the events that are not known, together; 0 where all are.
    rounding
        What is left: profiles are rounded after each event, and a published margin to six digits.
    """

    margin: float
    events: Floats
    centres: float
    others: float
    rounding: float

    @property
    def total(self) -> float:
        """The terms added up."""
        return float(self.events.sum()) + self.centres + self.others + self.rounding


def split_margin(
    total: ArrayLike,
    vectors: ArrayLike,
    weights: ArrayLike,
    nearer: ArrayLike,
    farther: ArrayLike,
    *,
    whole: bool,
    margin: float | None = None,
) -> Shares:
    """Split how much nearer a user is to one centre than to another.

    Parameters
    ----------
    total
        float64[d]. The profile's sum S.
    vectors, weights
        float64[k, d], float64[k]. Embeddings of events that are in it, and with what weights.
    nearer, farther
        float64[d]. The centres c and c'; the margin is below 0 where the names do not fit.
    whole
        Whether the profile rests on no other events. Then what is missing from S is rounding.
    margin
        As it was published, where that is to be split.

    Returns
    -------
    Shares

    Raises
    ------
    VectorsError
        Where the arrays do not fit each other.
    """
    total, nearer, farther = (np.asarray(each, np.float64) for each in (total, nearer, farther))
    vectors, weights = _fitting(vectors, weights, len(total))
    length = float(np.sqrt((total * total).sum()))
    unit = total / length if length > 0 else np.zeros_like(total)
    far, near = (distances_to(unit[None], centre) for centre in (farther, nearer))
    owners = np.zeros(len(weights), np.int64)
    terms = _terms(
        total[None], vectors, weights, owners, (nearer[None], near), (farther[None], far)
    )
    events, centres = terms.events, float(terms.centres[0])
    if margin is None:
        margin = float(far[0] - near[0])
    if not (length > 0 and far[0] + near[0] > 0):
        return Shares(margin, events, centres, 0.0, margin - centres)
    left = unit - (vectors * (weights / length)[:, None]).sum(axis=0)
    others = 0.0 if whole else float((left * terms.pulls[0]).sum())
    rounding = margin - (float(events.sum()) + centres + others)
    return Shares(margin, events, centres, others, rounding)


Side = tuple[Floats, Floats]
"""A centre for each of k users, float64[k, d], and how far they are from it, float64[k]."""


def split_margins(
    totals: ArrayLike,
    vectors: ArrayLike,
    weights: ArrayLike,
    owners: Ints,
    *,
    nearer: Side,
    farther: Side,
) -> tuple[Floats, Floats]:
    """Split the margins of k users at once, as `split_margin` does of each, to the bit.

    Parameters
    ----------
    totals
        float64[k, d].
    vectors, weights
        float64[m, d], float64[m]. Events of theirs that are known.
    owners
        int64[m]. Whose each of these is, from 0.
    nearer, farther
        As `models.distances` gives the distances of S/|S|: who decides has them already.

    Returns
    -------
    tuple
        What each event adds, float64[m], and what the centres do, float64[k].

    Raises
    ------
    VectorsError
        Where the arrays do not fit each other.
    """
    totals = np.asarray(totals, np.float64)
    vectors, weights = _fitting(vectors, weights, totals.shape[1])
    terms = _terms(totals, vectors, weights, owners, nearer, farther)
    return terms.events, terms.centres


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """The terms of k margins, and what the events pull along: (m,), (k,) and (k, d)."""

    events: Floats
    centres: Floats
    pulls: Floats


def _terms(  # noqa: PLR0917 - one array after the other
    totals: Floats,
    vectors: Floats,
    weights: Floats,
    owners: Ints,
    nearer: Side,
    farther: Side,
) -> _Terms:
    (close, near), (away, far) = nearer, farther
    lengths = np.sqrt((totals * totals).sum(axis=1))
    # Of a profile of nothing, or one on which both centres lie, no event has a share.
    split = (lengths > 0) & (far + near > 0)
    across, long = np.where(split, far + near, 1.0), np.where(split, lengths, 1.0)
    pulls = 2 * (close - away) / across[:, None]
    # Not a product of matrices, whose last digits differ between processors.
    events = weights / long[owners] * (vectors * pulls[owners]).sum(axis=1)
    events[~split[owners]] = 0.0
    squares = (away * away).sum(axis=1) - (close * close).sum(axis=1)
    return _Terms(events, np.where(split, squares / across, far - near), pulls)


def is_whole(weights: ArrayLike, weight: float, *, known: int, events: int) -> bool:
    """Tell whether a profile rests on no other events than those known.

    Parameters
    ----------
    weights
        float64[k]. Theirs, faded.
    weight
        The profile's, W.
    known, events
        How many there are, and how many were ever counted.
    """
    return known == events and abs(float(np.sum(weights)) - weight) <= _WHOLE * weight


def without(total: ArrayLike, vectors: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Give a profile's sum without each of k events, float64[k, d].

    Parameters
    ----------
    total, vectors, weights
        As for `split_margin`.

    Raises
    ------
    VectorsError
        Where the arrays do not fit each other.
    """
    total = np.asarray(total, np.float64)
    vectors, weights = _fitting(vectors, weights, len(total))
    left: NDArray[np.float64] = total - vectors * weights[:, None]
    return left


def _fitting(vectors: ArrayLike, weights: ArrayLike, dimensions: int) -> tuple[Floats, Floats]:
    vectors = np.ascontiguousarray(vectors, np.float64).reshape(-1, dimensions)
    weights = np.asarray(weights, np.float64)
    if weights.shape != vectors.shape[:1]:
        raise VectorsError(
            f"weights has the shape {weights.shape} for {len(vectors)} vectors: give one each"
        )
    return vectors, weights
