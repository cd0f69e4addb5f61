"""Profiles made anew from the input, by the very code of the worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from consumer.contract.records import Record
from consumer.kafka.cluster import read_topic
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.stage import SegmentationStage
from models.embedding.runner_types import Embedder, Vectors
from models.profiles.table import ProfileTable
from schemas.dead_letters import RefusalReason, read_dead_letter_headers
from schemas.keys import KeyForm, decode_key

Refused = dict[int, set[int]]
"""Offsets of the input's dead letters, by partition."""

Step = Callable[[int], None]
"""Told after each batch how many records it had."""

T = TypeVar("T")


class NoVectors:
    """An embedder that looks at no text: to count events before the costly part begins."""

    dimensions = 1

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give a number for each text, (texts, 1)."""
        return np.ones((len(texts), 1), np.float32)


def read_refused(settings: Settings) -> Refused:
    """Read which records of the input the workers have refused.

    They are left out when the input is read again: the clock and the limits of today might accept
    what was refused at its time, such as an event from the future.
    """
    found: Refused = {}
    for letter in read_topic(settings, settings.topics.dead_letters):
        try:
            said = read_dead_letter_headers(letter.headers)
        except ValueError:
            continue  # not one of the workers'; `verify` reports it
        if said.topic == settings.topics.events:
            found.setdefault(said.partition, set()).add(said.offset)
    return found


def recompute(
    settings: Settings,
    embedder: Embedder,
    partition: int,
    records: Iterable[Record],
    step: Step,
    *,
    failed: Counter[str] | None = None,
) -> ProfileTable:
    """Run records of one partition through the worker's stage, without a segment model.

    Nothing is decided and nothing written; what the stage would write is dropped. The outcome does
    not depend on how records are batched. A record that the embedder has no vector for is left out,
    as a worker would leave it out.

    Parameters
    ----------
    settings
        As for the worker.
    embedder
        The new model, or `NoVectors`.
    partition
        The records' own.
    records
        In order of their offsets.
    step
        Told the size of each batch.
    failed
        Gets the number of records without a vector added, by user.

    Returns
    -------
    ProfileTable
        Profiles of all users with an accepted event.
    """
    stage = SegmentationStage(settings, embedder, FixedModel())
    stage.assigned(partition, stage.restoration(partition))
    for batch in chunks(records, settings.batch.usual_records):
        prepared = stage.prepare(batch)
        # What today's settings refuse shows in the counts. It is no dead letter, and the limit on
        # the share of those is none of the migration's business.
        if failed is not None:
            failed.update(_without_vector(prepared, settings.events.key))
        stage.apply(prepared.accepting_only(), frozenset({partition}))
        stage.committed()
        step(len(batch))
    return stage.tables[partition]


# What the new model has no vector for, and what it raises on.
_FAILED = {*(RefusalReason.EMBEDDING_FAILED, RefusalReason.UNEXPECTED, RefusalReason.UNKNOWN_WORDS)}


def embedding_rate(settings: Settings, embedder: Embedder, records: Sequence[Record]) -> float:
    """Measure how many records a second are prepared, on a sample of them."""
    stage = SegmentationStage(settings, embedder, FixedModel())
    started = time.monotonic()
    stage.prepare(records)
    return len(records) / max(time.monotonic() - started, 1e-9)


def _without_vector(prepared: PreparedBatch, form: KeyForm) -> Iterator[str]:
    """Give the user of each record that failed; its key was the user's when it was read."""
    for record, refusal in prepared.refused():
        if refusal.reason in _FAILED:
            yield decode_key(record.key or b"", form) or ""


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give the items, so many at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
