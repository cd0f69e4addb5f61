"""Items counted the slow way: every event is kept, and weighed when it is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.recommendation.rows import ItemEvents, ItemRows
from models.recommendation.table import ItemTable
from schemas.segment_model import NO_SEGMENT

DIMENSIONS = 3
DAY = timedelta(days=1)
HALF_LIFE = 10 * DAY
MICROSECONDS = 10**6 * 86_400
START = 20_000 * MICROSECONDS


@dataclass(frozen=True)
class Event:
    """One event, as plain values."""

    item: str
    segment: int
    gain: float
    time: int
    rating: float | None
    vector: tuple[float, ...] | None


events = st.builds(
    Event,
    item=st.sampled_from(["a", "b", "c", "d", "e", "f", "é🙂"]),
    segment=st.sampled_from([NO_SEGMENT, 0, 1, 2, 3, 7, 900]),
    gain=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]),
    time=st.integers(START, START + 300 * MICROSECONDS),
    rating=st.none() | st.sampled_from([1.0, 2.0, 3.5, 5.0]) | st.floats(-1e3, 1e3, width=32),
    vector=st.none() | st.tuples(*[st.sampled_from([-0.9, 0.1, 0.3, 0.577])] * DIMENSIONS),
)
streams = st.lists(events, max_size=40)


def columns(batch: list[Event], items: list[str]) -> ItemEvents:
    texts = [number for number, each in enumerate(batch) if each.vector is not None]
    vectors = np.array([batch[number].vector for number in texts], np.float16)
    return ItemEvents(
        rows=np.array([items.index(each.item) for each in batch], np.int64),
        segments=np.array([each.segment for each in batch], np.int64),
        gains=np.array([each.gain for each in batch], np.float64),
        times=np.array([each.time for each in batch], np.int64),
        ratings=np.array(
            [math.nan if each.rating is None else each.rating for each in batch], np.float64
        ),
        vectors=vectors.reshape(len(texts), DIMENSIONS),
        texts=np.array(texts, np.int64),
    )


def counted(batch: list[Event], table: ItemTable, half_life: timedelta = HALF_LIFE) -> ItemRows:
    """Count a batch as a stage does: copies are moved, and put back."""
    items = list(dict.fromkeys(each.item for each in batch))
    rows = table.gather(items)
    rows.add(columns(batch, items), half_life)
    table.put(rows)
    return rows


@dataclass
class Naive:
    """What the formulas say, from all events."""

    events: list[Event] = field(default_factory=list)
    half_life: timedelta = HALF_LIFE

    def _fade(self, event: Event, now: int) -> float:
        return float(2.0 ** (-(now - event.time) / (self.half_life / timedelta(microseconds=1))))

    def items(self) -> list[str]:
        return list(dict.fromkeys(each.item for each in self.events))

    def of(self, item: str | None, segment: int | None) -> list[Event]:
        return [
            each
            for each in self.events
            if item in (None, each.item) and segment in (None, each.segment)
        ]

    def weight(self, item: str | None, segment: int | None, now: int) -> float:
        return math.fsum(each.gain * self._fade(each, now) for each in self.of(item, segment))

    def moments(self, item: str | None, segment: int | None, now: int) -> tuple[float, ...]:
        rated = [each for each in self.of(item, segment) if each.rating is not None]
        weights = [self._fade(each, now) for each in rated]
        if not rated:
            return 0.0, 0.0, 0.0
        values = np.array([each.rating for each in rated])
        mean = float(np.average(values, weights=weights))
        return (
            math.fsum(weights),
            mean,
            float(np.average(np.square(values - mean), weights=weights)),
        )

    def vector(self, item: str, now: int) -> NDArray[np.float64]:
        texts = [each for each in self.of(item, None) if each.vector is not None and each.gain]
        if not texts:
            return np.zeros(DIMENSIONS)
        weights = [each.gain * self._fade(each, now) for each in texts]
        vectors = np.array([each.vector for each in texts], np.float16).astype(np.float64)
        return np.average(vectors, axis=0, weights=weights)

    def score(self, item: str, segment: int | None, now: int, prior: float) -> float:
        """p(i | s), or p(i) where there is no segment."""
        everything = self.weight(None, None, now)
        overall = self.weight(item, None, now) / everything if everything else 0.0
        if segment is None:
            return overall
        own, total = self.weight(item, segment, now), self.weight(None, segment, now)
        return (own + prior * overall) / (total + prior) if total + prior else overall
