"""How the events of a batch move profiles: side by side those of different users, in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from consumer.stages.segmentation.preparation import PreparedEvent
from consumer.stages.segmentation.stats import SegmentationStats
from models.profiles.policy import ProfilePolicy
from models.profiles.table import ProfileRows, hash_event_id, to_microseconds
from schemas.events import EventType

Turn = list[tuple[int, PreparedEvent]]
"""Events of different users, each with the row of its user."""


def in_turns(events: Sequence[PreparedEvent]) -> tuple[dict[str, int], list[Turn]]:
    """Give the users of events their rows, and cut the events into turns.

    A turn holds at most one event a user, so its events can be applied side by side; a user's own
    events follow each other turn by turn, each judged by itself.
    """
    places: dict[str, int] = {}
    turns: list[Turn] = []
    seen: Counter[str] = Counter()
    for entry in events:
        user = entry.event.user_id
        if seen[user] == len(turns):
            turns.append([])
        turns[seen[user]].append((places.setdefault(user, len(places)), entry))
        seen[user] += 1
    return places, turns


def move_profiles(
    rows: ProfileRows,
    turn: Sequence[tuple[int, PreparedEvent]],
    embeddings: NDArray[np.float32],
    *,
    weights: Mapping[EventType, float],
    policy: ProfilePolicy,
    stats: SegmentationStats,
) -> tuple[list[PreparedEvent], NDArray[np.int64]]:
    """Move profiles by the events of a turn, but for those that were seen before.

    Parameters
    ----------
    rows
        The users.
    turn
        The events.
    embeddings
        float32 (texts, dimensions), by the events' rows.
    weights
        Of each type of event.
    policy
        How profiles fade.
    stats
        Counts what is accepted and what is repeated.

    Returns
    -------
    tuple
        The events that count, and the row of each one's user, int64[n].
    """
    places = np.array([place for place, _ in turn], np.int64)
    hashes = np.array([hash_event_id(entry.event.event_id) for _, entry in turn], np.uint64)
    times = np.array([to_microseconds(entry.event.occurred_at) for _, entry in turn], np.int64)
    known = rows.knows(places, hashes)
    rows.repeats[places[known]] += 1
    stats.repeated += int(known.sum())
    # Of what counted only the id is kept, but nothing that counted is later than this: so the
    # record is no copy of the first one. An edit that keeps its time cannot be told.
    stats.edited += int((known & (times > rows.reference[places])).sum())
    fresh = [entry for (_, entry), repeat in zip(turn, known, strict=True) if not repeat]
    places, hashes, times = places[~known], hashes[~known], times[~known]
    if not fresh:
        return fresh, places
    gains = np.array([weights[entry.event.type] for entry in fresh])
    keeps, gains = rows.add(
        places, embeddings[[entry.row for entry in fresh]], gains, times, policy
    )
    rows.remember(places, hashes)
    for entry, place, keep, gain in zip(fresh, places, keeps, gains, strict=True):
        rows.note_terms(int(place), entry.tokens, keep, gain, policy.terms)
        stats.accepted[entry.event.type] += 1
        stats.languages[entry.language] += 1
    return fresh, places
