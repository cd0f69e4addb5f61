"""Who chose what and when: the events of a replay that name an item, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from consumer.contract.records import Output
from consumer.stages.segmentation.prepared import PreparedBatch
from models.distances import Floats, Ints
from models.recommendation.gains import gains_of
from models.recommendation.policy import RecommendationPolicy
from schemas.item_events import ItemEvent, read_item_event
from schemas.picking import value_at

_MICROSECOND = timedelta(microseconds=1)

NO_CATEGORY = -1


@dataclass(frozen=True, eq=False)
class Choices:
    """n events that name items, in the order of their times.

    Attributes
    ----------
    users, items
        Ids, in the order of their first events.
    user, item
        Of each event, places in them, int64[n].
    time
        Microseconds since 1970, int64[n].
    segment
        The user's behind the event, NO_SEGMENT for none, int64[n].
    category
        Of the event's item, as a number, NO_CATEGORY for none, int64[n].
    gain
        What the event counts at its time, float64[n].
    vectors
        Of the texts, float32[n, d].
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: Ints
    item: Ints
    time: Ints
    segment: Ints
    category: Ints
    gain: Floats
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.time)


@dataclass(slots=True)
class ChoiceNotes:
    """Notes choices while a file is replayed; 2 d bytes an event for its vector.

    Parameters
    ----------
    topic
        Name of `item-events`.
    category
        Dotted path of the item's category in the source's objects; of a list the first counts.
    """

    topic: str
    category: str | None = None
    _events: list[ItemEvent] = field(default_factory=list)
    _categories: dict[int, str] = field(default_factory=dict)

    def sink(self, output: Output) -> None:
        """Take an output of the replay."""
        if output.topic == self.topic and output.value is not None:
            self._events.append(read_item_event(output.key, output.value))

    def watch(self, batch: PreparedBatch) -> None:
        """Take a batch, for the categories in its records."""
        if self.category is None:
            return
        for row in range(len(batch.events)):
            record = batch.record_of(row)
            found = category_of(record.value, self.category)
            if found is not None:
                self._categories[record.offset] = found

    def choices(self, policy: RecommendationPolicy) -> Choices:
        """Give what was noted, in the order of event times; equal ones as they came."""
        times = np.array([each.time for each in self._events], np.int64)
        events = [self._events[place] for place in np.argsort(times, kind="stable").tolist()]
        users, user = _numbered([each.user for each in events])
        items, item = _numbered([each.item for each in events])
        categories: dict[str, int] = {}
        category = [
            NO_CATEGORY if name is None else categories.setdefault(name, len(categories))
            for name in (self._categories.get(each.offset) for each in events)
        ]
        ratings = np.array([each.rating for each in events], np.float64)
        return Choices(
            users=users,
            items=items,
            user=user,
            item=item,
            time=np.array([each.time for each in events], np.int64),
            segment=np.array([each.segment for each in events], np.int64),
            category=np.array(category, np.int64),
            gain=gains_of([each.type for each in events], ratings, policy),
            vectors=np.array([each.vector for each in events], np.float32),
        )


def category_of(value: bytes | None, path: str) -> str | None:
    """Read a category out of a record, JSON; of a list the first; None where there is none."""
    try:
        found: Any = value_at(from_json(value or b""), path)
    except ValueError:
        return None
    if isinstance(found, list):
        found = found[0] if found else None
    return str(found) if isinstance(found, str | int | float) else None


def faded(times: Ints, now: int, half_life: timedelta) -> Floats:
    """Give 2^-(age / half-life) of times up to now, float64[n]."""
    weights: Floats = np.exp2((times - now) / (half_life // _MICROSECOND))
    return weights


def commonest(owners: Ints, values: Ints, count: int, none: int) -> Ints:
    """Give the commonest value of each of `count` owners but `none`, of equals the least.

    Parameters
    ----------
    owners, values
        int64[n].
    """
    found = np.full(count, none, np.int64)
    given = values != none
    if not given.any():
        return found
    pairs, counts = np.unique(
        np.stack([owners[given], values[given]], axis=1), axis=0, return_counts=True
    )
    # Written in the order of rising counts, so the commonest stays; of equals the least value.
    for place in np.lexsort((-pairs[:, 1], counts)).tolist():
        found[pairs[place, 0]] = pairs[place, 1]
    return found


def latest(owners: Ints, values: Ints, count: int, none: int) -> Ints:
    """Give the last value of each of `count` owners; `none` where there was none."""
    found = np.full(count, none, np.int64)
    # NumPy leaves it open which of several writes stays, so the last ones are found first.
    reverse, firsts = np.unique(owners[::-1], return_index=True)
    found[reverse] = values[::-1][firsts]
    return found


def _numbered(names: list[str]) -> tuple[tuple[str, ...], Ints]:
    numbers: dict[str, int] = {}
    found = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
    return tuple(numbers), found
