"""Reads how the segment model stands from Kafka; joins no group and writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.topics import TopicError, partition_counts
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_model
from consumer.stages.training.control import GivenOrder, ModelControl, read_order
from consumer.stages.training.stage import is_sampled, read_sample
from consumer.stages.training.versions import KeptVersions
from consumer.versions.facts import (
    Renaming,
    RollbackPreview,
    Segment,
    Version,
    VersionDetails,
    Versions,
    WaitingOrder,
)
from models.profiles.sample import UserSample
from models.segments.model import SegmentModel
from models.segments.rollback import rolled_back
from schemas.model_versions import ModelVersionRecord, VersionOrigin
from schemas.segment_model import SegmentRecord, is_provisional

logger = logging.getLogger(__name__)


class VersionError(ExpectedError):
    """There is no such version, or it cannot be rolled back to."""


@dataclass(slots=True)
class Found:
    """What is on the topics.

    Attributes
    ----------
    current
        The version in force, None before the first.
    kept
        The versions that are kept, as bytes: all of them as objects may take gigabytes.
    control
        What operators ordered.
    waiting
        Orders that nobody has answered.
    """

    current: SegmentModel | None
    kept: KeptVersions
    control: ModelControl
    waiting: list[GivenOrder] = field(default_factory=list)

    def entry(self, version: int) -> ModelVersionRecord:
        """Give a version.

        Raises
        ------
        VersionError
            If it is not there.
        StageError
            If it cannot be read.
        """
        if (found := self.kept.find(version)) is not None:
            return found
        if self.current is not None and self.current.version == version:
            return _not_kept(self.current)
        there = self.numbers
        raise VersionError(
            f"there is no version {version}: "
            + (f"those that there are: {_listed(there)}" if there else "there is none yet")
        )

    @property
    def numbers(self) -> list[int]:
        """The versions that there are, ascending: those that are kept, and the one in force."""
        return sorted({*self.kept.numbers, *([self.current.version] if self.current else [])})


def find(settings: Settings) -> Found:
    """Read the topics.

    Raises
    ------
    TopicError
        If one is missing or cannot be read.
    StageError
        If a record cannot be read.
    """
    topics = settings.topics
    current: SegmentModel | None = None
    kept, control = KeptVersions(settings), ModelControl(settings)
    orders: dict[str, GivenOrder] = {}
    for record in _read(settings, topics.models, topics.model_versions, topics.model_control):
        if record.topic == topics.models:
            if record.value is not None:
                current = read_model(record.value, record.place)
        elif record.topic == topics.model_versions:
            kept.load(record)
        else:
            control.load(record)
            if (given := read_order(record)) is not None:
                orders[given.id] = given
    control.check()
    return Found(
        current=current,
        kept=kept,
        control=control,
        waiting=[given for given in orders.values() if not control.is_answered(given)],
    )


def _read(settings: Settings, *names: str) -> Iterable[Record]:
    cluster = Cluster(settings.kafka)
    there = partition_counts(settings, names, cluster)
    if missing := [name for name in names if name not in there]:
        raise TopicError(
            f"there is no topic {', '.join(missing)} (or no right to see it): check the names in "
            "topics, or run 'segmenter topics create'"
        )
    try:
        for name in names:
            yield from read_topic(settings, name)
    except KafkaException as error:
        raise TopicError(f"the versions cannot be read: {words(error)}") from error


def _not_kept(model: SegmentModel) -> ModelVersionRecord:
    """Give the version in force where none are kept yet: a release of before has published it."""
    return ModelVersionRecord(model=model.to_record(), origin=VersionOrigin.UNKNOWN, at=None)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


# --- what is told -------------------------------------------------------------------------------


def versions(found: Found) -> Versions:
    """Tell which versions there are, and how the model stands."""
    state, current = found.control.state, found.current
    return Versions(
        in_force=current.version if current else None,
        frozen=state.frozen,
        frozen_since=state.since,
        frozen_by=state.cause,
        versions=list(_readable(found)),
        waiting=[_waiting(given) for given in found.waiting],
        answers=state.answers[::-1],
    )


def _readable(found: Found) -> Iterator[Version]:
    """Tell of each version, the latest first; one that cannot be read hides none of the others."""
    for number in reversed(found.numbers):
        try:
            yield _version(found.entry(number), found)
        except StageError as error:
            logger.warning("%s", error)


def _version(entry: ModelVersionRecord, found: Found) -> Version:
    model = entry.model
    return Version(
        version=model.version,
        at=entry.at,
        origin=str(entry.origin),
        rollback_of=model.rollback_of,
        segments=len(model.segments),
        users=sum(segment.size for segment in model.segments),
        provisional=is_provisional(model.learner),
        in_force=found.current is not None and model.version == found.current.version,
        kept=model.version in found.kept.numbers,
    )


def _waiting(given: GivenOrder) -> WaitingOrder:
    order = given.order
    return WaitingOrder(
        id=given.id,
        action="unreadable" if order is None else str(order.action),
        version=order.version if order else None,
        at=order.at if order else None,
        by=order.by if order else "",
    )


def details(found: Found, version: int) -> VersionDetails:
    """Tell all of a version; raises as `Found.entry`."""
    entry = found.entry(version)
    return VersionDetails(
        **_version(entry, found).model_dump(),
        embedding=entry.model.embedding,
        dimensions=entry.model.dimensions,
        members=[_segment(each) for each in entry.model.segments],
        transitions=entry.model.transitions,
        settings=entry.settings,
        order=entry.order,
    )


def _segment(record: SegmentRecord) -> Segment:
    return Segment(
        id=record.id,
        name=record.label,
        words=record.words,
        users=record.size,
        since=record.since,
    )


def _sample(settings: Settings, current: SegmentModel) -> UserSample:
    """Read the trainer's sample of users, as it would read it back."""
    sample = UserSample(settings.training.sample_users)
    for record in _read(settings, settings.topics.samples):
        key = record.key or b""
        user = key.decode(errors="replace")
        sample.discard(user)
        if record.value is None:
            continue
        told = read_sample(key, record.value, record.place)
        wanted = is_sampled(user, told, current.sample_threshold)
        if wanted and told.embedding == current.embedding:
            sample.put(user, told.vector, told.terms, told.weight)
    return sample


