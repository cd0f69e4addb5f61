"""`segmenter migrate`: a group's state from one embedding model to another.

Vectors cannot be converted. What they were made from is there: the input is read again from its
first record up to the group's committed offset, and goes through the worker's own code with the new
embedder. What a user keeps is the standing: segment, label, number of changes, counts. So the next
change goes on from the last one.

The order, and what a crash leaves at each point:

1. Look: which records are of another model. Count every user's events again, without embedding.
   Nothing is written; whatever does not fit is refused here. A crash leaves nothing.
2. Join the group of the workers and that of the trainers, as the only member of both, and make sure
   that nothing moved since the look. A crash leaves nothing; the memberships end by themselves.
3. Partition after partition: embed, and write profiles and samples, `batch.reassign_users` users in
   a transaction. Each carries the group's offset unchanged, and with it the generation, so that a
   former worker cannot write any more and a new one is noticed. A crash leaves some users migrated
   and some not. No worker starts on a partition that has both: one of the new model finds records
   of the old, and the other way round. On a partition that is all of one model, workers of that
   model might go on, but for the segment model: it still is the old one, which a worker of the new
   embedding refuses (before the first, the trainer refuses samples of two models). Nothing mixes,
   whoever is started. Run again, users who are done are
   left as they are, and the others are embedded.
4. Tombstones for samples of the old model that nothing has replaced. A crash leaves samples of two
   models; the trainer refuses them. Run again, the rest is removed.
5. The switch: the segment model, what it made of segments, and the trainers' offset, behind all
   samples, in one transaction.
   From here on workers and trainers of the new model go on, and those of the old one refuse.

The segment model comes last since it is what tells workers that everything before it is done. Its
centres are the means of each segment's members (`models.segments.carry_over`), read from the
profiles alone: a second run computes the same, to the bit.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from confluent_kafka import TopicPartition

from consumer.contract.records import Output
from consumer.kafka.cluster import Cluster
from consumer.kafka.groups import trainer_group
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import check_topics
from consumer.migrate.changelog import Former, PartitionState
from consumer.migrate.errors import MigrationError
from consumer.migrate.feed import read_feed
from consumer.migrate.group import Members
from consumer.migrate.member import SoleMember
from consumer.migrate.recompute import Step, chunks, recompute
from consumer.migrate.report import MigrationResult, missing_history
from consumer.migrate.survey import PartitionPlan, Plan, Survey, differences
from consumer.migrate.totals import Totals
from consumer.migrate.writer import Writer
from consumer.settings import KafkaSettings, Settings
from consumer.stages.segmentation.profile_writer import ProfileWriter
from consumer.stages.training.published import lifecycle_events, version_outputs
from consumer.stages.training.versions import KeptVersions
from models.embedding.runner_types import Embedder
from models.profiles.table import ProfileTable
from models.segments.model import SegmentModel
from schemas.model_versions import VersionOrigin

logger = logging.getLogger(__name__)


class Migration:
    """One run of the command: `look`, the survey's `count`, then `run`.

    Parameters
    ----------
    settings
        Of the workers, with the new embedding model.
    embedder
        The new model.
    accept_missing_history
        Go on where the input does not give all the events that a profile has counted.
    members
        Looks at the groups.
    survey
        Reads the topics.
    member, writer
        Make the memberships and the writer.

    Attributes
    ----------
    groups
        That of the workers and that of the trainers.
    """

    def __init__(
        self,
        settings: Settings,
        embedder: Embedder,
        *,
        accept_missing_history: bool = False,
        members: Members | None = None,
        survey: Survey | None = None,
        member: Callable[[KafkaSettings, str, str, int], SoleMember] = SoleMember,
        writer: Callable[[KafkaSettings, Sequence[SoleMember]], Writer] = Writer,
    ) -> None:
        self._settings = settings
        self._topics = settings.topics
        self.groups = (settings.kafka.group_id, trainer_group(settings.kafka))
        self._embedder = embedder
        self._accept = accept_missing_history
        self.members = members or Members(settings.kafka)
        self.survey = survey or Survey(settings, embedder)
        self._member = member
        self._writer = writer
        self._marks: Mapping[str, int | None] = {}
        self._without_history = 0
        self._without_vector = 0

    # --- nothing is written -----------------------------------------------------------------

    def look(self) -> Plan:
        """Find out whether there is anything to migrate.

        Raises
        ------
        TopicError
            If topics are missing or do not fit each other.
        MigrationError, StageError, ReadStalledError
            If they cannot be read.
        """
        check_topics(self._settings)
        self._marks = self.survey.marks()
        return self.survey.look()

    def refuse_missing_history(self, plan: Plan) -> None:
        """Raise MigrationError where the input lacks events that profiles have counted.

        Where that is accepted, the segments still need somebody to be placed by.
        """
        if plan.differences and not self._accept:
            raise MigrationError(missing_history(plan, self._topics.events))
        model = plan.feed.model
        if model is None or model.embedding == plan.embedding:
            return
        if not plan.records and not plan.migrated:
            raise self._nobody_left(model)

    # --- the migration ----------------------------------------------------------------------

    def run(self, plan: Plan, step: Step) -> MigrationResult:
        """Migrate.

        Parameters
        ----------
        plan
            What `look` and `count` found.
        step
            Told after each batch how many records were embedded.

        Raises
        ------
        MigrationError
            If the group is not the migration's alone, or history is missing.
        FatalKafkaError, KafkaException, ReadStalledError
            If Kafka does not let it. Running it again is safe.
        """
        self.refuse_missing_history(plan)
        kafka, former = self._settings.kafka, plan.feed.model
        with ExitStack() as stack:
            workers = stack.enter_context(
                self._member(kafka, kafka.group_id, self._topics.events, len(plan.partitions))
            )
            trainers = stack.enter_context(
                self._member(kafka, trainer_group(self._settings.kafka), self._topics.samples, 1)
            )
            writer = self._writer(kafka, (workers, trainers))
            stack.callback(writer.close)
            self._refuse_movement()
            totals = Totals(
                self._embedder.dimensions,
                self._settings.training.sample_users,
                plan.sample_threshold,
            )
            for part in plan.partitions:
                writer.check()
                totals.add(self._migrate_partition(part, plan, writer, workers, step))
            self._remove_former_samples(writer, trainers)
            model = None
            if former is not None and former.embedding != plan.embedding:
                model = totals.carry_over(former, plan.embedding)
                if model is None:
                    raise self._nobody_left(former)
            self._switch(model, plan, writer, trainers)
        own, members = totals.in_own_segment(model) if model else (0, 0)
        dropped = set(former.ids.tolist()) - set(model.ids.tolist()) if former and model else set()
        return MigrationResult(
            users=plan.users,
            transactions=writer.transactions,
            without_history=self._without_history,
            without_vector=self._without_vector,
            model=model,
            dropped=tuple(sorted(dropped)),
            own=own,
            members=members,
        )

    def _refuse_movement(self) -> None:
        now = self.survey.marks()
        for name, mark in self._marks.items():
            if now[name] != mark:
                raise MigrationError(
                    f"group {self._settings.kafka.group_id!r} has written since it was looked at "
                    f"({name} went from {mark} to {now[name]}): stop all workers and trainers, "
                    "then run 'segmenter migrate' again"
                )

    def _migrate_partition(
        self, part: PartitionPlan, plan: Plan, writer: Writer, workers: SoleMember, step: Step
    ) -> ProfileTable:
        """Write a partition's profiles and samples; give the profiles of all its users."""
        state = self.survey.state(part.number)
        if not state.formers:
            return state.table

        def seen(size: int) -> None:
            writer.check()
            step(size)

        records = self.survey.input_of(part, state.formers, plan.refused)
        failed: Counter[str] = Counter()
        made = recompute(self._settings, self._embedder, part.number, records, seen, failed=failed)
        self._without_vector += failed.total()
        if not self._accept and (gone := differences(part.number, state.formers, made, failed)):
            raise MigrationError(
                f"{len(gone):,} users of {self._topics.events}[{part.number}] have fewer events "
                "than a moment ago: retention removes records while they are read; make it longer "
                "and run 'segmenter migrate' again"
            )
        known = OffsetMetadata.read(part.metadata)
        metadata = known.model_copy(update={"partitions": len(plan.partitions)}).write()
        offset = TopicPartition(self._topics.events, part.number, part.committed or 0, metadata)
        for chunk in chunks(list(state.formers.values()), self._settings.batch.reassign_users):
            outputs = self._outputs(part.number, chunk, made, state, plan.sample_threshold)
            writer.write(outputs, [offset], workers)
        return state.table

    def _outputs(
        self,
        partition: int,
        chunk: Sequence[Former],
        made: ProfileTable,
        state: PartitionState,
        threshold: float,
    ) -> list[Output]:
        """Give what a worker would write of these users, and take them into the state."""
        identity, users = self._embedder.identity, [former.record.user_id for former in chunk]
        fresh = made.gather(users)
        for row, former in enumerate(chunk):
            fresh.load_record(row, former.migrated(fresh.to_record(row, identity)))
            fresh.extra[row] = former.extra
        state.table.put(fresh)
        rows = state.table.gather(users)
        known = {row for row, weight in enumerate(rows.weights) if weight > 0}
        self._without_history += len(users) - len(known)
        writer = ProfileWriter(self._topics, identity, self._settings.labels.enabled)
        return [
            *writer.states(partition, rows),
            *writer.samples(rows, threshold, moved=known),
        ]

    def _remove_former_samples(self, writer: Writer, trainers: SoleMember) -> None:
        """Write tombstones for samples of other models that none of the new one has replaced."""
        users = sorted(read_feed(self._settings, self._embedder.identity).former)
        for chunk in chunks(users, self._settings.batch.reassign_users):
            outputs = [Output(self._topics.samples, user.encode(), None) for user in chunk]
            writer.write(outputs, [self._end_of_samples()], trainers)

    def _switch(
        self,
        model: SegmentModel | None,
        plan: Plan,
        writer: Writer,
        trainers: SoleMember,
    ) -> None:
        """Publish the segment model, and put the trainers behind all samples."""
        outputs: list[Output] = []
        if model is not None:
            former, at = plan.feed.model, datetime.now(UTC)
            told = lifecycle_events(model, former, at)
            source = self._settings.kafka.group_id
            outputs = version_outputs(model, former, told, self._topics, source)
            versions = KeptVersions(self._settings)
            for record in plan.feed.versions:
                versions.load(record)
            # Nothing was learned, so no settings of learning are told.
            outputs += versions.keep(model, former, VersionOrigin.MIGRATION, at, settings={})
        # Behind all samples: what lies before comes back as the trainer's state, superseded ones
        # left out; as input, samples of two models would stop it.
        writer.write(outputs, [self._end_of_samples()], trainers)

    def _end_of_samples(self) -> TopicPartition:
        cluster, topic = Cluster(self._settings.kafka), self._topics.samples
        known = cluster.committed(trainer_group(self._settings.kafka), topic, [0])[0]
        return TopicPartition(topic, 0, cluster.end(topic, 0), known.metadata or "")

    def _nobody_left(self, model: SegmentModel) -> MigrationError:
        return MigrationError(
            f"no event is left by which the segments of model {model.version} could be placed: "
            "run the former embedding model, or begin anew with a new kafka.group_id and new topics"
        )
