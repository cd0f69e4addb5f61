"""The trainer's stage: from sampled profiles to versions of the segment model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from consumer.contract.clock import Clock, wall_clock
from consumer.contract.extras import need
from consumer.contract.records import Output, Record, RecordColumns
from consumer.contract.stage import Changelog, StageError, Upto
from consumer.report.wording import ranges
from consumer.settings import Settings
from consumer.stages.shared.snapshots import NewerModelError, read_model
from consumer.stages.training.control import GivenOrder, ModelControl, read_order
from consumer.stages.training.drift_monitor import DriftMonitor, latest_text, read_reference
from consumer.stages.training.label_training import LabelTraining
from consumer.stages.training.published import lifecycle_events, version_outputs
from consumer.stages.training.versions import KeptVersions
from models.clustering.learner import StreamingClusterer, grows
from models.drift.latest import LatestTexts
from models.drift.reference import DriftReference
from models.profiles.sample import UserSample, rank
from models.segments.model import SegmentModel
from models.segments.rollback import rolled_back
from schemas import samples
from schemas.binary import NewerRecordError, RecordError
from schemas.model_control import MODEL_CONTROL_SCHEMA, ModelOrder, OrderAction
from schemas.model_versions import VersionOrigin
from schemas.samples import Sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedSamples:
    """Samples by user in the order of arrival; None is a tombstone."""

    samples: tuple[tuple[Record, str, Sample | None], ...]
    """Where it came from, user, sample."""
    orders: tuple[GivenOrder, ...] = ()
    """What operators ask for, in the order of arrival."""


class TrainerRestoration:
    """Reads the trainer's state back: the latest models, and the sample of users."""

    def __init__(self, settings: Settings, partition: int) -> None:
        topics = settings.topics
        self.labels = LabelTraining(settings)
        models = [Changelog(topics.models, 0, Upto.END)]
        if self.labels.enabled:
            models.append(Changelog(topics.label_models, 0, Upto.END))
        self.changelogs = (
            *models,
            # What lies beyond the committed offset comes again as input.
            Changelog(topics.samples, partition, Upto.COMMITTED),
            Changelog(topics.drift_reference, 0, Upto.END),
            Changelog(topics.model_versions, 0, Upto.END),
            # Of orders beyond the committed offset only that they were not answered: they come as
            # input.
            Changelog(topics.model_control, 0, Upto.END),
        )
        self.versions = KeptVersions(settings)
        self.control = ModelControl(settings)
        self.model: SegmentModel | None = None
        self.reference: DriftReference | None = None
        self.texts = LatestTexts()
        self._capacity = settings.training.sample_users
        # By embedding model: before the topic is compacted, a migrated user's former sample is
        # still there, ahead of the new one. Only what is left in the end has to be of one model.
        self._samples: dict[str, UserSample] = {}
        self._places: dict[str, str] = {}
        self._models_topic = topics.models
        self._label_models_topic = topics.label_models
        self._reference_topic = topics.drift_reference
        self._versions_topic = topics.model_versions
        self._control_topic = topics.model_control

    def load_many(self, records: RecordColumns) -> None:
        """Take records in."""
        for record in records:
            self.load(record)

    def load(self, record: Record) -> None:
        """Take one record in."""
        place = record.place
        if record.topic == self._models_topic:
            if record.value is not None:
                self.model = read_model(record.value, place)
            return
        if record.topic == self._label_models_topic:
            if record.value is not None:
                self.labels.load_model(record.value, place)
            return
        if record.topic == self._reference_topic:
            self.reference = read_reference(record, place)
            return
        if record.topic == self._versions_topic:
            self.versions.load(record)
            return
        if record.topic == self._control_topic:
            self.control.load(record)
            return
        user, sample = _read_sample(record)
        vector = np.empty(0) if sample is None else sample.vector.astype(np.float64)
        if self.labels.enabled:
            embedding_of, label = (sample.embedding, sample.label) if sample else (None, None)
            self.labels.load(record, user, embedding_of, vector, label)
        self.texts.discard(user)
        for embedding, users in self._samples.items():
            if sample is None or embedding != sample.embedding:
                users.discard(user)
        if sample is None or not is_sampled(user, sample, self._threshold):
            return
        users = self._samples.setdefault(sample.embedding, UserSample(self._capacity))
        users.put(user, vector, sample.terms, sample.weight)
        self._places[sample.embedding] = place
        if (text := latest_text(user, sample, record.offset, place)) is not None:
            self.texts.put(text)

    @property
    def _threshold(self) -> float:
        """Rank up to which users are in the sample, as for `is_sampled`."""
        return 1.0 if self.model is None else self.model.sample_threshold

    @property
    def embedding(self) -> str | None:
        """The embedding model of the segment model, else of the samples; None before either.

        Raises
        ------
        StageError
            If what was read back is of two models.
        """
        known = self.model.embedding if self.model else None
        for embedding, users in self._samples.items():
            if not len(users) or embedding == self.control.state.former_embedding:
                continue
            if known is not None and embedding != known:
                raise _mixed(self._places[embedding], embedding, known)
            known = embedding
        return known

    @property
    def sample(self) -> UserSample:
        """The sampled users; raises as `embedding`."""
        users = self._samples.get(self.embedding or "")
        return UserSample(self._capacity) if users is None else users


