"""Reads a finished run back from its topics and files: what the report is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.cluster import read_topic
from consumer.offline.outcome import Counts, no_segments
from consumer.offline.refusals import Refusals
from consumer.page.typical import nearest_texts, nearest_users
from consumer.report.user_map import UserMap
from consumer.settings import Settings
from consumer.stages.segmentation.cleaning import words_of
from consumer.tryout.demo.contents import ReportData, Story, Timing, UserText, count_changes
from consumer.tryout.demo.story import choose_story
from consumer.tryout.demo.stream import Stream
from models.embedding.runner_types import Embedder
from models.measures.agreement import agreement
from models.profiles.table import unit_rows
from models.text import verbatim
from schemas.arrays import decode_array
from schemas.changes import SegmentChange
from schemas.dead_letters import read_dead_letter_headers
from schemas.events import EventType
from schemas.intake import RefusedError
from schemas.lifecycle import LifecycleEvent
from schemas.profiles import ProfileRecord
from schemas.segment_model import NO_SEGMENT, SegmentModelRecord
from schemas.states import read_profile

_Contract = TypeVar("_Contract", bound=BaseModel)

_TYPICAL_TEXTS = 3


class NothingToReportError(ExpectedError):
    """The run ended without a profile, or without a segment model."""


def collect(
    settings: Settings,
    stream: Stream,
    embedder: Embedder,
    refusals: Refusals,
    timing: Timing,
    *,
    model: SegmentModelRecord | None,
    now: datetime,
    paths: Mapping[str, Path],
) -> ReportData:
    """Read everything that the report shows.

    Parameters
    ----------
    settings, stream, embedder
        Of the run.
    refusals
        The records that were refused.
    timing
        How long the run took.
    model
        The segment model that was given; None where a trainer learned.
    now
        Against which event times in the future are told.
    paths
        What the run wrote, by what it is.

    Raises
    ------
    NothingToReportError
        If no event was accepted, or no segment model was ever published.
    """
    topics = settings.topics
    profiles, earlier = _profiles(settings)
    for published in _contents(settings, topics.models, SegmentModelRecord):
        model = published
    if model is None or not profiles:
        raise NothingToReportError(
            no_segments(settings, len(profiles))
            if profiles
            else f"none of the events of {stream.source} was accepted"
        )
    users = sorted(profiles)
    rows = {user: row for row, user in enumerate(users)}
    vectors = unit_rows(np.stack([_vector(profiles[user]) for user in users]))
    found = [profiles[user].segment for user in users]
    segments = np.array([NO_SEGMENT if each is None else each for each in found], np.int64)
    changes: dict[str, list[SegmentChange]] = defaultdict(list)
    for change in _contents(settings, topics.changes, SegmentChange):
        changes[change.user_id].append(change)
    chosen = choose_story(changes)
    centres = {
        segment.id: decode_array(segment.centre, "<f8").astype(np.float64)
        for segment in model.segments
    }
    nearest = nearest_users(centres, users, vectors, segments)
    wanted = {user for group in nearest.values() for user in group}
    if chosen is not None:
        wanted.add(chosen)
    texts = _texts(settings, stream, wanted, now)
    labels = stream.labels()
    judged = [i for i, user in enumerate(users) if user in labels and segments[i] != NO_SEGMENT]
    accepted = sum(profile.events for profile in profiles.values())
    repeated = sum(profile.repeats for profile in profiles.values())
    refused = refusals.by_reason()
    return ReportData(
        source=stream.source,
        counts=Counts(
            records=accepted + repeated + sum(refused.values()),
            accepted=accepted,
            repeated=repeated,
            refused=sum(refused.values()),
            users=len(users),
        ),
        timing=timing,
        refused=refused,
        changes=count_changes(change for user in sorted(changes) for change in changes[user]),
        model=model,
        map=UserMap(
            vectors,
            segments,
            {segment.id: segment.label for segment in model.segments},
            list(centres.values()),
            (list(earlier.values()), [vectors[rows[user]] for user in earlier]),
        ),
        typical_texts=nearest_texts(
            centres,
            nearest,
            {user: [each.text for each in own] for user, own in texts.items()},
            embedder,
            _TYPICAL_TEXTS,
        ),
        story=None if chosen is None else Story(chosen, changes[chosen], texts.get(chosen, [])),
        agreement=agreement([labels[users[i]] for i in judged], [int(segments[i]) for i in judged])
        if judged
        else None,
        against=stream.against,
        paths=paths,
        lifecycle=list(_contents(settings, topics.lifecycle, LifecycleEvent)),
    )


def read_refusals(settings: Settings) -> Refusals:
    """Read the dead letters."""
    found = Refusals()
    for letter in read_topic(settings, settings.topics.dead_letters):
        said = read_dead_letter_headers(letter.headers)
        found.add(
            Record(
                *(said.topic, said.partition, said.offset, said.timestamp),
                *(letter.key, letter.value),
            ),
            said.refusal,
        )
    return found


def _contents(settings: Settings, topic: str, contract: type[_Contract]) -> Iterator[_Contract]:
    """Read what the records of a topic hold."""
    for record in read_topic(settings, topic):
        if record.value is not None:
            yield contract.model_validate_json(record.value)


def _vector(profile: ProfileRecord) -> NDArray[np.float64]:
    return decode_array(profile.vector, "<f4").astype(np.float64)


def _profiles(
    settings: Settings,
) -> tuple[dict[str, ProfileRecord], dict[str, NDArray[np.float64]]]:
    """Latest profile of each user, and the vector from before the latest change of behaviour."""
    latest: dict[str, ProfileRecord] = {}
    earlier: dict[str, NDArray[np.float64]] = {}
    for record in read_topic(settings, settings.topics.profiles):
        user = (record.key or b"").decode()
        if record.value is None:
            latest.pop(user, None)
            earlier.pop(user, None)
            continue
        profile = read_profile(record.key or b"", record.value)
        before = latest.get(user)
        if before is not None and before.segment is not None and before.segment != profile.segment:
            earlier[user] = unit_rows(_vector(before)[None])[0]
        latest[user] = profile
    return latest, earlier


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
            event, _ = intake.sift(value, key, now)
            raw, _ = words_of(event.text, event.item_title)
        except RefusedError:
            continue
        if event.type in (EventType.VIEW, EventType.CLICK) or event.event_id in told[event.user_id]:
            continue
        told[event.user_id].add(event.event_id)  # of an edited text, the first counts
        texts[event.user_id].append(UserText(event.event_id, event.occurred_at, verbatim(raw)))
    return texts
