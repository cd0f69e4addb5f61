"""A batch on its way from `prepare` to `apply`: its records, and its events as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from consumer.contract.records import Record
from schemas.dead_letters import Refusal
from schemas.events import EventType

if TYPE_CHECKING:  # what it takes to read settings, which a process that cleans does without
    from consumer.stages.segmentation.labelling import LabelEntry

EVENT_TYPES = tuple(EventType)
"""What the codes of `PreparedEvents.types` stand for."""

WORDS = "words"
"""What is left out of an event whose text is to name no segment, beside fields."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedEvents:
    """The n accepted events of a batch as columns, in the order of their records.

    Columns of strings and of numbers rather than an object an event: so they are made, cut and sent
    to another process at little cost.

    Attributes
    ----------
    numbers
        Which of the batch's records each event is, int64 (n,), ascending.
    users, event_ids
        As the events say.
    ranks
        Of the users (`models.profiles.sample.rank`), float64 (n,).
    hashes
        Of the event ids (`models.profiles.table.hash_event_id`), uint64 (n,).
    times
        Event times, microseconds since 1970, int64 (n,).
    types
        Places in `EVENT_TYPES`, uint8 (n,).
    languages, texts
        What the text was made into, and in which language it is.
    words
        The text's words for the profile; None where they are not cut yet.
    items, ratings, attributes
        As the events say.
    left_out
        Fields that nothing rests on and that were left out, by the event's row.
    """

    numbers: NDArray[np.int64]
    users: list[str]
    ranks: NDArray[np.float64]
    event_ids: list[str]
    hashes: NDArray[np.uint64]
    times: NDArray[np.int64]
    types: NDArray[np.uint8]
    languages: list[str]
    texts: list[str]
    words: list[tuple[str, ...] | None]
    items: list[str | None]
    ratings: list[float | None]
    attributes: list[dict[str, str] | None]
    left_out: Mapping[int, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.users)

    def beginning(self, count: int) -> Self:
        """Give the first so many events."""
        return replace(
            self,
            numbers=self.numbers[:count],
            users=self.users[:count],
            ranks=self.ranks[:count],
            event_ids=self.event_ids[:count],
            hashes=self.hashes[:count],
            times=self.times[:count],
            types=self.types[:count],
            languages=self.languages[:count],
            texts=self.texts[:count],
            words=self.words[:count],
            items=self.items[:count],
            ratings=self.ratings[:count],
            attributes=self.attributes[:count],
            left_out={row: names for row, names in self.left_out.items() if row < count},
        )

    def take(self, rows: Sequence[int]) -> Self:
        """Give some of the events, in the order of the rows given."""
        chosen = np.array(rows, np.int64)
        return replace(
            self,
            numbers=self.numbers[chosen],
            users=[self.users[row] for row in rows],
            ranks=self.ranks[chosen],
            event_ids=[self.event_ids[row] for row in rows],
            hashes=self.hashes[chosen],
            times=self.times[chosen],
            types=self.types[chosen],
            languages=[self.languages[row] for row in rows],
            texts=[self.texts[row] for row in rows],
            words=[self.words[row] for row in rows],
            items=[self.items[row] for row in rows],
            ratings=[self.ratings[row] for row in rows],
            attributes=[self.attributes[row] for row in rows],
            left_out={
                place: self.left_out[row] for place, row in enumerate(rows) if row in self.left_out
            },
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBatch:
    """What `Preparation` makes of records.

    Attributes
    ----------
    records
        Those of the events' topic, refused ones included.
    refusals
        Why records are refused, by their number. The others are `events`, each one.
    events
        The accepted ones.
    embeddings
        Of their texts, float32 (n, d), unit vectors: row i is event i's.
    labels
        Records of `segment-labels` that came in between.
    """

    records: Sequence[Record]
    refusals: Mapping[int, Refusal]
    events: PreparedEvents
    embeddings: NDArray[np.float32]
    labels: tuple[LabelEntry, ...] = ()

    def __len__(self) -> int:
        return len(self.records) + len(self.labels)

    def beginning(self, count: int) -> Self:
        """Give the batch without what comes after so many of its records, labels last."""
        events = int(np.searchsorted(self.events.numbers, count))
        return replace(
            self,
            records=self.records[:count],
            refusals={number: each for number, each in self.refusals.items() if number < count},
            events=self.events.beginning(events),
            embeddings=self.embeddings[:events],
            labels=self.labels[: max(count - len(self.records), 0)],
        )

    def refusing(self, number: int, refusal: Refusal) -> Self:
        """Give the batch with one of its records refused, counted from 0, labels last."""
        if number < len(self.records):
            return self.refusing_events(
                dict.fromkeys(np.flatnonzero(self.events.numbers == number).tolist(), refusal)
            )
        labels = list(self.labels)
        number -= len(self.records)
        labels[number] = replace(labels[number], outcome=refusal)
        return replace(self, labels=tuple(labels))

    def refusing_events(self, refusals: Mapping[int, Refusal]) -> Self:
        """Give the batch with some of its events refused, by their rows."""
        if not refusals:
            return self
        numbers = self.events.numbers.tolist()
        rows = [row for row in range(len(self.events)) if row not in refusals]
        return replace(
            self,
            refusals={**self.refusals, **{numbers[row]: each for row, each in refusals.items()}},
            events=self.events.take(rows),
            embeddings=self.embeddings[rows],
        )

    def accepting_only(self) -> Self:
        """Give the batch without the records that are refused."""
        numbers = self.events.numbers.tolist()
        return replace(
            self,
            records=[self.records[number] for number in numbers],
            refusals={},
            events=replace(self.events, numbers=np.arange(len(numbers))),
        )

    def refused(self) -> Iterator[tuple[Record, Refusal]]:
        """Give the records of events that are refused, in their order, and why."""
        for number in sorted(self.refusals):
            yield self.records[number], self.refusals[number]

    def record_of(self, row: int) -> Record:
        """Give the record of an event."""
        return self.records[int(self.events.numbers[row])]
