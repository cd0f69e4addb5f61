"""A small report's contents for the tests of the demo."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from consumer.offline.outcome import Counts
from consumer.report.user_map import UserMap
from consumer.tryout.demo.contents import ReportData, Story, Timing, UserText, count_changes
from models.measures.agreement import Agreement
from schemas.arrays import encode_array
from schemas.changes import (
    ChangeReason,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    SourceRef,
)
from schemas.segment_model import SegmentModelRecord, SegmentRecord

PNG = b"\x89PNG\r\n\x1a\n"
LABELS = {1: "coffee, beans, cup", 2: "running, shoes, pace", 5: "garden, seeds, slugs"}
START = datetime(2026, 3, 1, tzinfo=UTC)


def change(
    user="u-1", sequence=1, old=None, new=1, events=3, margin=0.27, days=0, by_model=False
) -> SegmentChange:
    time = START + timedelta(days=days)
    refs = [SegmentRef(id=id_, label=LABELS[id_]) if id_ else None for id_ in (old, new)]
    status = "entered" if old is None else "exited" if new is None else "switched"
    return SegmentChange(
        user_id=user,
        sequence=sequence,
        status=status,
        segment=refs[1],
        previous_segment=refs[0],
        reason=ChangeReason.MODEL_UPDATE if by_model else ChangeReason.BEHAVIOUR,
        changed_at=datetime(2026, 11, 23, tzinfo=UTC),
        occurred_at=None if by_model else time,
        distance=0.61,
        previous_distance=None if old is None else 0.61 + margin,
        margin=None if new is None else margin,
        profile=ProfileSummary(events=events, weight=float(events), updated_at=time),
        model=ModelRef(embedding="ab" * 32, version=4),
        source=None
        if by_model
        else SourceRef(topic="user-events", partition=0, offset=9, event_id=f"{user}-{events}"),
    )


def segment_model(labels=LABELS, d=8) -> SegmentModelRecord:
    centres = np.eye(d)
    return SegmentModelRecord(
        version=4,
        embedding="ab" * 32,
        dimensions=d,
        segments=[
            SegmentRecord(
                id=id_,
                label=label,
                words=[*label.split(", "), "also this"],
                centre=encode_array(0.9 * centres[row % d], "<f8"),
                radius=0.4,
                size=10,
                since=1,
            )
            for row, (id_, label) in enumerate(labels.items())
        ],
        next_id=max(labels) + 1,
        sample_threshold=1,
        samples=100,
        seed=7,
    )


def report_data(users=30, labels=LABELS, d=8, **changes) -> ReportData:
    random = np.random.default_rng(3)
    rows = np.arange(users) % len(labels)
    vectors = np.eye(d)[rows % d] + 0.1 * random.normal(size=(users, d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    segments = np.array([*labels], dtype=np.int64)[rows]
    ways = (np.eye(d)[:1], vectors[1:2]) if users > 1 else ()
    story = [change(), change(sequence=2, old=1, new=2, events=12, days=13)]
    data = ReportData(
        source="a stream that was made up",
        counts=Counts(records=1_000, accepted=980, repeated=12, refused=8, users=users),
        timing=Timing(4.0),
        refused={"invalid_json": 5, "key_mismatch": 3},
        changes=count_changes(story),
        model=segment_model(labels, d),
        map=UserMap(vectors, segments, labels, 0.9 * np.eye(d)[np.arange(len(labels)) % d], ways),
        typical_texts={1: ["I brew two cups before work."]},
        story=Story(
            "u-1",
            story,
            [
                UserText("u-1-1", START - timedelta(days=2), "My first espresso was sour."),
                UserText("u-1-12", START + timedelta(days=13), "These shoes fit like gloves."),
                UserText("u-1-13", START + timedelta(days=20), "Ran ten kilometres today."),
            ],
        ),
        agreement=Agreement(0.987, 0.99, 0.995, users),
        against="the interests",
        paths={"page": Path("demo-output/report.html")},
    )
    return replace(data, **changes)
