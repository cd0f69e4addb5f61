"""The trainer's topics as a migration finds them: samples, their offset, and the segment model."""

from __future__ import annotations

from dataclasses import dataclass, field

from confluent_kafka import OFFSET_INVALID, TopicPartition

from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.groups import trainer_group
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_model
from consumer.stages.training.stage import read_sample
from models.segments.model import SegmentModel


@dataclass(slots=True)
class TrainerFeed:
    """What is on `profile-samples`, `segment-models` and `segment-model-versions`.

    Attributes
    ----------
    model
        The latest version, None before the first.
    versions
        The records of the versions that are kept.
    former
        Users whose latest sample is of another embedding model, with that model.
    unread
        Whether samples of another model wait for the trainer behind its committed offset, be they
        superseded or not: it would meet them as input.
    """

    model: SegmentModel | None = None
    versions: list[Record] = field(default_factory=list)
    former: dict[str, str] = field(default_factory=dict)
    unread: bool = False

    def needs_migration(self, embedding: str) -> bool:
        """Whether a trainer of this embedding model could not go on from here."""
        foreign = self.model is not None and self.model.embedding != embedding
        return foreign or self.unread or bool(self.former)


def read_feed(settings: Settings, embedding: str) -> TrainerFeed:
    """Read the topics.

    Raises
    ------
    StageError
        If a sample or a segment model cannot be read.
    """
    feed = TrainerFeed()
    offset = trainer_offset(settings) or 0
    for record in read_topic(settings, settings.topics.samples):
        place = record.place
        user = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            feed.former.pop(user, None)
            continue
        sample = read_sample(record.key or b"", record.value, place)
        if sample.embedding == embedding:
            feed.former.pop(user, None)
        else:
            feed.former[user] = sample.embedding
            feed.unread = feed.unread or record.offset >= offset
    for record in read_topic(settings, settings.topics.models):
        if record.value is None:
            continue
        model = read_model(record.value, record.place)
        if feed.model is None or model.version > feed.model.version:
            feed.model = model
    feed.versions = list(read_topic(settings, settings.topics.model_versions))
    return feed


def trainer_offset(settings: Settings) -> int | None:
    """Give where the trainers go on in the samples, None where they never committed."""
    place = Cluster(settings.kafka).committed(
        trainer_group(settings.kafka),
        settings.topics.samples,
        [0],
        wait_seconds=settings.restore.no_progress_seconds,
    )[0]
    return offset_of(place)


def offset_of(place: TopicPartition) -> int | None:
    """Give where a group goes on, None where it has never committed."""
    return int(place.offset) if place.offset > OFFSET_INVALID else None
