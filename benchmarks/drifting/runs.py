"""A stream through the trainer's stage: what it finds at each look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.drifting.streams import Stream
from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.stages.training.stage import TrainingStage
from models.distances import Floats, nearest
from models.drift.check import DriftReport
from models.profiles.sample import rank
from models.profiles.sample_codec import encode_samples
from models.profiles.table import ProfileRows

BATCH = 512
EMBEDDING = "0" * 64


@dataclass(frozen=True)
class Look:
    """What a look that compared something has found.

    Attributes
    ----------
    event
        Number of events read until then.
    report
        Statistics and thresholds.
    churn
        Share of the reference's users in another segment.
    retrainings
        Alarms so far that made the trainer look for better segments.
    """

    event: int
    report: DriftReport
    churn: float | None
    retrainings: int

    def ratio(self, test: str) -> float:
        """Give a test's statistic as a share of its threshold."""
        outcome = self.report.tests[test]
        return outcome.statistic / outcome.threshold

    @property
    def detected(self) -> bool:
        """Whether a detector found a change."""
        return any(self.report.detections.values())


def distances(stage: TrainingStage) -> tuple[Floats, Floats]:
    """Give how far the reference's texts, and today's, are from the nearest centre, in order."""
    monitor, model = stage.drift, stage.published
    reference = monitor._reference
    texts = monitor._texts.since(reference.end, len(reference.users))
    today = np.stack([text.vector for text in texts]).astype(np.float64)
    return (
        nearest(reference.texts.vectors, model.centres)[1],
        nearest(today, model.centres)[1],
    )


def looks(
    stream: Stream, settings: Settings, stage: TrainingStage, batch: int = BATCH
) -> Iterator[Look]:
    """Run a stream through profiles and trainer, and give every look that compares something."""
    dimensions = stream.vectors.shape[1]
    rows = ProfileRows.empty(stream.names, dimensions, 1)
    policy = settings.profile
    ranks = np.array([rank(name) for name in stream.names])
    stage.assigned(0, stage.restoration(0))
    offset = 0
    seen: DriftReport | None = None
    for start in range(0, len(stream.users), batch):
        events = np.arange(start, min(start + batch, len(stream.users)))
        latest: dict[int, int] = {}
        for event in events.tolist():
            user = stream.users[event : event + 1]
            one = slice(event, event + 1)
            rows.add(user, stream.vectors[one], np.ones(1), stream.times[one], policy)
            rows.remember(user, np.array([event + 1], np.uint64))
            latest[int(user[0])] = event
        threshold = stage.published.sample_threshold if stage.published else 1.0
        records = []
        for user, event in latest.items():
            if ranks[user] <= threshold:
                latest_text = {user: stream.vectors[event]}
                (value,) = encode_samples(rows, [user], EMBEDDING, latest=latest_text)
                key = stream.names[user].encode()
                records.append(Record("profile-samples", 0, offset, -1, key, value))
                offset += 1
        stage.apply(stage.prepare(records), frozenset({0}))
        stage.committed()
        if stage.drift.report is not seen:
            seen = stage.drift.report
            if seen is not None:
                yield Look(start + len(events), seen, stage.drift.churn, stage.drift.retrainings)
