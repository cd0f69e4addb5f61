"""Finding the number of segments: start with many, and merge those that users do not tell apart.

Growing from two does not work: of twenty topics no three are parted from each other while each of
the two holds ten. So a look begins with more segments than there can be, and makes one of the two
that are least apart (`models.clustering.separation`), again and again. The first number at which
all segments are far enough apart is the number; the whole way down is the evidence for it.

Users of one text are mostly noise, and lie between segments. So users are judged by as well-known
ones as there are enough of: with few segments by those of dozens of texts, with many by those of
some. Of better known users more is asked: what is within a segment shows in them, too.

More is asked of a new segment than of those that are there, so that segments do not come and go
with a few users.

All functions are pure, and the same to the last bit on any machine (`models.clustering.grid`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.clustering.grid import GridSample
from models.clustering.policy import LEAST_SEGMENTS
from models.clustering.separation import separations
from models.distances import Floats, Ints

ASKED, ASKED_OF_FEW, ASKED_A_TEXT = 1.3, 3.0, 0.01
"""How far apart the nearest two of K segments have to be, judged by users of m texts or more: 1.3 +
3 / sqrt(K) + m / 100. Cut along its widest directions a cloud is more apart than cut everywhere,
and what is within a segment shows in well-known users. docs/clustering.md has how it was chosen."""

USERS_EACH = 8.0
"""Well-known users a segment, on average, that segments are judged by."""

JUDGES = 1500
"""Users, the best known, who are looked at on the way down: all that is to be found shows in them,
and a look takes no longer where more users are sampled."""

ASKED_OF_NEW = 1.15
"""Of a new segment so many times as much is asked as of those that are there, so that segments do
not come and go with a few users."""

KEEP = 0.7
"""The number that there is stays where the segments are this share as far apart as is asked."""

MOST_GONE = 0.25
"""Share of the segments that a look may take away: less is known at one look than at several."""

NEAR = 0.93
"""Share of what is asked that will do where no number has all of it. Below, there is one cloud."""

MOST_WEIGHT = 32.0
"""Weight up to which a profile pulls a centre. Without a bound one user with thousands of texts
takes a centre alone, again and again, in the place of a segment that is there."""

MOST_AT_START = 90

_KNOWN_FROM = 2.0 ** (np.arange(11) / 2.0)
"""Texts from which on a user may be well known: 1 to 32."""

_KNOWN_AT_START = 6
"""Which of them it is for the number of segments at the start."""

_START_STEPS, _STEPS, _END_STEPS = 8, 1, 20

_SURELY_ONE = 0.7
"""Below this share of what is asked several pairs are merged at once."""

_MOST_TOLD = 1e3
"""Where users of a segment are all alike it is apart without a bound."""


class NumberPoint(NamedTuple):
    """A number of segments that was looked at.

    Attributes
    ----------
    segments
        The number.
    apart
        How far apart the nearest two are, as a share of what is asked.
    """

    segments: int
    apart: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a look found.

    Attributes
    ----------
    centres
        float64[K, d].
    steps
        Centres that were merged with another or are new.
    curve
        From many segments to few: how far apart the nearest two were, and what was asked.
    apart
        Whether any number of them, of those allowed, was far enough apart.
    """

    centres: Floats
    steps: int
    curve: tuple[NumberPoint, ...]
    apart: bool


@dataclass(frozen=True, eq=False)
class _Level:
    """The way down at one number of segments.

    Attributes
    ----------
    centres
        float64[K, d], on the grid.
    old
        bool[K]. Which hold a segment that was there before the look.
    apart
        How far apart the nearest two are, as a share of what is asked.
    """

    centres: Floats
    old: NDArray[np.bool_]
    apart: float


def find_segments(
    vectors: Floats,
    centres: Floats | None,
    most: int,
    generator: np.random.Generator,
    *,
    weights: Floats | None = None,
    least_users: int = 1,
    at_least: int = 1,
) -> Found:
    """Find the number of segments on a sample of users, and good centres.

    Parameters
    ----------
    vectors
        float64[n, d], n at least 1; in an order that says nothing of the segments.
    centres
        float64[m, d]. The segments that are there; None at the beginning.
    most
        Segments at most.
    generator
        Source of the draws.
    weights
        float64[n], above 0. How much each profile rests on; all the same by default.
    least_users
        Sampled users that a segment has to be the nearest of.
    at_least
        Segments that there have to be, however little apart or small.

    Returns
    -------
    Found
        `LEAST_SEGMENTS` or more, unless there are fewer different vectors or not enough users, or
        `most` is less.
    """
    weights = np.ones(len(vectors)) if weights is None else np.minimum(weights, MOST_WEIGHT)
    sample = GridSample(vectors, weights)
    judges = sample.best_known(JUDGES)
    before = np.empty((0, vectors.shape[1])) if centres is None else sample.on_grid(centres)
    levels = list(_way_down(judges, before, most, generator))
    chosen = _chosen(levels, most, len(before), at_least)
    found = _large_enough(sample, chosen.centres, least_users, at_least)
    found, _ = sample.lloyd(found, _END_STEPS)
    found = _large_enough(sample, found, least_users, at_least)
    steps = len(before) - int(chosen.old.sum()) + int((~chosen.old).sum())
    return Found(
        sample.off_grid(found),
        steps,
        tuple(
            NumberPoint(len(level.centres), round(min(level.apart, _MOST_TOLD), 4))
            for level in levels
        ),
        any(level.apart >= NEAR and len(level.centres) <= most for level in levels),
    )


