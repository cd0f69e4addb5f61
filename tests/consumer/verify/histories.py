"""Valid histories for the auditor's tests: what a run without a fault leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.profiles.codec import encode
from models.profiles.table import ProfileRows
from schemas.arrays import encode_array
from schemas.changes import (
    ChangeReason,
    ChangeStatus,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    SourceRef,
    structured_cloudevent,
)
from schemas.dead_letters import DeadLetter, Refusal, RefusalReason, to_base64
from schemas.partitioner import partition_of
from schemas.profiles import ProfileRecord
from schemas.segment_model import SegmentModelRecord, SegmentRecord

EMBEDDING = "ab" * 32
OTHER_EMBEDDING = "cd" * 32
SOURCE = "segmenter"
SEGMENTS = range(5)
MODEL_VERSION = 3
PARTITIONS = 2
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class UserPath:
    """One user's life: the segments in their order, None where the user left for none."""

    segments: Sequence[int | None] = ()
    repeats: int = 0
    quiet_events: int = 1
    """Events that changed no segment."""
    by_model: frozenset[int] = frozenset()
    """Which of the changes a new model made; the others were made by an event each."""

    @property
    def events(self) -> int:
        return self.quiet_events + len(self.segments) - len(self.by_model)


@dataclass
class History:
    """What a run leaves behind; tests spoil parts of it."""

    changes: list[SegmentChange]
    memberships: dict[str, SegmentChange]
    profiles: dict[str, ProfileRecord]
    dead_letters: list[DeadLetter]
    model: SegmentModelRecord | None
    records: int


def history_of(paths: Mapping[str, UserPath], refused: int = 0) -> History:
    """Build the history of some users, their changes taking turns."""
    chains = {user: _chain(user, path) for user, path in paths.items()}
    longest = max(map(len, chains.values()), default=0)
    changes = [
        chain[turn] for turn in range(longest) for chain in chains.values() if turn < len(chain)
    ]
    memberships = {user: chain[-1] for user, chain in chains.items() if chain}
    return History(
        changes=changes,
        memberships=memberships,
        profiles={user: _profile(user, path, chains[user]) for user, path in paths.items()},
        dead_letters=[dead_letter(offset) for offset in range(refused)],
        model=segment_model(),
        records=sum(path.events + path.repeats for path in paths.values()) + refused,
    )


def _chain(user: str, path: UserPath) -> list[SegmentChange]:
    chain: list[SegmentChange] = []
    previous: SegmentRef | None = None
    for i, target in enumerate(path.segments):
        # A label may change while the id stays: the chain quotes what was published.
        segment = None if target is None else SegmentRef(id=target, label=f"words {target}, {i}")
        by_model = i in path.by_model
        # Where the tests' producers put the user's records: librdkafka's own partitioner.
        partition = partition_of(user.encode(), PARTITIONS, "crc32")
        source = SourceRef(
            topic="user-events", partition=partition, offset=i, event_id=f"{user}-{i}"
        )
        chain.append(
            SegmentChange(
                user_id=user,
                sequence=i + 1,
                status=status_of(previous, segment),
                segment=segment,
                previous_segment=previous,
                reason=ChangeReason.MODEL_UPDATE if by_model else ChangeReason.BEHAVIOUR,
                changed_at=START + timedelta(seconds=i),
                occurred_at=None if by_model else START,
                distance=0.25,
                previous_distance=0.5 if previous else None,
                margin=0.25 if previous else None,
                profile=ProfileSummary(events=i + 1, weight=1.5, updated_at=START),
                model=ModelRef(embedding=EMBEDDING, version=min(i + 1, MODEL_VERSION)),
                source=None if by_model else source,
            )
        )
        previous = segment
    return chain


def status_of(previous: SegmentRef | None, segment: SegmentRef | None) -> ChangeStatus:
    if segment is None:
        return ChangeStatus.EXITED
    return ChangeStatus.SWITCHED if previous else ChangeStatus.ENTERED


def _profile(user: str, path: UserPath, chain: Sequence[SegmentChange]) -> ProfileRecord:
    segment = chain[-1].segment if chain else None
    return ProfileRecord(
        user_id=user,
        embedding=EMBEDDING,
        vector=encode_array(np.ones(4), "<f4"),
        weight=1.0,
        reference_time=START,
        events=path.events,
        repeats=path.repeats,
        recent_events="",
        terms={"coffee": 1.0},
        segment=segment.id if segment else None,
        segment_label=segment.label if segment else None,
        segment_since_event=0,
        sequence=len(chain),
    )