def preview(settings: Settings, found: Found, version: int) -> RollbackPreview:
    """Tell what a rollback would change, by what the trainer itself would make of it now.

    The sampled users are read, some megabytes. Each counts where the profile is nearest: who is
    nearly as near to the present segment stays in it, so fewer move in the end.

    Raises
    ------
    VersionError
        If it cannot be rolled back to.
    TopicError, StageError
        If the topics cannot be read.
    """
    entry, current = found.entry(version), found.current
    if current is None:
        raise VersionError("there is no version yet")
    sample = _sample(settings, current)
    try:
        old = SegmentModel.from_record(entry.model)
        made = rolled_back(old, current, sample.vectors(), sample.threshold)
    except ValueError as error:  # a RollbackError, or a record that contradicts itself
        raise VersionError(str(error)) from None
    now = {segment.id: segment for segment in current.to_record().segments}
    then = {segment.id: segment for segment in made.model.to_record().segments}
    return RollbackPreview(
        version=version,
        in_force=current.version,
        becomes=made.model.version,
        restored=[_segment(then[segment]) for segment in made.restored],
        retired=[_segment(now[segment]) for segment in made.retired],
        renamed=[
            Renaming(id=segment, name=then[segment].label, former=now[segment].label)
            for segment in sorted(now.keys() & then.keys())
            if now[segment].label != then[segment].label
        ],
        users=made.users,
        moved=made.moved,
        moved_of_all=round(made.moved / sample.threshold) if made.users else None,
        frozen=found.control.frozen,
    )
