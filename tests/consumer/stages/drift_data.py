"""A trainer's stage with its topics, and users who write, for the tests of drift."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count

import numpy as np

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.training.stage import TrainingStage
from schemas.arrays import encode_array
from schemas.drift import DriftReferenceRecord
from schemas.profiles import ProfileSample
from tests.consumer.stages.stage_data import ALL, NOW, START

EMBEDDING = "e" * 64
DIMENSIONS = 16


def sample(user: int, topic: int, offset: int, *, latest: bool = True, **changes) -> Record:
    """A user's profile near a topic, with a text that is farther from it."""
    random = np.random.default_rng((user, offset))
    profile, text = random.normal(scale=(0.05,), size=(2, DIMENSIONS)) * [[1.0], [3.0]]
    profile[topic] += 1.0
    text[topic] += 0.8
    value = ProfileSample(
        user_id=f"user-{user}",
        embedding=EMBEDDING,
        vector=encode_array(profile / np.linalg.norm(profile), "<f4"),
        weight=1.0,
        terms={f"topic{topic}": 1.0},
        updated_at=START + timedelta(hours=offset),
        latest=encode_array(text / np.linalg.norm(text), "<f2") if latest else None,
    ).model_copy(update=changes)
    key = value.user_id.encode()
    return Record("profile-samples", 0, offset, -1, key, value.model_dump_json().encode())


class Trainer:
    """An active trainer that keeps its topics, and says who writes about what."""

    def __init__(self, log: Sequence[Record] = (), training=None, **drift) -> None:
        self.settings = Settings(
            training={"segments": 3, "warmup_users": 30, "sample_users": 600} | (training or {}),
            drift={"users": 120, "min_users": 40, "every": 40, "segment_users": 20} | drift,
        )
        self.stage = TrainingStage(self.settings, clock=lambda: NOW)
        restoration = self.stage.restoration(0)
        topics = self.settings.topics
        for topic in (topics.models, topics.samples, topics.drift_reference):
            for record in log:
                if record.topic == topic:
                    restoration.load(record)
        self.stage.assigned(0, restoration)
        self.log = list(log)
        self._users = count(len(self.log))

    @property
    def next_offset(self) -> int:
        return sum(record.topic == "profile-samples" for record in self.log)

    def write(self, users: Sequence[tuple[int, int]], **changes) -> list[Output]:
        """Let users write on topics, in one batch."""
        start = self.next_offset
        batch = [
            sample(user, topic, start + place, **changes)
            for place, (user, topic) in enumerate(users)
        ]
        self.log += batch
        outputs = list(self.stage.apply(self.stage.prepare(batch), ALL))
        return self.commit(outputs)

    def commit(self, outputs: list[Output]) -> list[Output]:
        self.stage.committed()
        self.log += [Record(o.topic, 0, len(self.log), -1, o.key, o.value) for o in outputs]
        return outputs

    def idle(self) -> list[Output]:
        return self.commit(list(self.stage.maintain(idle=True) or []))

    def people(self, number: int, topics: Sequence[int] = (0, 1, 2), batch: int = 40) -> None:
        """New users who write once each, on the topics by turns."""
        everybody = [(next(self._users), topics[place % len(topics)]) for place in range(number)]
        for start in range(0, number, batch):
            self.write(everybody[start : start + batch])

    @property
    def drift(self):
        return self.stage.drift

    @property
    def references(self) -> list[DriftReferenceRecord]:
        return [
            DriftReferenceRecord.model_validate_json(record.value)
            for record in self.log
            if record.topic == "drift-reference"
        ]
