"""What is known of some items, as arrays with one row an item, and how events move it.

Of each item and segment the faded weight of events and of ratings are kept, in a *pair*. Most items
are met by few segments, so a row has as many places for pairs as the largest of its batch needs.
All numbers of an item are anchored at its own epoch (`models.recommendation.gains`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.recommendation.gains import anchored, epochs_of
from schemas.segment_model import NO_SEGMENT

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

ITEM = np.dtype(
    [
        ("epoch", "<i8"),
        ("latest", "<i8"),
        ("events", "<i8"),
        ("weight", "<f8"),
        ("centre", "<f8"),
        ("rated", "<f8"),
        ("first", "<f8"),
        ("second", "<f8"),
        ("texts", "<f8"),
    ]
)
"""An item's numbers: the epoch they are anchored at, its latest event time (microseconds since
1970), events counted, their weight; the first rating and the sums of ratings about it
(`models.recommendation.moments`); and the weight of its texts."""

PAIR = np.dtype(
    [
        ("segment", "<i4"),
        ("weight", "<f8"),
        ("rated", "<f4"),
        ("first", "<f4"),
        ("second", "<f4"),
    ]
)
"""An item's numbers among the users of one segment; NO_SEGMENT marks an empty place."""

_SUMS = ("weight", "rated", "first", "second")
# Turns in which vectors of different items are added at once, while so many are left.
_TURNS, _FEW = 8, 16


@dataclass(frozen=True, eq=False)
class ItemEvents:
    """n events that name items.

    Attributes
    ----------
    rows
        Which item of the rows they are added to, int64 (n,).
    segments
        Segment of each event's user, int64 (n,), NO_SEGMENT for none.
    gains
        What they count at their own time, float64 (n,), 0 or more.
    times
        Event times, microseconds since 1970, int64 (n,).
    ratings
        float64 (n,), NaN where there is none.
    vectors
        Of those that have a text, float (t, d), of any precision.
    texts
        Which events those are, int64 (t,), ascending.
    """

    rows: I64
    segments: I64
    gains: F64
    times: I64
    ratings: F64
    vectors: NDArray[np.floating]
    texts: I64


def empty_pairs(count: int, width: int) -> NDArray[Any]:
    """Make places without a pair, PAIR (count, width)."""
    pairs = np.zeros((count, width), PAIR)
    pairs["segment"] = NO_SEGMENT
    return pairs


