"""The part of the segmentation stage that touches no state: from records to events with vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consumer.contract.clock import Clock
from consumer.contract.records import Record
from consumer.stages.segmentation.labelling import LabelEntry
from consumer.stages.shared.unexpected import Faults, embed_apart
from models.embedding.runner_types import Embedder
from models.text import CleanText, prepare_text
from schemas.dead_letters import Refusal, RefusalReason
from schemas.events import UserEvent
from schemas.intake import Intake, RefusedError

_NO_VECTOR = Refusal(
    reason=RefusalReason.EMBEDDING_FAILED,
    detail="the embedding model has no vector for this text: it fails on it, and on it alone",
)


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """An accepted record: the event and what its text says."""

    record: Record
    event: UserEvent
    tokens: tuple[str, ...]
    language: str
    row: int
    """Its row in the batch's embeddings."""
    left_out: tuple[str, ...] = ()
    """Fields that nothing rests on, left out since they were not as the contract says."""


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record for the dead letters."""

    record: Record
    refusal: Refusal


Entry = PreparedEvent | RefusedRecord


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """What `Preparation` makes of records: entries in their order, embeddings float32 (n, d).

    The embedding of an accepted event is a unit vector; rows that no event names may hold NaN.
    """

    entries: tuple[Entry, ...]
    embeddings: NDArray[np.float32]
    labels: tuple[LabelEntry, ...] = ()
    """Records of `segment-labels` that came in between."""

    def __len__(self) -> int:
        return len(self.entries) + len(self.labels)

    def beginning(self, count: int) -> PreparedBatch:
        """Give the batch without what comes after so many of its records, labels last."""
        labels = self.labels[: max(count - len(self.entries), 0)]
        return replace(self, entries=self.entries[:count], labels=labels)

    def refusing(self, number: int, refusal: Refusal) -> PreparedBatch:
        """Give the batch with one of its records refused, counted from 0, labels last."""
        if number < len(self.entries):
            entries = list(self.entries)
            entries[number] = RefusedRecord(entries[number].record, refusal)
            return replace(self, entries=tuple(entries))
        labels = list(self.labels)
        number -= len(self.entries)
        labels[number] = LabelEntry(labels[number].record, refusal)
        return replace(self, labels=tuple(labels))

    @property
    def accepted(self) -> Iterator[PreparedEvent]:
        """The events among the entries."""
        return (entry for entry in self.entries if isinstance(entry, PreparedEvent))


def words_of(event: UserEvent) -> tuple[str, CleanText]:
    """Give what an event says, as it came and cleaned: its text, or its title in place of that.

    Raises
    ------
    RefusedError
        If neither holds words.
    """
    for raw in (event.text, event.item_title):
        if raw and (clean := prepare_text(raw, event.language)).has_words:
            return raw, clean
    raise RefusedError(RefusalReason.NO_TEXT, "neither text nor item_title holds words", "text")


class Preparation:
    """Validates, cleans and embeds; safe to call from several threads.

    Parameters
    ----------
    intake
        Reads events from records.
    embedder
        From text to vector.
    clock
        What event times in the future are told by.
    faults
        Makes refusals of what the program fails on.
    most_faults
        How many texts of a batch the embedder may fail on.
    """

    def __init__(
        self, intake: Intake, embedder: Embedder, clock: Clock, faults: Faults, most_faults: int
    ) -> None:
        self._intake = intake
        self._embedder = embedder
        self._clock = clock
        self._faults = faults
        self._most_faults = most_faults
        self._cleaning = threading.Lock()

    def __call__(self, records: Sequence[Record]) -> PreparedBatch:
        """Prepare a batch."""
        # One batch is cleaned while another is embedded. Two cleaned at once would gain nothing, as
        # Python runs one thread at a time, and the parsers are not made for several.
        with self._cleaning:
            entries, texts = self._clean(records)
        vectors, faults = embed_apart(self._embedder, texts, self._most_faults)
        refusals = dict.fromkeys(np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist(), _NO_VECTOR)
        refusals |= {row: self._faults.refusal(error) for row, error in faults.items()}
        if refusals:
            entries = [
                RefusedRecord(entry.record, refusals[entry.row])
                if isinstance(entry, PreparedEvent) and entry.row in refusals
                else entry
                for entry in entries
            ]
        return PreparedBatch(tuple(entries), vectors)

    def _clean(self, records: Sequence[Record]) -> tuple[list[Entry], list[str]]:
        """Give an entry for each record, and the texts that the rows of the events stand for."""
        now = self._clock()
        entries: list[Entry] = []
        texts: list[str] = []
        for record in records:
            try:
                event, left_out = self._intake.sift(record.value, record.key, now)
                _, clean = words_of(event)
            except RefusedError as error:
                entries.append(RefusedRecord(record, error.refusal))
                continue
            except Exception as error:
                entries.append(RefusedRecord(record, self._faults.refusal(error)))
                continue
            entries.append(
                PreparedEvent(
                    record, event, tuple(clean.tokens), clean.language, len(texts), left_out
                )
            )
            texts.append(clean.text)
        return entries, texts
