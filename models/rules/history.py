"""What rules know of users' events, and what rules say at many moments at once.

Of each type a user's newest `kept` events are held, those within the longest window that a rule may
have. That is enough for exact counts up to `kept`, in whatever windows and for rules that are added
later; and an event that comes again counts once while it is held, and changes nothing after that,
since it would be let go again.

A moment is a user, as many of the user's events as had come by then, and a time. Many are looked at
at once: their events are laid one behind the other, and what a rule asks for is a sum over each
one's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.rules.language import Window
from schemas.events import EventType

EVENT = np.dtype([("time", "<i8"), ("event", "<u8"), ("rating", "<f4"), ("type", "u1")])
"""An event: time in microseconds since 1970, hash of its id, rating (NaN for none), type."""

TYPES = tuple(EventType)
"""Types by their number in `EVENT`; further ones go to the end, since states hold the numbers."""

CODES = {kind: code for code, kind in enumerate(TYPES)}
NO_EVENTS = np.zeros(0, EVENT)
NEVER = np.iinfo(np.int64).max // 2
"""A time far ahead, to which the length of any window can be added."""

MOST_RATING = 1e30
"""What is beyond it is taken for it."""

Events = NDArray[np.void]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a user beside the events.

    Attributes
    ----------
    attributes
        The latest value of each.
    segment, label, words
        What the user's profile says; -1 for no segment.
    """

    attributes: Mapping[str, str] = field(default_factory=dict)
    segment: int = -1
    label: str | None = None
    words: frozenset[str] = frozenset()


NOTHING = Known()


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
    _counts: dict[tuple[frozenset[EventType], int], I64] = field(default_factory=dict)
    _means: dict[tuple[frozenset[EventType], int], NDArray[np.float64]] = field(
        default_factory=dict
    )

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

    @cached_property
    def laid(self) -> tuple[I64, Events]:
        """Which moment each event is of, and the events, of all moments."""
        lengths = self.lengths
        moment = np.repeat(np.arange(len(self)), lengths)
        ends = np.cumsum(lengths)
        within = np.arange(len(moment)) - np.repeat(ends - lengths, lengths)
        events = self.events.take(np.repeat(self.starts, lengths) + within)
        if lengths.max(initial=0) > self.kept:
            fresh = newest(moment, events, self.kept)
            moment, events = moment[fresh], events[fresh]
        return moment, events

    @cached_property
    def _ages(self) -> I64:
        moment, events = self.laid
        ages: I64 = self.now[moment] - events["time"]
        return ages

    def _chosen(self, types: frozenset[EventType], window: int) -> Bools:
        chosen: Bools = self._ages < window
        if len(types) < len(TYPES):
            wanted = np.zeros(256, bool)
            wanted[[CODES[kind] for kind in types]] = True
            chosen &= wanted[self.laid[1]["type"]]
        return chosen

    def count(self, types: frozenset[EventType], window: int) -> I64:
        """Count events of some types within the window before the moment, int64 (m,)."""
        # Rules of one group often ask for the same.
        if (types, window) not in self._counts:
            chosen = self.laid[0][self._chosen(types, window)]
            self._counts[types, window] = np.bincount(chosen, minlength=len(self))
        return self._counts[types, window]

    def mean_rating(self, types: frozenset[EventType], window: int) -> NDArray[np.float64]:
        """Give the mean rating in them, float64 (m,), NaN where there is no rating."""
        if (types, window) not in self._means:
            self._means[types, window] = self._mean_rating(types, window)
        return self._means[types, window]

    def _mean_rating(self, types: frozenset[EventType], window: int) -> NDArray[np.float64]:
        moment, events = self.laid
        chosen = self._chosen(types, window) & ~np.isnan(events["rating"])
        # In the order of times, so that the sum does not hang on which came first.
        at, rated = moment[chosen], events[chosen]
        order = np.lexsort((rated["event"], rated["time"], at))
        ratings = rated["rating"][order].astype(np.float64)
        sums = np.bincount(at[order], ratings, minlength=len(self))
        counts = np.bincount(at, minlength=len(self))
        with np.errstate(invalid="ignore"):
            # As the ratings were written: they are held in single precision.
            means: NDArray[np.float64] = np.round(sums / counts, 6)
        return means

    def known_for(self, window: int) -> Bools:
        """Tell whose first event lies at least so far back."""
        found: Bools = self.now - self.first >= window
        return found

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


def newest(owner: I64, events: Events, kept: int) -> Bools:
    """Tell which events are among the newest of their type that each owner has.

    Of two at the same time the one with the larger hash is newer, so that it is the same one
    whatever the order is in which they came.

    Parameters
    ----------
    owner
        Whose each event is, int64 (n,).
    events
        EVENT (n,).
    kept
        How many of a type.
    """
    # The newest first within each owner and type, by falling keys.
    order = np.lexsort((events["event"], events["time"], events["type"], owner))[::-1]
    own, kinds = owner[order], events["type"][order]
    first = np.flatnonzero(
        np.concatenate(([True], (own[1:] != own[:-1]) | (kinds[1:] != kinds[:-1])))
    )[: len(order)]
    lengths = np.diff(np.append(first, len(order)))
    rank = np.arange(len(order)) - np.repeat(first, lengths)
    chosen = np.zeros(len(order), bool)
    chosen[order[rank < kept]] = True
    return chosen


def pruned(events: Events, now: int, kept: int, longest: int) -> Events:
    """Give those of a user's events that may still count, in their order."""
    if len(events) > kept:
        events = events[newest(np.zeros(len(events), np.int64), events, kept)]
    recent = events["time"] > now - longest
    return events if recent.all() else events[recent]


def leaving(events: Events, windows: Iterable[Window]) -> Iterator[tuple[NDArray[np.intp], I64]]:
    """Give which events leave a window of those in which they count, and when, by length."""
    lengths: defaultdict[int, list[Window]] = defaultdict(list)
    for window in windows:
        lengths[window.length].append(window)
    kinds, rated = events["type"], ~np.isnan(events["rating"])
    for length, own in lengths.items():
        # By type: 0 where none counts, 1 where those with a rating do, 2 where all do.
        counts = np.zeros(256, np.uint8)
        for window in sorted(own, key=lambda each: each.rated, reverse=True):
            counts[[CODES[kind] for kind in window.types]] = 1 if window.rated else 2
        which = np.flatnonzero(counts[kinds] + rated >= 2)
        yield which, events["time"][which] + length


def boundaries(
    times: Sequence[I64], owners: Sequence[I64], after: I64, until: I64
) -> tuple[I64, I64]:
    """Give the times at which something may be different.

    Parameters
    ----------
    times, owners
        Times, and whose they are, int64 (n,) each.
    after, until
        Of each owner, which times are asked for: later than the first, and up to the second.

    Returns
    -------
    tuple
        Owners and times, int64 both, by owner and then by time, each pair once.
    """
    if not times:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at, whose = np.concatenate(times), np.concatenate(owners)
    wanted = (at > after[whose]) & (at <= until[whose])
    pairs = np.unique(np.stack((whose[wanted], at[wanted]), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]
