"""Reads a finished run back from its topics and files: what the report is made of."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumer.contract.errors import ExpectedError
from consumer.kafka.cluster import read_topic
from consumer.offline.outcome import no_segments
from consumer.settings import Settings
from consumer.stages.segmentation.preparation import words_of
from consumer.tryout.demo.contents import (
    Counts,
    Evaluation,
    ReportData,
    Story,
    UserText,
    count_changes,
)
from consumer.tryout.demo.story import choose_story
from consumer.tryout.demo.stream import Stream
from models.distances import distances_to
from models.embedding.runner_types import Embedder
from models.measures.agreement import agreement
from models.profiles.table import unit_rows
from models.text import clean, verbatim
from schemas.arrays import decode_array
from schemas.changes import SegmentChange
from schemas.dead_letters import HEADER_PREFIX
from schemas.events import EventType
from schemas.intake import RefusedError
from schemas.lifecycle import LifecycleEvent
from schemas.profiles import ProfileRecord
from schemas.segment_model import NO_SEGMENT, SegmentModelRecord

# Typical texts are looked for among the texts of the users nearest to a centre.
_NEAREST_USERS = 12
_TEXTS_OF_A_USER = 4
_TYPICAL_TEXTS = 3
_LEAST_CHARS = 30


class NothingToReportError(ExpectedError):
    """The run ended without a profile, or without a segment model."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the demo itself knows of its run: `seconds` go from the first event to the last."""

    seconds: float
    startup_seconds: float
    settling_seconds: float
    now: datetime
    model: SegmentModelRecord | None
    """The segment model that was given; None where a trainer learned."""


def collect(
    settings: Settings,
    stream: Stream,
    embedder: Embedder,
    facts: RunFacts,
    paths: dict[str, Path],
) -> ReportData:
    """Read everything that the report shows.

    Raises
    ------
    NothingToReportError
        If no event was accepted, or no segment model was ever published.
    """
    profiles, earlier = _profiles(settings)
    model = facts.model or _latest_model(settings)
    if model is None or not profiles:
        raise NothingToReportError(
            no_segments(settings, len(profiles))
            if profiles
            else f"none of the events of {stream.source} was accepted"
        )
    users = sorted(profiles)
    vectors = unit_rows(
        np.stack([decode_array(profiles[user].vector, "<f4") for user in users]).astype(np.float64)
    )
    segments = np.array([_id_or_none(profiles[user].segment) for user in users], np.int64)
    changes: dict[str, list[SegmentChange]] = defaultdict(list)
    for record in read_topic(settings, settings.topics.changes):
        change = SegmentChange.model_validate_json(record.value or b"")
        changes[change.user_id].append(change)
    chosen = choose_story(changes)
    nearest = _nearest_users(model, users, vectors, segments)
    wanted = {user for group in nearest.values() for user in group}
    if chosen is not None:
        wanted.add(chosen)
    texts = _texts(settings, stream, wanted, facts.now)
    refused = _refused(settings)
    labels = stream.labels()
    evaluations = []
    judged = [i for i, user in enumerate(users) if user in labels and segments[i] != NO_SEGMENT]
    if judged:
        found = agreement([labels[users[i]] for i in judged], [int(segments[i]) for i in judged])
        evaluations.append(Evaluation(found, stream.against))
    accepted = sum(profile.events for profile in profiles.values())
    repeated = sum(profile.repeats for profile in profiles.values())
    return ReportData(
        source=stream.source,
        counts=Counts(
            events=accepted + repeated + sum(refused.values()),
            accepted=accepted,
            repeated=repeated,
            refused=refused,
            users=len(users),
            seconds=facts.seconds,
            startup_seconds=facts.startup_seconds,
            settling_seconds=facts.settling_seconds,
        ),
        changes=count_changes(change for user in sorted(changes) for change in changes[user]),
        model=model,
        user_ids=users,
        vectors=vectors.astype(np.float32),
        segments=segments,
        typical_texts=_typical_texts(model, nearest, texts, embedder),
        story=None if chosen is None else Story(chosen, changes[chosen], texts.get(chosen, [])),
        earlier=earlier,
        evaluations=evaluations,
        paths=paths,
        lifecycle=[
            LifecycleEvent.model_validate_json(record.value or b"")
            for record in read_topic(settings, settings.topics.lifecycle)
        ],
    )


