"""Reads a running group's topics for the page; joins no group and writes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from confluent_kafka import KafkaException
from pydantic import BaseModel, ValidationError

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster
from consumer.kafka.newest import newest, newest_of
from consumer.kafka.topics import TopicError
from consumer.offline.observed import Details, DriftFound, drift_found
from consumer.offline.outcome import Counts
from consumer.page.gathered import ChangesRead, Gathered, UsersRead, by_reason, names_of
from consumer.settings import Settings
from consumer.stages.training.drift_monitor import DriftMonitor, latest_text, read_reference
from consumer.stages.training.stage import is_sampled, read_sample
from models.drift.latest import LatestTexts
from models.profiles.sample import UserSample
from models.segments.model import SegmentModel
from schemas.binary import RecordError
from schemas.changes import SegmentChange
from schemas.dead_letters import read_dead_letter_headers
from schemas.errors import first_problem
from schemas.lifecycle import LifecycleEvent
from schemas.recommendations import RECOMMENDATIONS_KEYS, SegmentRecommendations
from schemas.segment_model import SegmentModelRecord
from schemas.states import read_profile

_NO_ITEMS = (
    "Nothing is published of items: workers and a recommender want recommendations.enabled, and "
    "events an item_id."
)

_Kept = TypeVar("_Kept", bound=BaseModel)


class TopicsReader:
    """Reads the topics of a group.

    Parameters
    ----------
    settings
        Of the group; `drift` and `training` as its trainer has them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = Cluster(settings.kafka)
        self._there: dict[str, int] = {}

    def gather(self) -> Gathered:
        """Read all but the input.

        Raises
        ------
        TopicError
            If a topic is missing, or the cluster does not answer.
        ExpectedError
            If a record cannot be read.
        """
        try:
            return self._gather()
        except KafkaException as error:
            raise TopicError(f"the topics cannot be read: {words(error)}") from error

    def _gather(self) -> Gathered:
        topics = self._settings.topics
        self._there = self._cluster.topics()
        needed = (topics.models, topics.profiles, topics.changes)
        if missing := [name for name in needed if name not in self._there]:
            raise TopicError(
                f"there is no topic {', '.join(missing)}: check the names in topics, or run "
                "'segmenter topics create'"
            )
        newest_model = newest_of(self._cluster, topics.models, SegmentModelRecord)
        model = None if newest_model is None else newest_model[0]
        users = self._users()
        changes = ChangesRead()
        for change in self._contents(topics.changes, SegmentChange):
            changes.put(change)
        lives = list(self._contents(topics.lifecycle, LifecycleEvent))
        refused = self._refused()
        columns = users.columns()
        accepted = int(columns.events.sum())
        dead = sum(refused.values())
        lists = self._recommendations()
        drift = None if model is None else self._drift(SegmentModel.from_record(model))
        return Gathered(
            source=f"the group {self._settings.kafka.group_id}",
            until=time.time(),
            users=columns,
            changes=changes.sorted(),
            lifecycle=sorted(lives, key=lambda event: (event.version, event.at)),
            model=model,
            names=names_of(changes.names, lives, model),
            counts=Counts(
                accepted + users.repeated + dead, accepted, users.repeated, dead, len(columns)
            ),
            refused=by_reason(refused),
            details=Details(types={}, languages={}, lengths=[], typical=[], drift=drift),
            recommendations=lists,
            notes={} if lists else {"items": _NO_ITEMS},
        )

    def _recommendations(self) -> dict[int | None, SegmentRecommendations]:
        """Read what leads in each segment, the latest of each."""
        found: dict[bytes, Record] = {}
        for record in self._records(self._settings.topics.segment_recommendations):
            found.pop(key := record.key or b"", None)
            if record.value is not None and RECOMMENDATIONS_KEYS.fullmatch(key):
                found[key] = record
        lists = [_content(record, SegmentRecommendations) for record in found.values()]
        return {each.segment: each for each in lists}

    def _users(self) -> UsersRead:
        found = UsersRead()
        for record in self._records(self._settings.topics.profiles):
            if record.value is None:
                found.discard((record.key or b"").decode(errors="replace"))
                continue
            try:
                found.put(read_profile(record.key or b"", record.value))
            except RecordError as error:
                raise ExpectedError(f"{record.place} cannot be read: {error}") from None
        return found

    def _refused(self) -> Counter[tuple[str, str | None]]:
        counts: Counter[tuple[str, str | None]] = Counter()
        for letter in self._records(self._settings.topics.dead_letters):
            refusal = read_dead_letter_headers(letter.headers).refusal
            counts[str(refusal.reason), refusal.field] += 1
        return counts

    def _drift(self, model: SegmentModel) -> DriftFound | None:
        """Look for drift as the trainer does, with what it reads back when it starts."""
        topics, settings = self._settings.topics, self._settings
        sample, texts = UserSample(settings.training.sample_users), LatestTexts()
        for record in self._records(topics.samples):
            user = (record.key or b"").decode(errors="replace")
            sample.discard(user)
            texts.discard(user)
            if record.value is None:
                continue
            told = read_sample(record.key or b"", record.value, record.place)
            if told.embedding != model.embedding or not is_sampled(
                user, told, model.sample_threshold
            ):
                continue
            sample.put(user, told.vector, told.terms, told.weight)
            if (text := latest_text(user, told, record.offset, record.place)) is not None:
                texts.put(text)
        reference = None
        if topics.drift_reference in self._there:
            for record in newest(self._cluster, topics.drift_reference, 1):
                reference = read_reference(record, record.place)
        monitor = DriftMonitor(settings.changed("drift", retrain=False, reference_days=None))
        monitor.assigned(reference, texts, sample)
        monitor.look(sample, model, None, now=True)
        monitor.committed()
        return drift_found(monitor)

    def latest_events(self, most: int) -> Iterator[Record]:
        """Give the latest events of the input, as many of each partition, so many in all."""
        topic = self._settings.topics.events
        if not (count := self._there.get(topic, 0)):
            return
        for partition, (low, end) in self._cluster.spans(topic, range(count)).items():
            start = max(low, end - most // count)
            yield from self._cluster.read(
                topic,
                partition,
                end,
                start=start,
                no_progress_seconds=self._settings.restore.no_progress_seconds,
            )

    def _records(self, topic: str) -> Iterator[Record]:
        if topic in self._there:
            yield from self._cluster.read_all(topic, self._settings.restore.no_progress_seconds)

    def _contents(self, topic: str, kind: type[_Kept]) -> Iterator[_Kept]:
        for record in self._records(topic):
            if record.value is not None:
                yield _content(record, kind)


def _content(record: Record, kind: type[_Kept]) -> _Kept:
    try:
        return kind.model_validate_json(record.value or b"")
    except ValidationError as error:
        raise ExpectedError(f"{record.place} cannot be read: {first_problem(error)}") from None


def with_languages(found: Gathered, languages: Counter[str]) -> Gathered:
    """Give what was gathered, with languages that the events have told."""
    if found.details is None:
        return found
    details = found.details.model_copy(update={"languages": dict(sorted(languages.items()))})
    return replace(found, details=details)
