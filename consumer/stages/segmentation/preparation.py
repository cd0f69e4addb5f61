"""The part of the segmentation stage that touches no state: from records to events with vectors."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from consumer.contract.clock import Clock
from consumer.contract.records import Record
from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch, PreparedEvents
from consumer.stages.shared.unexpected import Faults, embed_apart
from models.embedding.runner_types import Embedder
from models.profiles.table import hash_event_id
from models.text import CleanText, prepare_text
from schemas.dead_letters import Refusal, RefusalReason
from schemas.intake import Intake, RefusedError
from schemas.sifting import SiftedEvent

_NO_VECTOR = Refusal(
    reason=RefusalReason.EMBEDDING_FAILED,
    detail="the embedding model has no vector for this text: it fails on it, and on it alone",
)

_CODES = {kind: code for code, kind in enumerate(EVENT_TYPES)}


def words_of(event: SiftedEvent) -> tuple[str, CleanText]:
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
            events, refused = self._clean(records)
        vectors, faults = embed_apart(self._embedder, events.texts, self._most_faults)
        refusals = dict.fromkeys(np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist(), _NO_VECTOR)
        refusals |= {row: self._faults.refusal(error) for row, error in faults.items()}
        return PreparedBatch(records, refused, events, vectors).refusing_events(refusals)

    def _clean(self, records: Sequence[Record]) -> tuple[PreparedEvents, dict[int, Refusal]]:
        """Give the events among the records, and why the others are none, by number."""
        now = self._clock()
        refusals: dict[int, Refusal] = {}
        numbers: list[int] = []
        users: list[str] = []
        event_ids: list[str] = []
        times: list[int] = []
        types: list[int] = []
        languages: list[str] = []
        texts: list[str] = []
        words: list[tuple[str, ...] | None] = []
        left_out: dict[int, tuple[str, ...]] = {}
        for number, record in enumerate(records):
            try:
                event, without = self._intake.sift(record.value, record.key, now)
                _, clean = words_of(event)
                time, code = event.microseconds, _CODES[event.type]
            except RefusedError as error:
                refusals[number] = error.refusal
                continue
            except Exception as error:
                refusals[number] = self._faults.refusal(error)
                continue
            if without:
                left_out[len(numbers)] = without
            numbers.append(number)
            users.append(event.user_id)
            event_ids.append(event.event_id)
            times.append(time)
            types.append(code)
            languages.append(clean.language)
            texts.append(clean.text)
            words.append(clean.tokens)
        events = PreparedEvents(
            numbers=np.array(numbers, np.int64),
            users=users,
            event_ids=event_ids,
            hashes=np.array([hash_event_id(each) for each in event_ids], np.uint64),
            times=np.array(times, np.int64),
            types=np.array(types, np.uint8),
            languages=languages,
            texts=texts,
            words=words,
            left_out=left_out,
        )
        return events, refusals
