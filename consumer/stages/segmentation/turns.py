"""How the events of a batch move profiles: side by side those of different users, in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch
from consumer.stages.segmentation.stats import SegmentationStats
from models.profiles.policy import ProfilePolicy
from models.profiles.table import ProfileRows
from models.text import cut_words

Rows = NDArray[np.int64]


def in_turns(users: Sequence[str]) -> tuple[dict[str, int], Rows, list[Rows]]:
    """Give the users of events their places, and cut the events into turns.

    A turn holds at most one event a user, so its events can be applied side by side; a user's own
    events follow each other turn by turn, each judged by itself.

    Returns
    -------
    tuple
        The users' places, those of each event's user, int64 (n,), and the events of each turn.
    """
    places: dict[str, int] = {}
    turns: list[list[int]] = []
    seen: Counter[int] = Counter()
    own = [places.setdefault(user, len(places)) for user in users]
    for event, place in enumerate(own):
        if seen[place] == len(turns):
            turns.append([])
        turns[seen[place]].append(event)
        seen[place] += 1
    return places, np.array(own, np.int64), [np.array(turn, np.int64) for turn in turns]


def move_profiles(
    rows: ProfileRows,
    places: Rows,
    turn: Rows,
    batch: PreparedBatch,
    *,
    weights: NDArray[np.float64],
    policy: ProfilePolicy,
    stats: SegmentationStats,
) -> tuple[Rows, Rows]:
    """Move profiles by the events of a turn, but for those that were seen before.

    Parameters
    ----------
    rows
        The users.
    places
        The row of each event's user.
    turn
        The events, by their rows in the batch.
    batch
        What they say.
    weights
        By the code of an event's type.
    policy
        How profiles fade.
    stats
        Counts what is accepted and what is repeated.

    Returns
    -------
    tuple
        The events that count, and the row of each one's user, int64 (n,).
    """
    events = batch.events
    hashes, times = events.hashes[turn], events.times[turn]
    known = rows.knows(places, hashes)
    rows.repeats[places[known]] += 1
    stats.repeated += int(known.sum())
    # Of what counted only the id is kept, but nothing that counted is later than this: so the
    # record is no copy of the first one. An edit that keeps its time cannot be told.
    stats.edited += int((known & (times > rows.reference[places])).sum())
    fresh, places, hashes, times = turn[~known], places[~known], hashes[~known], times[~known]
    if not len(fresh):
        return fresh, places
    types = events.types[fresh]
    keeps, gains = rows.add(places, batch.embeddings[fresh], weights[types], times, policy)
    rows.remember(places, hashes)
    for event, place, keep, gain in zip(
        fresh.tolist(), places.tolist(), keeps.tolist(), gains.tolist(), strict=True
    ):
        words = events.words[event]
        if words is None:
            words = cut_words(events.texts[event], events.languages[event])
        rows.note_terms(place, words, keep, gain, policy.terms)
        stats.languages[events.languages[event]] += 1
    for code, count in zip(*np.unique(types, return_counts=True), strict=True):
        stats.accepted[EVENT_TYPES[code]] += int(count)
    return fresh, places