def _id_or_none(segment: int | None) -> int:
    return NO_SEGMENT if segment is None else segment


def _refused(settings: Settings) -> dict[str, int]:
    """Count the dead letters by reason, the commonest first."""
    counts: Counter[str] = Counter()
    for record in read_topic(settings, settings.topics.dead_letters):
        counts[dict(record.headers)[HEADER_PREFIX + "reason"].decode()] += 1
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def _latest_model(settings: Settings) -> SegmentModelRecord | None:
    latest = None
    for record in read_topic(settings, settings.topics.models):
        if record.value is not None:
            latest = SegmentModelRecord.model_validate_json(record.value)
    return latest


def _profiles(
    settings: Settings,
) -> tuple[dict[str, ProfileRecord], dict[str, NDArray[np.float32]]]:
    """Latest profile of each user, and the vector from before the latest change of behaviour."""
    latest: dict[str, ProfileRecord] = {}
    earlier: dict[str, NDArray[np.float32]] = {}
    for record in read_topic(settings, settings.topics.profiles):
        user = (record.key or b"").decode()
        if record.value is None:
            latest.pop(user, None)
            continue
        profile = ProfileRecord.model_validate_json(record.value)
        before = latest.get(user)
        if before is not None and before.segment is not None and before.segment != profile.segment:
            vector = decode_array(before.vector, "<f4").astype(np.float64)
            earlier[user] = unit_rows(vector[None])[0].astype(np.float32)
        latest[user] = profile
    return latest, earlier


def _nearest_users(
    model: SegmentModelRecord,
    users: list[str],
    vectors: NDArray[np.float64],
    segments: NDArray[np.int64],
) -> dict[int, list[str]]:
    nearest = {}
    for segment in model.segments:
        members = np.flatnonzero(segments == segment.id)
        centre = decode_array(segment.centre, "<f8").astype(np.float64)
        distances = distances_to(vectors[members], np.broadcast_to(centre, vectors[members].shape))
        order = members[np.argsort(distances, kind="stable")][:_NEAREST_USERS]
        nearest[segment.id] = [users[i] for i in order]
    return nearest


def _texts(
    settings: Settings, stream: Stream, wanted: set[str], now: datetime
) -> dict[str, list[UserText]]:
    intake = settings.events.intake()
    texts: dict[str, list[UserText]] = defaultdict(list)
    told: dict[str, set[str]] = defaultdict(set)
    for key, value, _ in stream.records():
        if intake.user_id(value) not in wanted:
            continue
        try:
            event = intake.read(value, key, now)
            raw, _ = words_of(event)
        except RefusedError:
            continue
        if event.type in (EventType.VIEW, EventType.CLICK) or event.event_id in told[event.user_id]:
            continue
        told[event.user_id].add(event.event_id)  # of an edited text, the first counts
        texts[event.user_id].append(UserText(event.event_id, event.occurred_at, verbatim(raw)))
    return texts


def _typical_texts(
    model: SegmentModelRecord,
    nearest: dict[int, list[str]],
    texts: dict[str, list[UserText]],
    embedder: Embedder,
) -> dict[int, list[str]]:
    """Choose the texts nearest to each centre, each by another user, as they were written."""
    typical = {}
    for segment in model.segments:
        candidates = [
            (user, text.text)
            for user in nearest[segment.id]
            for text in texts.get(user, [])[-_TEXTS_OF_A_USER:]
            if len(text.text) >= _LEAST_CHARS
        ]
        centre = decode_array(segment.centre, "<f8").astype(np.float64)
        vectors = embedder.embed([clean(text) for _, text in candidates])
        likeness = vectors @ centre
        chosen: dict[str, str] = {}
        for i in np.argsort(-likeness, kind="stable"):
            if np.isnan(likeness[i]):  # the model has no vector for this text
                continue
            user, text = candidates[i]
            if text not in chosen.values():
                chosen.setdefault(user, text)
            if len(chosen) == _TYPICAL_TEXTS:
                break
        typical[segment.id] = list(chosen.values())
    return typical