def binary_profile(profile: ProfileRecord) -> bytes:
    """Give a profile as workers write it; `model_dump_json` is how they wrote it before."""
    rows = ProfileRows.empty([profile.user_id], 4, 8)
    rows.load_record(0, profile)
    return encode(rows, profile.embedding)[0]


def dead_letter(offset: int) -> DeadLetter:
    return DeadLetter(
        refusal=Refusal(reason=RefusalReason.INVALID_JSON, field=None, detail="not valid JSON"),
        topic="user-events",
        partition=0,
        offset=offset,
        timestamp=-1,
        key=None,
        value=to_base64(b"{"),
    )


def segment_model(version: int = MODEL_VERSION) -> SegmentModelRecord:
    centre = encode_array(np.ones(4), "<f8")
    return SegmentModelRecord(
        version=version,
        embedding=EMBEDDING,
        dimensions=4,
        segments=[
            SegmentRecord(
                id=i, label=f"words {i}", words=[], centre=centre, radius=0.5, size=1, since=1
            )
            for i in SEGMENTS
        ],
        next_id=len(SEGMENTS),
        sample_threshold=1.0,
        samples=10,
        seed=0,
    )


@dataclass
class ReplayFiles:
    """A replay's folder as JSON values, to be spoiled before it is written."""

    changes: list[Any]
    memberships: list[Any]
    profiles: list[Any]
    dead_letters: list[Any]
    model: Any
    summary: Any
    lifecycle: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, history: History) -> ReplayFiles:
        profiles = history.profiles.values()
        return cls(
            changes=[structured_cloudevent(change, SOURCE) for change in history.changes],
            memberships=[m.model_dump(mode="json") for m in history.memberships.values()],
            profiles=[profile.model_dump(mode="json") for profile in profiles],
            dead_letters=[letter.model_dump(mode="json") for letter in history.dead_letters],
            model=history.model.model_dump(mode="json") if history.model else None,
            summary={
                "records": history.records,
                "accepted": sum(profile.events for profile in profiles),
                "repeated": sum(profile.repeats for profile in profiles),
                "refused": len(history.dead_letters),
                "users": len(profiles),
                "changes": len(history.changes),
                "segments": len(SEGMENTS),
                "model_version": MODEL_VERSION,
                "lifecycle_events": 0,
                "sizes": _sizes([profile.segment for profile in profiles]),
            },
        )

    def tell_no_segments(self) -> None:
        """Make the summary one of a former version, which says nothing of the segments."""
        for name in ("segments", "model_version", "lifecycle_events", "sizes"):
            del self.summary[name]

    def write(self, folder: Path) -> Path:
        """Write the files; a string among the lines is written as it is."""
        for name, lines in {
            "segment-changes.jsonl": self.changes,
            "memberships.jsonl": self.memberships,
            "profiles.jsonl": self.profiles,
            "dead-letters.jsonl": self.dead_letters,
            "segment-lifecycle.jsonl": self.lifecycle,
        }.items():
            text = "".join(f"{_line(line)}\n" for line in lines)
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "summary.json").write_text(_line(self.summary), encoding="utf-8")
        if self.model is not None:
            (folder / "model.json").write_text(_line(self.model), encoding="utf-8")
        return folder


def _sizes(places: Sequence[int | None]) -> list[Any]:
    users = [
        {"id": each, "label": f"words {each}", "users": places.count(each)} for each in SEGMENTS
    ]
    outside = places.count(None)
    return users + [{"id": None, "label": "no segment", "users": outside}] * bool(outside)


def _line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@st.composite
def user_paths(draw: st.DrawFn) -> UserPath:
    """Draw a path: never the same place twice in a row, and a first segment to begin with."""
    segments: list[int | None] = []
    here: int | None = None
    for _ in range(draw(st.integers(0, 6))):
        there = draw(st.sampled_from([place for place in (*SEGMENTS, None) if place != here]))
        segments.append(there)
        here = there
    by_model = draw(st.frozensets(st.integers(0, len(segments) - 1))) if segments else frozenset()
    return UserPath(
        segments=segments,
        repeats=draw(st.integers(0, 3)),
        quiet_events=draw(st.integers(1, 4)),
        by_model=by_model,
    )


# Ids of any kind, surrogates left out: no UTF-8 holds them.
user_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a valid history."""
    paths = draw(st.dictionaries(user_ids, user_paths(), max_size=6))
    return history_of(paths, refused=draw(st.integers(0, 3)))
