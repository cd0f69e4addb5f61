"""What a migration would have to do, found out without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import TopicPartition

from consumer.contract.records import Record
from consumer.kafka.cluster import Cluster, OffsetGoneError
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import partition_counts
from consumer.migrate.changelog import Former, PartitionState
from consumer.migrate.errors import MigrationError
from consumer.migrate.feed import TrainerFeed, offset_of, read_feed, trainer_offset
from consumer.migrate.recompute import (
    NoVectors,
    Refused,
    Step,
    chunks,
    embedding_rate,
    read_refused,
    recompute,
)
from consumer.settings import Settings
from models.embedding.runner_types import Embedder
from models.profiles.table import ProfileTable
from schemas.keys import decode_key

# Enough texts that a slow first one does not decide, few enough to be done in some seconds.
_RATE_SAMPLE = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """A user whose events do not count up to what the changelog says."""

    user: str
    partition: int
    recorded: tuple[int, int]
    found: tuple[int, int]
    """Events and repeats, both."""


@dataclass(slots=True)
class PartitionPlan:
    """One partition of the input and its changelog.

    Attributes
    ----------
    number, committed, low, end
        The partition; the group's offset (None where it has none), and the bounds of its input.
    formers
        Users to be migrated, by their present embedding model.
    migrated
        Users of the new embedding model already.
    records
        Input records to be embedded again.
    metadata
        What is committed beside the group's offset.
    """

    number: int
    committed: int | None
    low: int
    end: int
    formers: Counter[str] = field(default_factory=Counter)
    migrated: int = 0
    records: int = 0
    metadata: str | None = None

    @property
    def start(self) -> int:
        """Where reading the input again begins; 0 for its beginning, wherever that is.

        Profiles rest on nothing before the place that a reset has sent the group to.
        """
        known = OffsetMetadata.read(self.metadata)
        first = known.first or 0
        return first if known.resets and first > self.low else 0

    @property
    def target(self) -> int:
        """Where reading the input again ends."""
        return min(self.committed or 0, self.end)


@dataclass(slots=True)
class Plan:
    """All that a migration has to do.

    Attributes
    ----------
    embedding
        The new embedding model.
    partitions, feed
        What is on the topics.
    refused
        The input's dead letters.
    differences
        Users whose history is not complete.
    rate
        Records embedded a second, measured on some of them; None where there are none.
    """

    embedding: str
    partitions: list[PartitionPlan]
    feed: TrainerFeed
    refused: Refused = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    rate: float | None = None

    @property
    def needed(self) -> bool:
        """Whether there is anything to migrate."""
        return self.users > 0 or self.feed.needs_migration(self.embedding)

    @property
    def sample_threshold(self) -> float:
        """Rank up to which a user's profile goes to the trainer."""
        return self.feed.model.sample_threshold if self.feed.model else 1.0

    @property
    def users(self) -> int:
        """Users to be migrated."""
        return self.formers.total()

    @property
    def formers(self) -> Counter[str]:
        """Users to be migrated, by their present embedding model."""
        return sum((part.formers for part in self.partitions), Counter[str]())

    @property
    def migrated(self) -> int:
        """Users of the new embedding model already."""
        return sum(part.migrated for part in self.partitions)

    @property
    def records(self) -> int:
        """Input records to be embedded again."""
        return sum(part.records for part in self.partitions)