class TrainingStage:
    """Learns segments from the group's sampled profiles and publishes versions of them.

    Its input has one partition, so whoever of the trainers is assigned it is the one that learns;
    the others stand by. Beside it operators' orders are read: what comes of one is in a transaction
    with the offset behind it, so each is followed once. While the model is frozen users go into the
    sample and nothing is learned of them. After that, and after a rollback, the trainer goes on
    from the version in force and the sample, just as one that starts.

    Parameters
    ----------
    settings
        Topics, and how to learn.
    clock
        Gives the time of a version; the wall clock when not given.
    """

    # River's clusterer learns in place; what an aborted batch taught it has to be unlearned.
    restore_after_abort = True
    fixed_partitions = True

    def __init__(self, settings: Settings, clock: Clock = wall_clock) -> None:
        self.inputs = (settings.topics.samples, settings.topics.model_control)
        self.samples = 0
        self.lifecycle: Counter[str] = Counter()
        """Lifecycle events by type, of committed versions only."""
        self._clock = clock
        self._settings = settings
        self._topics = settings.topics
        self._policy = settings.training
        if self._policy.name_words == "nouns":
            need("training.name_words = nouns", "names")
        self._clusterer: StreamingClusterer | None = None
        self._published: SegmentModel | None = None
        self._candidate: SegmentModel | None = None
        self._unsettled = False
        self._told: Counter[str] = Counter()
        self._learned = 0
        self.labels = LabelTraining(settings)
        self.drift = DriftMonitor(settings)
        self._versions = KeptVersions(settings)
        self._control = ModelControl(settings)

    # --- partitions -------------------------------------------------------------------------

    def restoration(self, partition: int) -> TrainerRestoration:
        """Begin to read the trainer's state back."""
        if partition != 0:
            raise StageError(
                f"{self._topics.samples} has a partition {partition}: it must have one only, "
                "since one trainer learns for the whole group"
            )
        return TrainerRestoration(self._settings, partition)

    def assigned(self, partition: int, restoration: TrainerRestoration) -> None:
        """Become the active trainer."""
        restoration.control.check()
        model, sample = restoration.model, restoration.sample
        self._published = model
        self._clusterer = None
        embedding = restoration.embedding
        self.labels = restoration.labels
        self.labels.keep(embedding)
        self._versions, self._control = restoration.versions, restoration.control
        if embedding is not None:
            self._begin(embedding, model, sample)
        self._unsettled = len(sample) > 0
        self.drift.assigned(restoration.reference, restoration.texts, sample)
        logger.info(
            "active trainer of partition %d: model %s%s, %d sampled users",
            partition,
            model.version if model else "none",
            ", frozen" if self.frozen else "",
            len(sample),
        )

    def _begin(self, embedding: str, model: SegmentModel | None, sample: UserSample) -> None:
        """Go on from a version and the sample, whatever was learned since."""
        self._clusterer = StreamingClusterer(self._policy, embedding)
        if model is not None and self._policy.allows(len(model.ids), growing=grows(model)):
            self._clusterer.restore(model, sample)
        else:
            # Another number of segments was asked for: learn anew, on the same users. Ids of
            # segments that go on are kept through the published version.
            self._clusterer.begin_with(sample, at_once=model is not None)

    def revoked(self, partition: int) -> None:  # noqa: ARG002
        """Stand by."""
        self._clusterer = None
        self._published = None
        self._unsettled = False
        self.labels = LabelTraining(self._settings)
        self._versions = KeptVersions(self._settings)
        self._control = ModelControl(self._settings)
        self.drift.revoked()

    @property
    def published(self) -> SegmentModel | None:
        """The latest version committed."""
        return self._published

    @property
    def frozen(self) -> bool:
        """Whether an operator has frozen the model: no version is learned."""
        return self._control.frozen

    @property
    def settled(self) -> bool:
        """Whether all that was learned has been looked at since."""
        return not self._unsettled

    @property
    def sampled_users(self) -> int:
        """Users in the sample."""
        return len(self._clusterer.sample) if self._clusterer else 0

    # --- learning ---------------------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> PreparedSamples:
        """Read the samples, and the orders among them."""
        control = self._topics.model_control
        return PreparedSamples(
            tuple((each, *_read_sample(each)) for each in records if each.topic != control),
            tuple(
                given
                for each in records
                if each.topic == control and (given := read_order(each)) is not None
            ),
        )

    def apply(self, prepared: PreparedSamples, partitions: frozenset[int]) -> Sequence[Output]:
        """Learn from the samples, one by one; publish when segments have moved enough.

        Orders come behind the samples of their batch and before what was learned is published.
        """
        outputs = self._learn(prepared, partitions)
        for given in prepared.orders:
            if given.record.partition in partitions and not self._control.is_answered(given):
                outputs += self._follow(given)
        # A retraining comes before the version that tells of it.
        outputs += self._look_for_drift()
        return outputs + self._publish() + self.labels.publish()

    def _learn(self, prepared: PreparedSamples, partitions: frozenset[int]) -> list[Output]:
        outputs: list[Output] = []
        for record, user, sample in prepared.samples:
            if record.partition not in partitions:
                continue
            if sample is None:
                if self._clusterer is not None:
                    self._clusterer.forget(user)
                self.labels.forget(user)
                self.drift.forget(user)
                continue
            place = record.place
            if sample.embedding == self._control.state.former_embedding:
                # Of a partition whose worker has not gone over to the next model yet.
                continue
            clusterer = self._for_embedding(sample.embedding, place)
            vector = sample.vector.astype(np.float64)
            gone = self.labels.learn(record, user, sample.embedding, vector, sample.label)
            if sample.sampled:
                take = clusterer.remember if self.frozen else clusterer.learn
                evicted = take(user, vector, sample.terms, sample.weight)
                self.drift.observe(user, latest_text(user, sample, record.offset, place))
                for name in evicted:
                    self.drift.forget(name)
                gone += evicted
                self._learned += 1
            else:
                # It has taken the place of the record that had the text; a restore finds none.
                self.drift.forget(user)
            # A tombstone keeps the compacted topic, and so the next restore, as small as what is
            # remembered of it.
            outputs += [
                Output(self._topics.samples, name.encode(), None)
                for name in dict.fromkeys(gone)
                if name not in clusterer.sample and name not in self.labels
            ]
            self._unsettled |= sample.sampled
        return outputs

    def maintain(self, *, idle: bool, ended: bool = False) -> Sequence[Output] | None:
        """Ask whether there is something new when the stream pauses: a pause is no evidence.

        Where it has ended, as a replay does, there are all the segments that were asked for.
        """
        if not idle or self._clusterer is None:
            return None
        outputs = self.labels.publish(idle=True)
        if self._unsettled:
            self._unsettled = False
            outputs += self._look_for_drift(now=True)
            if not self.frozen and self._clusterer.consider(ended=ended):
                outputs += self._publish()
        if not outputs:
            self.drift.committed()  # nothing was written that could be aborted
            return None
        return outputs

    def committed(self) -> None:
        """Count the version as published."""
        if self._candidate is not None:
            self._published = self._candidate
            self.lifecycle.update(self._told)
        self.labels.committed()
        self.samples += self._learned
        self._candidate, self._learned = None, 0
        self._told.clear()
        self.drift.committed()

    def aborted(self) -> None:
        """Forget the version; the loop reads the state back."""
        self.labels.aborted()
        self._candidate, self._learned = None, 0
        self._told.clear()
        self.drift.aborted()

    def _look_for_drift(self, *, now: bool = False) -> list[Output]:
        clusterer = self._clusterer
        if clusterer is None:
            return []
        retrain = None if self.frozen else clusterer.look
        return self.drift.look(clusterer.sample, self._current, retrain, now=now)

    @property
    def _current(self) -> SegmentModel | None:
        """The latest version, also where it is still to be committed."""
        return self._candidate or self._published

    def _publish(self) -> list[Output]:
        clusterer, previous = self._clusterer, self._current
        if self.frozen or clusterer is None or not clusterer.due(previous):
            return []
        model = clusterer.snapshot(previous)
        logger.info("segment model %d after %d samples", model.version, model.samples)
        at = self._clock()
        kept = self._versions.keep(model, previous, VersionOrigin.TRAINER, at)
        return self._published_by(model, previous, at) + kept

    def _published_by(
        self, model: SegmentModel, previous: SegmentModel | None, at: datetime
    ) -> list[Output]:
        """Make a version the candidate; give what goes out with it."""
        self._candidate = model
        told = lifecycle_events(model, previous, at)
        self._told.update(event.type for event in told)
        return version_outputs(model, previous, told, self._topics, self._settings.kafka.group_id)

    # --- orders -----------------------------------------------------------------------------

    def _follow(self, given: GivenOrder) -> list[Output]:
        """Follow an order, or refuse it; give what comes of it, the answer last."""
        outputs: list[Output] = []
        at, done = self._clock(), True
        try:
            detail, outputs = self._carried_out(given, at)
        except (OrderRefusedError, StageError) as error:
            done, detail = False, str(error)
        current = self._current
        return outputs + self._control.answer(
            given,
            done=done,
            detail=detail,
            model_version=current.version if current else None,
            at=at,
        )

    def _carried_out(self, given: GivenOrder, at: datetime) -> tuple[str, list[Output]]:
        order = given.order
        if order is None:
            raise OrderRefusedError(f"it cannot be read: {given.problem}")
        if order.action == OrderAction.FREEZE:
            was = self.frozen
            self._control.freeze(OrderAction.FREEZE, at)
            return "it was frozen before" if was else "no new version is learned", []
        if order.action == OrderAction.UNFREEZE:
            if not self.frozen:
                return "it was not frozen", []
            self._control.unfreeze()
            self._go_on()
            return "versions are learned again", []
        if order.action == OrderAction.MIGRATE and order.schema_version <= MODEL_CONTROL_SCHEMA:
            return self._migrate(order, given.id, at)
        if order.action != OrderAction.ROLLBACK or order.schema_version > MODEL_CONTROL_SCHEMA:
            raise OrderRefusedError(
                f"this trainer does not know {order.action!s} of format {order.schema_version}: "
                "upgrade it"
            )
        if order.version is None:
            raise OrderRefusedError("it names no version")
        latest = self._control.latest_rollback
        if order.seen is not None and latest and (latest.model_version or 0) > order.seen:
            # Two operators at once: the later one has to see what the earlier one did, also where
            # versions were learned since.
            raise OrderRefusedError(
                f"version {latest.model_version}, the rollback to version {latest.version}, has "
                f"come since: version {order.seen} was in force when it was ordered"
            )
        outputs = self._roll_back(order.version, given.id, at)
        current = self._current
        made = current.version if current else 0
        return (
            f"version {made} is published, with the segments of version {order.version}; no new "
            "version is learned until it is unfrozen",
            outputs,
        )

    def _migrate(self, order: ModelOrder, name: str, at: datetime) -> tuple[str, list[Output]]:
        """Publish the version that brings the group to another embedding model, and freeze.

        Workers go over to that model from now on, each partition by itself. So samples of the
        former one come for a while, and are passed over; those of the next one come from every
        partition that has gone over. Learning waits until all have.
        """
        current = self._current
        if current is None:
            raise OrderRefusedError("there is no version yet")
        if self.labels.enabled:
            raise OrderRefusedError(
                "this trainer learns labels (labels.enabled), which are of one embedding model: "
                "stop the group, and use 'segmenter migrate'"
            )
        if order.model is None:
            # So that the version in force stays the one that is carried over.
            self._control.freeze(OrderAction.MIGRATE, at)
            return "no new version is learned until the group is of another embedding model", []
        try:
            model = SegmentModel.from_record(order.model)
        except ValueError as error:  # a record that contradicts itself
            raise OrderRefusedError(str(error)) from None
        if order.seen != current.version or model.version != current.version + 1:
            raise OrderRefusedError(
                f"version {current.version} is in force, and the order was made with version "
                f"{order.seen} in view"
            )
        if model.embedding == current.embedding or model.migrated_from != current.embedding:
            raise OrderRefusedError(
                f"the segments are of the embedding model {current.embedding[:12]}, and the order "
                f"leads from {(model.migrated_from or 'none')[:12]} to {model.embedding[:12]}"
            )
        outputs = self._published_by(model, current, at)
        # Nothing was learned, so no settings of learning are told.
        origin = VersionOrigin.MIGRATION
        outputs += self._versions.keep(model, current, origin, at, order=name, settings={})
        self._control.migrated(current.embedding, at)
        sample = UserSample(self._policy.sample_users)
        self._begin(model.embedding, model, sample)
        self._unsettled = False
        self.drift.assigned(None, LatestTexts(), sample)
        return (
            f"version {model.version} is published, with the segments of version "
            f"{current.version} under the embedding model {model.embedding[:12]}; workers go over "
            "to it, and no new version is learned until all have",
            outputs,
        )

    def _roll_back(self, version: int, order: str, at: datetime) -> list[Output]:
        """Put an earlier version in force again, and freeze."""
        current, clusterer = self._current, self._clusterer
        if current is None or clusterer is None:
            raise OrderRefusedError("there is no version yet")
        found = self._versions.find(version)
        if found is None and version != current.version:
            kept = ranges(self._versions.numbers) or "none"
            raise OrderRefusedError(f"version {version} is not kept; those that are: {kept}")
        sample = clusterer.sample
        try:
            old = current if found is None else SegmentModel.from_record(found.model)
            model = rolled_back(old, current, sample.vectors(), sample.threshold).model
        except ValueError as error:  # a RollbackError, or a record that contradicts itself
            raise OrderRefusedError(str(error)) from None
        outputs = self._published_by(model, current, at)
        outputs += self._versions.keep(
            model,
            current,
            VersionOrigin.ROLLBACK,
            at,
            order=order,
            settings=found.settings if found else {},
        )
        self._control.freeze(OrderAction.ROLLBACK, at)
        self._go_on()
        return outputs

    def _go_on(self) -> None:
        """Forget what was learned since the version in force, as one that starts has."""
        if self._clusterer is not None:
            sample = self._clusterer.sample
            self._begin(self._clusterer.embedding, self._current, sample)
            self._clusterer.catch_up()
            self._unsettled = len(sample) > 0

    def _for_embedding(self, embedding: str, place: str) -> StreamingClusterer:
        if self._clusterer is None:
            self._clusterer = StreamingClusterer(self._policy, embedding)
        if self._clusterer.embedding != embedding:
            raise _mixed(place, embedding, self._clusterer.embedding)
        return self._clusterer


