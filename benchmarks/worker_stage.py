"""The worker's own stage over a file's events, without a segment model: profiles and samples.

Also what the file says of its users, and the vectors of its texts, made once and kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.contract.clock import wall_clock
from consumer.contract.records import Output, Record
from consumer.offline.files import read_records
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.preparation import Preparation
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.shared.unexpected import Faults
from consumer.wiring.embedder import load_embedder
from models.embedding.runner_types import Embedder, Vectors

BATCH = 512


class Collector:
    """An embedder that only notes which texts it was asked for."""

    identity = "0" * 64

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.texts: dict[str, int] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Number the texts, and give zeros."""
        for text in texts:
            self.texts.setdefault(text, len(self.texts))
        return np.zeros((len(texts), self.dimensions), np.float32)


class Lookup(Collector):
    """An embedder that knows the vectors of all texts there will be."""

    def __init__(self, texts: Mapping[str, int], vectors: Vectors) -> None:
        super().__init__(vectors.shape[1])
        self.texts, self._vectors = dict(texts), vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Look the vectors up."""
        found: Vectors = self._vectors[[self.texts[text] for text in texts]]
        return found


def lookup_of(records: Sequence[Record], accepted: Sequence[int], vectors: Vectors) -> Lookup:
    """Give an embedder that knows the texts of records, of whose accepted ones these are vectors.

    Which text an event has only the stage knows: it cleans before it embeds.
    """
    collector = Collector(1)
    stage, rows = new_stage(collector), list[int]()
    for row, place in enumerate(accepted):
        stage.prepare([records[place]])
        rows += [row] * (len(collector.texts) - len(rows))
    return Lookup(collector.texts, vectors[rows])


def new_stage(embedder: Any) -> SegmentationStage:
    """Make a stage that has the one partition there is, and no segment model."""
    now = datetime.now(UTC)
    stage = SegmentationStage(Settings(), embedder, FixedModel(), intake_clock=lambda: now)
    stage.assigned(0, stage.restoration(0))
    return stage


def records_of(lines: Iterable[bytes]) -> list[Record]:
    """Give events, as JSON lines, as the records of one partition."""
    topic = Settings().topics.events
    return [
        Record(topic, 0, offset, -1, json.loads(line)["user_id"].encode(), line)
        for offset, line in enumerate(lines)
    ]


def run_stage(stage: SegmentationStage, records: Sequence[Record]) -> Iterator[Output]:
    """Run records through a stage, batch by batch, and give all that it writes."""
    size = Settings().batch.max_records
    for start in range(0, len(records), size):
        yield from stage.apply(stage.prepare(records[start : start + size]), frozenset({0}))
        stage.committed()


def truth_of(lines: Iterable[bytes]) -> tuple[Counter[str], dict[str, str]]:
    """Count each user's events, and give each the label that most of them carry.

    Users without a labelled event are in the counts only.
    """
    events, labels = Counter[str](), dict[str, Counter[str]]()
    for event in map(json.loads, lines):
        events[event["user_id"]] += 1
        if event["label"] is not None:
            labels.setdefault(event["user_id"], Counter())[event["label"]] += 1
    return events, {user: own.most_common(1)[0][0] for user, own in labels.items()}


def default_embedder() -> Embedder:
    """Load the model of the default settings, making it where it is not there yet."""
    return load_embedder(Settings())


def event_vectors(
    path: Path, stored: Path, load: Callable[[], Embedder] = default_embedder
) -> tuple[NDArray[np.int64], Vectors]:
    """Give the lines of a file's accepted events, from 0, and the vectors of their texts.

    Parameters
    ----------
    path
        Events as JSON lines.
    stored
        Arrays `row` (int64[n]) and `vectors` (n, d) of half precision, as numpy's npz. Made where
        it is not there.
    load
        Loads the embedding model, if that is needed.

    Returns
    -------
    tuple
        int64[n], and float32[n, d] of unit length.
    """
    if not stored.exists():
        _embed(path, stored, load())
    with np.load(stored) as arrays:
        rows, vectors = arrays["row"], arrays["vectors"].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows, vectors


def _embed(path: Path, stored: Path, embedder: Embedder) -> None:
    settings = Settings()
    preparation = Preparation(
        settings.events.intake(),
        embedder,
        wall_clock,
        Faults(),
        settings.dead_letters.max_unexpected,
        language_share=settings.events.language_share,
    )
    records: list[Record] = list(
        read_records(path, settings.topics.events, settings.events.intake())
    )
    rows: list[int] = []
    parts: list[Vectors] = []
    for start in range(0, len(records), BATCH):
        batch = preparation(records[start : start + BATCH])
        rows += [batch.record_of(row).offset for row in range(len(batch.events))]
        parts.append(batch.embeddings)
    stored.parent.mkdir(parents=True, exist_ok=True)
    np.savez(stored, row=np.array(rows), vectors=np.concatenate(parts).astype(np.float16))
