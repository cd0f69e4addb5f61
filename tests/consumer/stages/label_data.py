"""Labels, label models, a worker and a trainer for the tests of labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.segmentation.labelling import FixedLabelModel
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.shared.snapshots import read_label_model
from consumer.stages.training.stage import TrainingStage
from models.labels.model import LabelModel
from schemas.arrays import encode_array
from schemas.profiles import ProfileSample
from schemas.samples import read_sample
from tests.consumer.stages.stage_data import (
    ALL,
    EMBEDDER,
    NOW,
    TOPICS,
    a_model,
    of,
)

NAMES = ("brewers", "physicists")


def on(**sections: dict[str, Any]) -> Settings:
    labels = {"enabled": True, **sections.pop("labels", {})}
    return Settings(labels=labels, **sections)


def label_record(
    user: str, label: str | None, offset: int = 0, partition: int = 0, **changes: Any
) -> Record:
    value = {"user_id": user, "label": label, "labelled_at": "2026-01-01T00:00:00Z"} | changes
    return Record(
        "segment-labels", partition, offset, -1, user.encode(), json.dumps(value).encode()
    )


def a_label_model(version: int = 1, swap: bool = False, **changes: Any) -> LabelModel:
    """One label for each topic of `stage_data`."""
    weights = 6 * EMBEDDER.embed(TOPICS).astype(np.float64)
    fields = {
        "version": version,
        "embedding": EMBEDDER.identity,
        "classifier": "softmax",
        "names": NAMES,
        "weights": weights[::-1] if swap else weights,
        "intercepts": np.zeros(2),
        "examples": (1, 1),
        "left_out": 0,
        "confusion": ((0, 0), (0, 0)),
        "learned_up_to": 0,
        "seed": 0,
    }
    return LabelModel(**(fields | changes))


class Worker:
    """A worker with labels, a segment model and a label model."""

    def __init__(
        self,
        labels: LabelModel | None = None,
        model: Any = "one",
        settings: Settings | None = None,
    ) -> None:
        self.source = FixedModel(a_model() if model == "one" else model)
        self.labels = FixedLabelModel(labels)
        self.stage = SegmentationStage(
            settings or on(), EMBEDDER, self.source, clock=lambda: NOW, intake_clock=lambda: NOW,
            label_models=self.labels,
        )  # fmt: skip
        self.stage.assigned(0, self.stage.restoration(0))
        self.maintain()

    def run(self, batch: Sequence[Record]) -> list[Output]:
        outputs = list(self.stage.apply(self.stage.prepare(batch), ALL))
        self.stage.committed()
        return outputs

    def maintain(self) -> list[Output]:
        written: list[Output] = []
        while (outputs := self.stage.maintain(idle=True)) is not None:
            self.stage.committed()
            written += outputs
        return written

    def state(self) -> dict[str, dict[str, Any]]:
        (table,) = self.stage.tables.values()
        return {
            user: json.loads(table.gather([user]).to_record(0, EMBEDDER.identity).model_dump_json())
            for user in table.users
        }


def samples_in(outputs: Iterable[Output]) -> list[ProfileSample | None]:
    return [
        None if output.value is None else read_sample(output.key or b"", output.value).to_record()
        for output in of(outputs, "profile-samples")
    ]


def sample(n: int, offset: int, label: bool = True, **changes: Any) -> Record:
    """A profile of user n, whose label is that of its parity."""
    text = f"{TOPICS[n % 2]} {TOPICS[n % 2].split()[offset % 5]} word{offset % 7}"
    vector = EMBEDDER.embed([text])[0]
    given = ProfileSample(
        user_id=f"u{n}",
        embedding=EMBEDDER.identity,
        vector=encode_array(vector, "<f4"),
        weight=1.0,
        terms={"word": 1.0},
        updated_at=NOW,
        label=NAMES[n % 2] if label else None,
        **changes,
    )
    return Record(
        "profile-samples", 0, offset, -1, f"u{n}".encode(), given.model_dump_json().encode()
    )


class Trainer:
    """An active trainer; what it writes becomes its log, as the topics would."""

    def __init__(self, log: Iterable[Record] = (), **labels: Any) -> None:
        training = {"segments": 2, "warmup_users": 20, "sample_users": 60}
        settings = on(training=training, labels={"publish_every": 30, **labels})
        self.stage = TrainingStage(settings, clock=lambda: NOW)
        restoration = self.stage.restoration(0)
        self.log = list(log)
        for changelog in restoration.changelogs:
            for record in self.log:
                if record.topic == changelog.topic:
                    restoration.load(record)
        self.stage.assigned(0, restoration)

    def learn(self, batch: Sequence[Record]) -> list[Output]:
        self.log += batch
        outputs = list(self.stage.apply(self.stage.prepare(batch), ALL))
        return self._commit(outputs)

    def idle(self) -> list[Output]:
        return self._commit(list(self.stage.maintain(idle=True) or ()))

    def _commit(self, outputs: list[Output]) -> list[Output]:
        self.stage.committed()
        self.log += [
            Record(output.topic, 0, -1, -1, output.key, output.value)
            for output in outputs
            if output.topic != "profile-samples"
        ]
        return outputs

    @property
    def published(self) -> str:
        return self.stage.labels.published.to_record().model_dump_json()


def models_in(outputs: Iterable[Output]) -> list[LabelModel]:
    return [read_label_model(o.value or b"", "here") for o in of(outputs, "label-models")]
