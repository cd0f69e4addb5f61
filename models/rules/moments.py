"""What rules ask for, at many moments at once.

A moment is a user, as many of the user's events as had come by then, and a time. The events of all
users are laid one behind the other, each one's in the order of time. So those of a moment lie
between two places, and what is in a window at the end of them: it is counted by the sums up to
both, and the event that leaves it next is found by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.rules.history import CODES, I64, TYPES, Bools, Events, Known
from models.rules.parts import NEVER, Threshold, Window
from schemas.events import EventType

F64 = NDArray[np.float64]
T = TypeVar("T")
Kind = tuple[frozenset[EventType], bool]
# Less than what a column of whole numbers holds.
_LARGEST = 2**62


class Laid(NamedTuple):
    """Events of m moments, in runs of falling age.

    Attributes
    ----------
    run
        Which run each event is of, rising, int64 (n,).
    own
        Which run those of each moment are in, int64 (m,).
    begins, ends
        Where those of each moment lie, int64 (m,).
    time, rating, kind
        As `EVENT` has them, (n,) each.
    """

    run: I64
    own: I64
    begins: I64
    ends: I64
    time: I64
    rating: NDArray[np.float32]
    kind: NDArray[np.uint8]


class Chosen(NamedTuple):
    """Those of some types, in the same order.

    Attributes
    ----------
    rows
        Which of the laid ones they are, int64 (k,).
    before
        How many of them lie before each place, int64 (n + 1,).
    ends
        Up to where those of each moment lie, int64 (m,).
    """

    rows: I64
    before: I64
    ends: I64


class Asked(NamedTuple):
    """What some rules ask for, to be computed together.

    Attributes
    ----------
    kinds
        Types, and whether with ratings alone.
    thresholds
        Windows and numbers that their counts are compared with.
    """

    kinds: tuple[Kind, ...]
    thresholds: tuple[Threshold, ...]

    @classmethod
    def of(cls, thresholds: Iterable[Threshold]) -> Self:
        """Put in order what rules ask for."""
        found = sorted(thresholds, key=lambda each: (sorted(each.window.types), each))
        kinds = dict.fromkeys((window.types, window.rated) for window, _ in found)
        return cls((*kinds,), (*found,))


class Rated(NamedTuple):
    """The ratings in a window, by moment and then by time.

    Attributes
    ----------
    counts
        How many each moment has, int64 (m,).
    ratings
        They, float64 (n,).
    """

    counts: I64
    ratings: F64


@dataclass(frozen=True)
class Moments:
    """The `Facts` of m moments.

    Attributes
    ----------
    events
        Of all users, one user's behind the other's, each in the order in which they came.
    starts, lengths
        Which of them had come for each moment: so many from there on, int64 (m,).
    now
        Their times, microseconds since 1970, int64 (m,); no event lies behind its moment.
    first
        Times of the users' first events, likewise; a time far ahead where there was none.
    known
        What else is known.
    kept
        Events of a type that count at most.
    """

    events: Events
    starts: I64
    lengths: I64
    now: I64
    first: I64
    known: Sequence[Known]
    kept: int
    _found: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.now)

    def some(self, chosen: I64) -> Moments:
        """Give some of them, by their numbers."""
        columns = (self.starts, self.lengths, self.now, self.first)
        starts, lengths, now, first = (column[chosen] for column in columns)
        known = [self.known[moment] for moment in chosen.tolist()]
        return Moments(self.events, starts, lengths, now, first, known, self.kept)

    def pieces(self, rows: int) -> Iterator[I64]:
        """Give the numbers of moments, so many at once that they have about so many events."""
        place = np.cumsum(self.lengths + 1) // rows
        for piece in np.unique(place).tolist():
            yield np.flatnonzero(place == piece)

    def once(self, name: Any, compute: Callable[[], T]) -> T:
        """Give what was computed under a name, or compute it."""
        if name not in self._found:
            self._found[name] = compute()
        found: T = self._found[name]
        return found

    # --- events -------------------------------------------------------------------------------

    @cached_property
    def laid(self) -> Laid:
        """The newest events of each type that count, of all moments."""
        starts, own = np.unique(self.starts, return_inverse=True)
        lengths = np.zeros(len(starts), np.int64)
        np.maximum.at(lengths, own, self.lengths)
        run, at = _runs(starts, lengths)
        # Moments of one user have all events of the user or the first of them, and most came in the
        # order of time, so they lie together. The others have a run each.
        mixed = self._mixed(run, at, len(starts))
        if mixed.any():
            apart = mixed[own]
            place = np.cumsum(~mixed) - 1
            own = np.where(apart, np.cumsum(apart) - 1 + np.count_nonzero(~mixed), place[own])
            starts = np.concatenate((starts[~mixed], self.starts[apart]))
            lengths = np.concatenate((lengths[~mixed], self.lengths[apart]))
            run, at = _runs(starts, lengths)
            run, at = self._sorted(run, at, len(lengths) - int(np.count_nonzero(apart)))
            lengths = np.bincount(run, minlength=len(starts))
            ends = np.cumsum(lengths)
            begins = (ends - lengths)[own]
            until = np.where(apart, ends[own], begins + self.lengths)
        else:
            begins = (np.cumsum(lengths) - lengths)[own]
            until = begins + self.lengths
        time, rating, kind = (
            np.ascontiguousarray(self.events[name])[at] for name in ("time", "rating", "type")
        )
        return Laid(run, own, begins, until, time, rating, kind)

    def _mixed(self, run: I64, at: I64, runs: int) -> Bools:
        """Tell which runs are not in the order of time, or have more of a type than count."""
        time, kind = self.events["time"][at], self.events["type"][at]
        mixed = np.zeros(runs, bool)
        mixed[run[1:][(time[1:] <= time[:-1]) & (run[1:] == run[:-1])]] = True
        kinds = int(kind.max(initial=0)) + 1
        counts = np.bincount(run * kinds + kind, minlength=runs * kinds)
        mixed |= (counts > self.kept).reshape(runs, kinds).any(axis=1)
        return mixed

    def _sorted(self, run: I64, at: I64, first: int) -> tuple[I64, I64]:
        """Put the runs from one on in the order of time, and leave out what does not count.

        Of two at one time that with the smaller hash is first, so that it is all the same which
        came first.
        """
        begin = int(np.searchsorted(run, first))
        rows, own = run[begin:], at[begin:]
        time = self.events["time"][own]
        if ((time[1:] <= time[:-1]) & (rows[1:] == rows[:-1])).any():
            own = own[np.lexsort((self.events["event"][own], time, rows))]
        fresh = _newest(rows, self.events["type"][own], self.kept)
        return (
            np.concatenate((run[:begin], rows[fresh])),
            np.concatenate((at[:begin], own[fresh])),
        )

    def _of(self, types: frozenset[EventType], rated: bool) -> Chosen:
        """Give those of some types, those that have a rating alone perhaps."""
        return self.once((types, rated), lambda: self._chosen(types, rated=rated))

    def _chosen(self, types: frozenset[EventType], *, rated: bool) -> Chosen:
        laid = self.laid
        if len(types) == len(TYPES) and not rated:
            places = np.arange(len(laid.time) + 1)
            return Chosen(places[:-1], places, laid.ends)
        wanted = np.zeros(256, bool)
        wanted[[CODES[kind] for kind in types]] = True
        chosen = wanted[laid.kind]
        if rated:
            chosen &= ~np.isnan(laid.rating)
        before = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(chosen, out=before[1:])
        return Chosen(np.flatnonzero(chosen), before, before[laid.ends])

    @cached_property
    def _span(self) -> tuple[int, int]:
        """The first time of all, and how many microseconds they take."""
        time = self.laid.time
        base = int(time.min(initial=NEVER))
        return base, int(time.max(initial=base)) - base + 2

    @cached_property
    def _rising(self) -> list[tuple[int, int, int, I64]]:
        """Times of all runs in rising columns, of so many runs as one can hold.

        With each the run and the place where it begins, and the run up to where it goes.
        """
        laid, (base, span) = self.laid, self._span
        most, runs = max(_LARGEST // span, 1), int(laid.run.max(initial=-1)) + 1
        found = []
        for first in range(0, runs, most):
            begin, end = np.searchsorted(laid.run, (first, first + most)).tolist()
            keys = (laid.run[begin:end] - first) * span + (laid.time[begin:end] - base)
            found.append((first, begin, first + most, keys))
        return found

    def _place(self, length: int) -> I64:
        """Tell from where on the events of each moment are in a window, int64 (m,)."""
        return self.once(("place", length), lambda: self._placed(length))

    def _placed(self, length: int) -> I64:
        laid, (base, span) = self.laid, self._span
        after = np.clip(self.now - length - base, -1, span - 2)
        found = np.zeros(len(self), np.int64)
        for first, begin, until, keys in self._rising:
            whole = len(self._rising) == 1
            some = slice(None) if whole else (laid.own >= first) & (laid.own < until)
            asked = (laid.own[some] - first) * span + after[some]
            found[some] = begin + np.searchsorted(keys, asked, side="right")
        return np.clip(found, laid.begins, laid.ends)

    # --- counts -------------------------------------------------------------------------------

    def count_together(self, asked: Asked) -> None:
        """Count all that is asked for, which takes less than one after the other."""
        if asked.thresholds:
            counts = np.stack([self.count(window) for window, _ in asked.thresholds])
            least = np.array([[number] for _, number in asked.thresholds])
            for threshold, reached in zip(asked.thresholds, counts >= least, strict=True):
                self._found["least", *threshold] = reached

    def turn_together(self, asked: Asked) -> None:
        """Find when the counts fall below their thresholds, which takes less likewise."""
        if not asked.thresholds:
            return
        if ("least", *asked.thresholds[0]) not in self._found:
            self.count_together(asked)
        chosen = {kind: self._of(*kind) for kind in asked.kinds}
        sizes = [len(each.rows) for each in chosen.values()]
        begin = dict(zip(chosen, [0, *np.cumsum(sizes).tolist()], strict=False))
        rows = np.concatenate([each.rows for each in chosen.values()])
        kinds = [(window.types, window.rated) for window, _ in asked.thresholds]
        least = np.array([[number] for _, number in asked.thresholds])
        lengths = np.array([[window.length] for window, _ in asked.thresholds])
        reached = np.stack([self._found["least", *each] for each in asked.thresholds])
        # Those of all kinds lie one behind the other.
        at = np.stack([chosen[kind].ends + begin[kind] for kind in kinds]) - least
        found = np.full(at.shape, NEVER, np.int64)
        which = np.nonzero(reached)
        found[which] = self.laid.time[rows[at[which]]] + lengths[which[0], 0]
        for threshold, times in zip(asked.thresholds, found, strict=True):
            self._found["below", *threshold] = times

    def count(self, window: Window) -> I64:
        """Count the events that are in a window up to the moment, int64 (m,)."""
        return self.once(window, lambda: self._count(window))

    def _count(self, window: Window) -> I64:
        chosen = self._of(window.types, window.rated)
        return chosen.ends - chosen.before[self._place(window.length)]

    def at_least(self, window: Window, number: int) -> Bools:
        """Tell where so many are in a window, bool (m,); at least one."""
        return self.once(("least", window, number), lambda: self.count(window) >= number)

    def falls_below(self, window: Window, number: int) -> I64:
        """Tell when fewer than so many will be in it, int64 (m,); NEVER where fewer are."""
        least = np.full(len(self), number)
        return self.once(("below", window, number), lambda: self.falls_to(window, least))

    def falls_to(self, window: Window, least: I64) -> I64:
        """Tell when fewer than so many of each will be in it, int64 (m,); NEVER where fewer are."""
        chosen = self._of(window.types, window.rated)
        found = np.full(len(self), NEVER, np.int64)
        where = np.flatnonzero((least > 0) & (least <= self.count(window)))
        # It is so when the last but so many leaves.
        rows = chosen.rows[chosen.ends[where] - least[where]]
        found[where] = self.laid.time[rows] + window.length
        return found

    # --- ratings ------------------------------------------------------------------------------

    def mean_rating(self, window: Window) -> F64:
        """Give the mean rating in it, float64 (m,), NaN where there is no rating."""
        return self.once(("mean", window), lambda: self._mean_rating(window))

    def _mean_rating(self, window: Window) -> F64:
        counts, ratings = self._rated(window)
        # In the order of times, so that the sum does not hang on which came first.
        sums = np.bincount(np.repeat(np.arange(len(self)), counts), ratings, minlength=len(self))
        with np.errstate(invalid="ignore"):
            # As the ratings were written: they are held in single precision.
            means: F64 = np.round(sums / counts, 6)
        return means

    def rating_range(self, window: Window) -> tuple[F64, F64]:
        """Give the lowest and the highest rating in it, float64 (m,), NaN where there is none."""
        counts, ratings = self._rated(window)
        some = np.flatnonzero(counts)
        low, high = np.full(len(self), np.nan), np.full(len(self), np.nan)
        if len(some):
            begin = (np.cumsum(counts) - counts)[some]
            low[some] = np.minimum.reduceat(ratings, begin)
            high[some] = np.maximum.reduceat(ratings, begin)
        return low, high

    def _rated(self, window: Window) -> Rated:
        return self.once(("rated", window), lambda: self._ratings(window))

    def _ratings(self, window: Window) -> Rated:
        chosen, counts = self._of(window.types, True), self.count(window)
        _, at = _runs(chosen.ends - counts, counts)
        return Rated(counts, self.laid.rating[chosen.rows[at]].astype(np.float64))

    # --- what else is known -------------------------------------------------------------------

    def known_for(self, length: int) -> Bools:
        """Tell whose first event lies at least so far back."""
        found: Bools = self.now - self.first >= length
        return found

    def known_from(self, length: int) -> I64:
        """Tell from when on it will, int64 (m,); NEVER where it does."""
        reached = np.minimum(self.first, NEVER - length) + length
        return np.where(reached > self.now, reached, NEVER)

    @cached_property
    def segment(self) -> I64:
        """The learned segment, int64 (m,), -1 where there is none."""
        return np.array([each.segment for each in self.known], np.int64)

    @property
    def label(self) -> list[str | None]:
        """The predicted label."""
        return [each.label for each in self.known]

    @property
    def words(self) -> list[frozenset[str]]:
        """Typical words."""
        return [each.words for each in self.known]

    def attribute(self, name: str) -> list[str | None]:
        """Give an attribute's latest value."""
        return [each.attributes.get(name) for each in self.known]


def _runs(starts: I64, lengths: I64) -> tuple[I64, I64]:
    """Lay runs behind each other: give which one each place is of, and what lies there."""
    run = np.repeat(np.arange(len(starts)), lengths)
    ends = np.cumsum(lengths)
    return run, np.arange(len(run)) + np.repeat(starts - (ends - lengths), lengths)


def _newest(run: I64, kind: NDArray[np.uint8], kept: int) -> Bools:
    """Tell which events, by run and then by time, are among the newest of their type in it."""
    kinds = int(kind.max(initial=0)) + 1
    own = (run - run[:1]) * kinds + kind
    order = np.argsort(own, kind="stable")
    lengths = np.bincount(own)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(own))
    fresh = np.empty(len(own), bool)
    fresh[order] = left <= kept
    return fresh
