"""What rules know of users' events, and when one of them leaves a window.

Of each type a user's newest `kept` events are held, those within the longest window that a rule may
have. That is enough for exact counts up to `kept`, in whatever windows and for rules that are added
later; and an event that comes again counts once while it is held, and changes nothing after that,
since it would be let go again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.rules.parts import Window
from schemas.events import EventType

EVENT = np.dtype([("time", "<i8"), ("event", "<u8"), ("rating", "<f4"), ("type", "u1")])
"""An event: time in microseconds since 1970, hash of its id, rating (NaN for none), type."""

TYPES = tuple(EventType)
"""Types by their number in `EVENT`; further ones go to the end, since states hold the numbers."""

CODES = {kind: code for code, kind in enumerate(TYPES)}
NO_EVENTS = np.zeros(0, EVENT)
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
    if len(events) > kept and np.bincount(events["type"]).max() > kept:
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