def _way_down(
    judges: GridSample, before: Floats, most: int, generator: np.random.Generator
) -> Iterator[_Level]:
    """Merge the nearest segments until two are left; give every number on the way."""
    totals = np.array([_known(judges, texts).sum() for texts in _KNOWN_FROM.tolist()])
    count = max(totals[_KNOWN_AT_START] / USERS_EACH, min(30.0, len(judges) / USERS_EACH))
    count = int(min(max(count, 1.25 * len(before), LEAST_SEGMENTS), MOST_AT_START, 2 * most))
    known = _known(judges, _well_known(totals, count))
    start = judges.spread(before, count, generator, known)
    old = np.arange(len(start)) < len(before)
    centres, rows = judges.lloyd(start, _START_STEPS)
    while True:
        used = np.unique(rows)
        centres, old, rows = centres[used], old[used], np.searchsorted(used, rows)
        count = len(centres)
        texts = _well_known(totals, count)
        asked = ASKED + ASKED_OF_FEW / math.sqrt(count) + ASKED_A_TEXT * texts
        apart = separations(judges, rows, centres, _known(judges, texts)) / asked
        if len(before) > LEAST_SEGMENTS:  # two may be the halves of what was one cloud so far
            apart[~(old[:, None] & old)] /= ASKED_OF_NEW
        yield _Level(centres, old, float(apart.min()))
        if count <= min(LEAST_SEGMENTS, most):
            return
        centres, old = _merged(judges, centres, rows, old, _nearest_pairs(apart))
        centres, rows = judges.lloyd(centres, _STEPS)


def _known(judges: GridSample, texts: float) -> Floats:
    """How much each user counts where so many texts are enough to be well known, float64[n].

    The noise of a profile falls with its weight. The square makes the better known decide where
    there are any, and leaves a stream of single texts as it is.
    """
    known: Floats = np.square(np.minimum(judges.weights, texts) / texts)
    return known


def _well_known(totals: Floats, count: int) -> float:
    """Give the most texts from which on there are enough users for so many segments."""
    enough = np.flatnonzero(totals >= USERS_EACH * count)
    return float(_KNOWN_FROM[enough[-1]] if len(enough) else 1.0)


def _nearest_pairs(apart: Floats) -> list[tuple[int, int]]:
    """Give the pairs to merge: the nearest, and a few more where there are many far too near."""
    count = len(apart)
    order = np.argsort(apart, axis=None, kind="stable")
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for place in order[: 4 * count].tolist():
        a, b = divmod(place, count)
        if a >= b or a in taken or b in taken:
            continue
        if pairs and (apart[a, b] > _SURELY_ONE or len(pairs) >= count // 12):
            break
        pairs.append((a, b))
        taken |= {a, b}
    return pairs


def _merged(
    sample: GridSample,
    centres: Floats,
    rows: Ints,
    old: NDArray[np.bool_],
    pairs: list[tuple[int, int]],
) -> tuple[Floats, NDArray[np.bool_]]:
    """Make one centre of each pair: the mean of the users of both."""
    target = np.arange(len(centres))
    for a, b in pairs:
        target[b] = a
    gone = [b for _, b in pairs]
    merged = sample.means(np.arange(len(rows)), target[rows], centres)
    old = old.copy()
    for a, b in pairs:
        old[a] |= old[b]
    return np.delete(merged, gone, axis=0), np.delete(old, gone)


def _chosen(levels: list[_Level], most: int, before: int, at_least: int) -> _Level:
    """Choose the largest number at which all are far enough apart; else the best that comes near.

    As many as there are, or the next fewer that will do, stay unless they are much too near; and a
    look takes no more than a quarter of them away.
    """
    allowed = [level for level in levels if len(level.centres) <= most]
    # Several may have been merged at once, and no level has just so many.
    allowed = [level for level in allowed if len(level.centres) >= at_least] or allowed[:1]
    enough = [level for level in allowed if level.apart >= 1.0]
    enough += [level for level in allowed if len(level.centres) <= before and level.apart >= KEEP]
    chosen = max(enough, key=lambda level: len(level.centres), default=None)
    before = min(before, most)
    least = before - math.ceil(MOST_GONE * before)
    if chosen is not None and len(chosen.centres) >= least:
        return chosen
    if near := [level for level in allowed if least <= len(level.centres) <= before]:
        return max(near, key=lambda level: level.apart)
    best = max(allowed, key=lambda level: level.apart)
    return best if best.apart >= NEAR else allowed[-1]


def _large_enough(sample: GridSample, centres: Floats, least_users: int, at_least: int) -> Floats:
    """Leave the smallest segment to its neighbours until all have enough users."""
    while len(centres) > at_least:
        sizes = np.bincount(sample.nearest(centres), minlength=len(centres))
        if sizes.min() >= least_users:
            break
        centres = np.delete(centres, int(sizes.argmin()), axis=0)
    return centres