@dataclass(slots=True)
class ItemRows:
    """States of n items, as arrays with one row an item.

    Attributes
    ----------
    items
        Their ids.
    numbers
        ITEM (n,).
    pairs
        PAIR (n, width): those of an item first, in the order in which its segments came.
    sums
        Faded sums of the texts' vectors, float32 (n, d), anchored like the numbers.
    """

    items: list[str]
    numbers: NDArray[Any]
    pairs: NDArray[Any]
    sums: F32

    @classmethod
    def empty(cls, items: Sequence[str], dimensions: int) -> Self:
        """Make the states of items of which nothing is known."""
        n = len(items)
        return cls(
            list(items),
            np.zeros(n, ITEM),
            empty_pairs(n, 0),
            np.zeros((n, dimensions), np.float32),
        )

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> I64:
        """Give the number of pairs of each item, int64 (n,)."""
        counts: I64 = (self.pairs["segment"] != NO_SEGMENT).sum(axis=1)
        return counts

    def add(self, events: ItemEvents, half_life: timedelta) -> None:
        """Count events for their items.

        The same bits come out however the same events are cut into batches.

        Parameters
        ----------
        events
            In their order; several may be of one item.
        half_life
            After this time an event counts half.
        """
        if not len(events.rows):
            return
        rows, numbers = events.rows, self.numbers
        epochs = epochs_of(events.times, half_life)
        self._move_on(rows, epochs)
        gains = np.ldexp(
            anchored(events.gains, events.times, half_life),
            np.maximum(epochs - numbers["epoch"][rows], -2000).astype(np.int32),
        )
        np.maximum.at(numbers["latest"], rows, events.times)
        np.add.at(numbers["events"], rows, 1)
        np.add.at(numbers["weight"], rows, gains)
        # A rating of an event that counts nothing (the worst one) is a rating all the same.
        rated = np.flatnonzero(~np.isnan(events.ratings))
        values = self._about_the_first(events, rated)
        faded = np.ldexp(
            anchored(np.ones(len(rated)), events.times[rated], half_life),
            np.maximum(epochs[rated] - numbers["epoch"][rows[rated]], -2000).astype(np.int32),
        )
        ratings = dict(
            zip(_SUMS[1:], (faded, faded * values, faded * np.square(values)), strict=True)
        )
        for name, added in ratings.items():
            np.add.at(numbers[name], rows[rated], added)
        self._add_pairs(events, gains, rated, ratings)
        texts = events.texts
        if len(texts):
            np.add.at(numbers["texts"], rows[texts], gains[texts])
            added = gains[texts, None] * events.vectors.astype(np.float64)
            self._add_vectors(rows[texts], added.astype(np.float32))

    def fade_by(self, half_life: timedelta, former: I64) -> None:
        """Anchor items that faded by another half-life anew.

        Parameters
        ----------
        half_life
            By which they fade from their latest events on.
        former
            By which each of the items has faded until then, in microseconds, int64 (n,).
        """
        length = half_life // timedelta(microseconds=1)
        [rows] = np.nonzero(former != length)
        if not len(rows):
            return
        latest, epochs = self.numbers["latest"][rows], self.numbers["epoch"][rows]
        # Exact in whole half-lives; only the rest is rounded.
        whole = epochs - latest // former[rows]
        rest = (latest % length) / length - (latest % former[rows]) / former[rows]
        shares = np.exp2(np.clip(whole, -2000, 1000) + rest)
        for name in (*_SUMS, "texts"):
            self.numbers[name][rows] *= shares
        for name in _SUMS:
            self.pairs[name][rows] = self.pairs[name][rows] * shares[:, None]
        self.sums[rows] = self.sums[rows] * shares[:, None]
        self.numbers["epoch"][rows] = latest // length

    def drop_faint(self, faintest: float, most: int) -> None:
        """Drop pairs of segments of which next to nothing is left, such as those that are no more.

        Parameters
        ----------
        faintest
            What a pair has to weigh at its item's epoch, by events or by ratings.
        most
            Pairs that an item keeps at most: of more the heaviest.
        """
        weights = np.maximum(self.pairs["weight"], self.pairs["rated"])
        there = self.pairs["segment"] != NO_SEGMENT
        kept = there & (weights >= faintest)
        for row in np.flatnonzero(kept.sum(axis=1) > most).tolist():
            heaviest = np.argsort(np.where(kept[row], -weights[row], np.inf), kind="stable")
            kept[row, heaviest[most:]] = False
        if (kept == there).all():
            return
        order = np.argsort(~kept, axis=1, kind="stable")
        pairs = np.take_along_axis(self.pairs, order, axis=1)
        gone = ~np.take_along_axis(kept, order, axis=1)
        pairs[gone] = empty_pairs(1, 1)[0, 0]
        self.pairs = pairs[:, : int(kept.sum(axis=1).max(initial=0))]

    def vectors(self) -> NDArray[np.float16]:
        """Give the decayed mean of each item's texts' vectors, float16 (n, d); 0 without a text."""
        return mean_vectors(self.sums, self.numbers["texts"])

    def _move_on(self, rows: I64, epochs: I64) -> None:
        """Anchor items at the latest epoch of their events, where that is later."""
        numbers = self.numbers
        latest = numbers["epoch"].copy()
        # What nothing was counted for takes the epoch of its first events.
        new = numbers["events"] == 0
        latest[new] = np.iinfo(np.int64).min
        np.maximum.at(latest, rows, epochs)
        touched = np.unique(rows)
        moved = touched[~new[touched] & (latest[touched] > numbers["epoch"][touched])]
        down = -np.minimum(latest[moved] - numbers["epoch"][moved], 2000).astype(np.int32)
        for name in (*_SUMS, "texts"):
            numbers[name][moved] = np.ldexp(numbers[name][moved], down)
        for name in _SUMS:
            self.pairs[name][moved] = np.ldexp(self.pairs[name][moved], down[:, None])
        self.sums[moved] = np.ldexp(self.sums[moved], down[:, None])
        numbers["epoch"][touched] = latest[touched]
        fresh = touched[new[touched]]
        numbers["latest"][fresh] = np.iinfo(np.int64).min

    def _about_the_first(self, events: ItemEvents, rated: I64) -> F64:
        """Give ratings less the first of their item, which is kept where this is it."""
        rows, values = events.rows[rated], events.ratings[rated]
        firsts, where = np.unique(rows, return_index=True)
        new = self.numbers["rated"][firsts] == 0
        self.numbers["centre"][firsts[new]] = values[where[new]]
        about: F64 = values - self.numbers["centre"][rows]
        return about

    def _add_vectors(self, rows: I64, vectors: F32) -> None:
        """Add vectors to their items' sums, in their order for each item.

        First those of different items side by side, again and again: `np.add.at` takes ten times as
        long. It takes what is left where few items have more.
        """
        left = np.arange(len(rows))
        for _ in range(_TURNS):
            _, first = np.unique(rows[left], return_index=True)
            self.sums[rows[left[first]]] += vectors[left[first]]
            left = np.delete(left, first)
            if len(left) < _FEW:
                break
        np.add.at(self.sums, rows[left], vectors[left])

    def _add_pairs(
        self, events: ItemEvents, gains: F64, rated: I64, ratings: dict[str, F64]
    ) -> None:
        placed = np.flatnonzero(events.segments != NO_SEGMENT)
        if not len(placed):
            return
        places = np.full(len(events.rows), -1, np.int64)
        places[placed] = self._places(events.rows[placed], events.segments[placed])
        np.add.at(self.pairs["weight"], (events.rows[placed], places[placed]), gains[placed])
        of_segment = places[rated] >= 0
        at = (events.rows[rated][of_segment], places[rated][of_segment])
        for name, added in ratings.items():
            np.add.at(self.pairs[name], at, added[of_segment].astype(np.float32))

    def _places(self, rows: I64, segments: I64) -> I64:
        """Find the places of pairs, which are made where there are none, int64 (n,)."""
        keys = rows << 32 | segments
        _, where, which = np.unique(keys, return_index=True, return_inverse=True)
        # In the order of their first events: places must not hang on how events were cut.
        order = np.argsort(where)
        where = where[order]
        own_rows, own_segments = rows[where], segments[where]
        known = self.pairs["segment"][own_rows] == own_segments[:, None]
        there = known.any(axis=1)
        found = known.argmax(axis=1) if known.shape[1] else np.zeros(len(where), np.int64)
        counts = self.counts()
        for number in np.flatnonzero(~there).tolist():
            row = int(own_rows[number])
            found[number] = counts[row]
            counts[row] += 1
        self._widen(int(counts.max(initial=0)))
        made = np.flatnonzero(~there)
        self.pairs["segment"][own_rows[made], found[made]] = own_segments[made]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        places: I64 = found[back[which]]
        return places

    def _widen(self, width: int) -> None:
        missing = width - self.pairs.shape[1]
        if missing > 0:
            more = empty_pairs(len(self), missing)
            self.pairs = np.concatenate([self.pairs, more], axis=1)


def mean_vectors(sums: F32, weights: F64) -> NDArray[np.float16]:
    """Divide sums by their weights, float16 (n, d); 0 where there is no weight.

    Of unit vectors, so no component is out of float16's reach.
    """
    wide = sums.astype(np.float64)
    np.divide(wide, weights[:, None], out=wide, where=weights[:, None] > 0)
    wide[~(weights > 0)] = 0.0
    return np.clip(wide, -1.0, 1.0).astype(np.float16)
