"""Events, models and settings for the tests of the stages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.preparation import CleanElsewhere
from consumer.stages.segmentation.stage import SegmentationStage
from models.embedding.runner_types import Embedder
from models.segments.model import SegmentModel
from schemas.changes import SegmentChange
from tests.consumer.kafka_runs import placeless
from tests.stubs import HashingEmbedder

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
EMBEDDER = HashingEmbedder(16)
TOPICS = ("hops yeast barley malt brewing", "qubit photon entangled particle physics")
ALL = frozenset(range(100))


def event(user: str, number: int, text: str | None = TOPICS[0], **fields: Any) -> dict[str, Any]:
    """One event of a user; the number makes its id and its day."""
    given = {
        "event_id": f"{user}-{number}",
        "user_id": user,
        "type": "review",
        "text": text,
        "language": "en",
        "occurred_at": (START + timedelta(days=number)).isoformat(),
    }
    return {**given, **fields}


def records(events: Iterable[dict[str, Any]], partition: int = 0) -> list[Record]:
    return [
        Record(
            "user-events",
            partition,
            offset,
            1_700_000_000_000,
            value["user_id"].encode(),
            json.dumps(value).encode(),
        )
        for offset, value in enumerate(events)
    ]


def a_model(version: int = 1, texts: Sequence[str] = TOPICS, **changes: Any) -> SegmentModel:
    """Segments whose centres are the vectors of texts."""
    n = len(texts)
    fields = {
        "version": version,
        "embedding": EMBEDDER.identity,
        "ids": np.arange(n),
        "centres": EMBEDDER.embed(texts).astype(np.float64),
        "radii": np.full(n, 0.1),
        "sizes": np.full(n, 10),
        "labels": tuple(" ".join(text.split()[:2]) for text in texts),
        "words": tuple(tuple(text.split()) for text in texts),
        "since": (1,) * n,
        "next_id": 100,
        "sample_threshold": 1.0,
        "samples": 100,
        "seed": 0,
    }
    return SegmentModel(**(fields | changes))


def turned(model: SegmentModel, **changes: Any) -> SegmentModel:
    """The next version, in which the segments have changed places."""
    return replace(model, version=model.version + 1, centres=model.centres[::-1], **changes)


class Worker:
    """A segmentation stage with its partitions assigned, its model, and a clock that stands."""

    def __init__(
        self,
        model: SegmentModel | None = None,
        partitions: Iterable[int] = (0,),
        embedder: Embedder = EMBEDDER,
        clean_elsewhere: CleanElsewhere | None = None,
        **sections: dict[str, Any],
    ) -> None:
        self.settings = Settings(**sections)
        self.source = FixedModel(model)
        self.stage = SegmentationStage(
            self.settings,
            embedder,
            self.source,
            clock=lambda: NOW,
            intake_clock=lambda: NOW,
            clean_elsewhere=clean_elsewhere,
        )
        for partition in partitions:
            self.stage.assigned(partition, self.stage.restoration(partition))
        self.maintain()

    def apply(self, batch: Sequence[Record], partitions: frozenset[int] = ALL) -> list[Output]:
        return list(self.stage.apply(self.stage.prepare(batch), partitions))

    def run(self, batch: Sequence[Record]) -> list[Output]:
        outputs = self.apply(batch)
        self.stage.committed()
        return outputs

    def maintain(self) -> list[Output]:
        written: list[Output] = []
        while (outputs := self.stage.maintain(idle=True)) is not None:
            self.stage.committed()
            written += outputs
        return written

    def state(self, *, places: bool = True) -> dict[str, str]:
        """All profiles as they would stand in the changelog; the offsets may be left out."""
        records = {
            user: table.gather([user]).to_record(0, EMBEDDER.identity)
            for table in self.stage.tables.values()
            for user in table.users
        }
        return {
            user: (record if places else placeless(record)).model_dump_json()
            for user, record in records.items()
        }


def of(outputs: Iterable[Output], topic: str) -> list[Output]:
    return [output for output in outputs if output.topic == topic]


def changes_in(outputs: Iterable[Output]) -> list[SegmentChange]:
    return [
        SegmentChange.model_validate_json(output.value or b"")
        for output in of(outputs, "segment-changes")
    ]