class Survey:
    """Reads the topics of a group that stands still.

    Parameters
    ----------
    settings
        Of the workers.
    embedder
        The new model.
    """

    def __init__(self, settings: Settings, embedder: Embedder) -> None:
        self._settings = settings
        self._embedder = embedder
        self._cluster = Cluster(settings.kafka)

    def marks(self) -> Mapping[str, int | None]:
        """Give the offsets that must not move between the survey and the migration."""
        topics = self._settings.topics
        count = partition_counts(self._settings)[topics.events]
        found: dict[str, int | None] = {"trainer": trainer_offset(self._settings)}
        for number in range(count):
            found[f"committed {number}"] = offset_of(self._place(number))
            found[f"profiles {number}"] = self._cluster.end(topics.profiles, number)
        for topic in (topics.samples, topics.models):
            found[topic] = self._cluster.end(topic, 0)
        return found

    def look(self) -> Plan:
        """Find out which embedding models there are, and of whom.

        Raises
        ------
        MigrationError, StageError
            If a record cannot be read, or a reset is not done.
        ReadStalledError
            If a topic cannot be read to its end.
        """
        topics = self._settings.topics
        parts = []
        for number in range(partition_counts(self._settings)[topics.events]):
            # The offset first, then the state, as on a worker's restore.
            place = self._place(number)
            if OffsetMetadata.read(place.metadata).resetting:
                raise MigrationError(
                    f"a reset of group {self._settings.kafka.group_id!r} was begun and has not "
                    "come to its end: run 'segmenter reset --execute' again, with the options that "
                    "it had, and then 'segmenter migrate'"
                )
            state = self.state(number)
            part = PartitionPlan(
                number,
                offset_of(place),
                *self._cluster.watermarks(topics.events, number),
                migrated=len(state.table),
                metadata=place.metadata,
            )
            part.formers.update(former.record.embedding for former in state.formers.values())
            parts.append(part)
        feed = read_feed(self._settings, self._embedder.identity)
        return Plan(self._embedder.identity, parts, feed)

    def count(self, plan: Plan, step: Step) -> None:
        """Count every user's events again, without embedding them, and compare.

        Sets the plan's `records`, `refused` and `differences`, and its `rate` by `measure`.

        Raises
        ------
        MigrationError
            If the group has no offset where it has profiles.
        """
        plan.refused = read_refused(self._settings)
        for part in plan.partitions:
            if not part.formers:
                continue
            topic, number = self._settings.topics.events, part.number
            if part.committed is None:
                raise MigrationError(
                    f"group {self._settings.kafka.group_id!r} has committed no offset of "
                    f"{topic}[{number}], though it has {part.formers.total():,} profiles there: "
                    "check kafka.group_id; if its offsets have expired, set them to where it stood"
                )
            formers = self.state(number).formers
            read = 0

            def seen(size: int) -> None:
                nonlocal read
                read += size
                step(size)

            records = self.input_of(part, formers, plan.refused)
            counted = recompute(self._settings, NoVectors(plan.embedding), number, records, seen)
            part.records = read
            plan.differences += differences(number, formers, counted)
        self.measure(plan)

    def measure(self, plan: Plan) -> None:
        """Measure how fast this machine embeds; sets the plan's `rate`."""
        for part in plan.partitions:
            if not part.records:
                continue
            users = self.state(part.number).formers
            sample = next(chunks(self.input_of(part, users, plan.refused), _RATE_SAMPLE))
            plan.rate = embedding_rate(self._settings, self._embedder, sample)
            return

    def state(self, number: int) -> PartitionState:
        """Read a partition of the changelog to its end."""
        topic, settings = self._settings.topics.profiles, self._settings
        policy = settings.profile
        state = PartitionState(
            topic,
            number,
            self._embedder,
            policy.event_memory,
            policy.float16_limit,
            references=policy.references,
            items=settings.recommendations.items_kept,
        )
        for records in self._cluster.read_columns(
            topic,
            number,
            no_progress_seconds=settings.restore.no_progress_seconds,
        ):
            state.load_many(records)
        return state

    def input_of(
        self, part: PartitionPlan, users: Mapping[str, Former], refused: Refused
    ) -> Iterator[Record]:
        """Give the records that the former profiles of a partition's users rest on, in order."""
        form, left_out = self._settings.events.key, refused.get(part.number, set())
        records = self._cluster.read(
            self._settings.topics.events,
            part.number,
            part.target,
            start=part.start,
            no_progress_seconds=self._settings.restore.no_progress_seconds,
        )
        try:
            for record in records:
                user = None if record.key is None else decode_key(record.key, form)
                if user in users and record.offset not in left_out:
                    yield record
        except OffsetGoneError as error:
            raise MigrationError(
                f"{error}: retention removes records while they are read; make it longer and run "
                "'segmenter migrate' again"
            ) from error

    def _place(self, number: int) -> TopicPartition:
        return self._cluster.committed(
            self._settings.kafka.group_id,
            self._settings.topics.events,
            [number],
            wait_seconds=self._settings.restore.no_progress_seconds,
        )[0]


def differences(
    partition: int,
    formers: Mapping[str, Former],
    counted: ProfileTable,
    failed: Mapping[str, int] | None = None,
) -> list[Difference]:
    """Compare what was counted again with what the changelog says.

    `failed` says how many records of a user were there and gave no vector. Whether such a record
    was an event or the repeat of one is not known: only their sum has to fit then.
    """
    found = []
    rows = counted.gather(list(formers))
    counts = zip(rows.events.tolist(), rows.repeats.tolist(), strict=True)
    for (user, former), now in zip(formers.items(), counts, strict=True):
        left_out = (failed or {}).get(user, 0)
        same = sum(now) + left_out == sum(former.counts) if left_out else now == former.counts
        if not same:
            found.append(Difference(user, partition, former.counts, now))
    return found
