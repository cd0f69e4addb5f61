"""What a worker writes of events that name an item: the recommender's feed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Output
from consumer.stages.segmentation.decisions import Decided
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.standings import Standings
from schemas.item_events import ITEM_EVENT, encode_item_events

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ItemEventWriter:
    """Gives the records of `item-events`.

    Parameters
    ----------
    topic
        Its name.
    embedding
        Identity of the embedding model.
    """

    topic: str
    embedding: str

    def outputs(
        self, batch: PreparedBatch, counted: Rows, segments: Rows, partition: int
    ) -> list[Output]:
        """Give one record for each event that names an item.

        Parameters
        ----------
        batch
            What the events say.
        counted
            Those that count, by their rows in the batch, int64 (k,).
        segments
            The user's segment behind each, int64 (k,).
        partition
            Of the input, that of them all.
        """
        events, records = batch.events, batch.records
        named = [place for place, row in enumerate(counted.tolist()) if events.items[row]]
        if not named:
            return []
        rows = counted[named]
        chosen = rows.tolist()
        numbers = events.numbers[rows].tolist()
        told = np.zeros(len(rows), ITEM_EVENT)
        told["embedding"] = np.void(bytes.fromhex(self.embedding))
        told["event_hash"], told["time"] = events.hashes[rows], events.times[rows]
        told["offset"] = [records[number].offset for number in numbers]
        ratings = [events.ratings[row] for row in chosen]
        told["rating"] = [np.nan if rating is None else rating for rating in ratings]
        told["partition"], told["segment"] = partition, segments[named]
        told["type"] = events.types[rows]
        items = [events.items[row] or "" for row in chosen]
        users = [events.users[row] for row in chosen]
        values = encode_item_events(told, batch.embeddings[rows], items, users)
        return [
            Output(self.topic, item.encode(), value)
            for item, value in zip(items, values, strict=True)
        ]


def segments_after(before: Rows, after: Standings, decided: Decided) -> Rows:
    """Give the segment that each event has left its user in, int64 (k,).

    Parameters
    ----------
    before
        Segments of the rows before the events, int64 (n,).
    after
        How each event left its user's profile.
    decided
        The changes, by the event that made them.
    """
    segments = before[after.places]
    if not decided:
        return segments
    now: dict[int, int] = {}
    first = min(decided)
    for entry, place in enumerate(after.places[first:].tolist(), start=first):
        if entry in decided:
            now[place] = decided[entry][0].segment
        if place in now:
            segments[entry] = now[place]
    return segments