class OrderRefusedError(ValueError):
    """An order that cannot be followed; the sentence says why."""


def is_sampled(user: str, sample: Sample, threshold: float) -> bool:
    """Tell whether a record is of a user in the sample; other users' are there for a label alone.

    Up to the threshold a user is in it even if the latest record is there for a label: it has
    taken the place of the one that segments were learned from.
    """
    return sample.sampled or rank(user) <= threshold


def read_sample(key: bytes, value: bytes, place: str) -> Sample:
    """Read a sampled profile in either form; `place` is where it came from, for the error.

    Raises
    ------
    StageError
        If it is none; NewerModelError if a newer version has written it.
    """
    try:
        return samples.read_sample(key, value)
    except NewerRecordError as error:
        raise NewerModelError(
            f"{place} was written by a newer version ({error}): upgrade this process"
        ) from None
    except RecordError as error:
        raise StageError(f"{place} is no profile sample: {error}") from None


def _read_sample(record: Record) -> tuple[str, Sample | None]:
    key = record.key or b""
    try:
        user = key.decode()
        if record.value is None:
            return user, None
    except UnicodeDecodeError:
        raise StageError(f"{record.place} is no profile sample: its key is not UTF-8") from None
    return user, read_sample(key, record.value, record.place)


def _mixed(place: str, embedding: str, known: str) -> StageError:
    return StageError(
        f"{place} is a profile of the embedding model {embedding[:12]} beside those of "
        f"{known[:12]}; run one embedding model, bring the group to another one with 'segmenter "
        "migrate', or give a new kafka.group_id and new topics"
    )
