"""The part of the segmentation stage that touches no state: from records to events with vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import cast

import numpy as np

from consumer.contract.clock import Clock
from consumer.contract.records import Record
from consumer.stages.segmentation.cleaning import Cleaned, Cleaning
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.shared.unexpected import Faults, embed_apart
from models.embedding.runner_types import Embedder
from models.embedding.tokens import TokenEmbedder
from schemas.dead_letters import Refusal, RefusalReason
from schemas.intake import Intake

CleanElsewhere = Callable[[Sequence[Record], datetime, float], Cleaned]
"""Cleans records in other processes, for several threads at once; with what `Cleaning` is told."""

_NO_VECTOR = Refusal(
    reason=RefusalReason.EMBEDDING_FAILED,
    detail="the embedding model has no vector for this text: it fails on it, and on it alone",
)
_UNKNOWN_WORDS = Refusal(
    reason=RefusalReason.UNKNOWN_WORDS,
    detail="the embedding model knows texts by their words, and none of this one's is known to it",
    field="text",
)


class Preparation:
    """Validates, cleans and embeds; safe to call from several threads.

    Parameters
    ----------
    intake
        Reads events from records.
    embedder
        From text to vector, and from tokens where `elsewhere` tokenises.
    clock
        What event times in the future are told by.
    faults
        Makes refusals of what the program fails on.
    most_faults
        How many texts of a batch the embedder may fail on.
    language_share
        Share of users whose texts the language detector looks at, see `Cleaning`.
    elsewhere
        What cleans in other processes; else it is done here, in the calling thread.

    Attributes
    ----------
    sampled
        Up to which rank users' words are cut here. It may be set while batches are prepared: what
        of their words a batch does not hold is for who applies it to cut.
    """

    def __init__(
        self,
        intake: Intake,
        embedder: Embedder,
        clock: Clock,
        faults: Faults,
        most_faults: int,
        *,
        language_share: float,
        elsewhere: CleanElsewhere | None = None,
    ) -> None:
        self._embedder = embedder
        words_alone = getattr(embedder, "by_words_alone", False)
        self._no_vector = _UNKNOWN_WORDS if words_alone else _NO_VECTOR
        self._clock = clock
        self._faults = faults
        self._most_faults = most_faults
        self._cleaning = Cleaning(intake, faults, language_share=language_share)
        self._one = threading.Lock()
        self._clean = elsewhere or self._clean_here
        self.sampled = 1.0

    def __call__(self, records: Sequence[Record]) -> PreparedBatch:
        """Prepare a batch."""
        cleaned = self._clean(records, self._clock(), self.sampled)
        events, tokens = cleaned.events, cleaned.tokens
        sizes = {"dimensions": self._embedder.dimensions, "most": self._most_faults}
        if tokens is None:
            vectors, faults = embed_apart(self._embedder.embed, events.texts, **sizes)
        else:
            embed = cast(TokenEmbedder, self._embedder).embed_tokens
            vectors, faults = embed_apart(embed, tokens, **sizes)
        silent = np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist()
        refusals = dict.fromkeys(silent, self._no_vector)
        refusals |= {row: self._faults.refusal(error) for row, error in faults.items()}
        return PreparedBatch(records, cleaned.refusals, events, vectors).refusing_events(refusals)

    def _clean_here(self, records: Sequence[Record], now: datetime, sampled: float) -> Cleaned:
        # One batch is cleaned while another is embedded. Two cleaned at once would gain nothing, as
        # Python runs one thread at a time, and the parsers are not made for several.
        with self._one:
            return self._cleaning(
                [record.value for record in records],
                [record.key for record in records],
                now,
                sampled,
            )
