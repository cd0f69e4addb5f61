"""One run of the reset: look, then do.

The order, and what a crash leaves at each point:

1. Look: where the group is, where it is to go, of how many users something is known. Nothing is
   written.
2. Join the group as its only member, and commit its offsets as they are with a mark beside each,
   all in one transaction. From here on no worker starts: it finds the mark and says what to do.
3. Partition after partition: each user's state becomes what the user keeps, `batch.reassign_users`
   users in a transaction. Then the samples: null for each. A crash leaves some users as they were.
   Run again, it goes over all of them once more, which changes nobody twice.
4. The new offsets, without the mark, in one transaction. A crash before leaves the mark.

Each transaction carries the group's generation, as a worker's does, so that none goes through once
somebody else has joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition

from consumer.contract.errors import ExpectedError
from consumer.contract.records import Output
from consumer.kafka.asking import words
from consumer.kafka.cluster import Cluster
from consumer.kafka.groups import trainer_group
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.kafka.topics import check_topics
from consumer.migrate.feed import offset_of
from consumer.migrate.group import Members
from consumer.migrate.member import SoleMember
from consumer.migrate.recompute import chunks
from consumer.migrate.writer import Writer
from consumer.reset.standing import emptied
from consumer.reset.target import Target
from consumer.settings import Settings
from schemas.binary import RecordError


class ResetError(ExpectedError):
    """The reset is refused or cannot go on; running it again is always safe."""


@dataclass(frozen=True)
class Plan:
    """What a reset would do.

    Attributes
    ----------
    committed, targets
        Where the group is in each partition, None where it never was; and where it goes.
    users, samples
        Records of users on the changelog, and of sampled ones on the trainer's feed.
    members
        Of each group that must have none.
    unfinished
        Whether an earlier reset did not come to its end.
    """

    committed: dict[int, int | None]
    targets: dict[int, int]
    users: int
    samples: int
    members: dict[str, int]
    unfinished: bool

    @property
    def again(self) -> int:
        """Offsets that will be read again."""
        moves = ((self.committed[n] or 0) - target for n, target in self.targets.items())
        return sum(max(move, 0) for move in moves)

    @property
    def skipped(self) -> int:
        """Offsets that will not be read."""
        moves = (target - (self.committed[n] or 0) for n, target in self.targets.items())
        return sum(max(move, 0) for move in moves)


class Reset:
    """One run of the command.

    Parameters
    ----------
    settings
        Of the workers.
    target
        Where the group is to go.
    members, member, writer
        Look at the groups, and make the membership and the writer.
    """

    def __init__(
        self,
        settings: Settings,
        target: Target,
        *,
        members: Members | None = None,
        member: Callable[..., SoleMember] = SoleMember,
        writer: Callable[..., Writer] = Writer,
    ) -> None:
        self._settings = settings
        self._topics = settings.topics
        self._target = target
        self._cluster = Cluster(settings.kafka)
        self.groups = (settings.kafka.group_id, trainer_group(settings.kafka))
        self.members = members or Members(settings.kafka)
        self._member = member
        self._writer = writer

    def look(self) -> Plan:
        """Find out what there is to do.

        Raises
        ------
        ResetError, TopicError, ReadStalledError
            If the topics cannot be read, or do not fit each other.
        """
        try:
            count = check_topics(self._settings, self._cluster)[self._topics.events]
            places = self._places(count)
            committed = {place.partition: offset_of(place) for place in places}
            return Plan(
                committed=committed,
                targets=self._target.offsets(self._cluster, self._topics.events, committed),
                users=sum(len(self._latest(self._topics.profiles, n)) for n in range(count)),
                samples=len(self._latest(self._topics.samples, 0)),
                members=self.members.counts(self.groups),
                unfinished=any(OffsetMetadata.read(each.metadata).resetting for each in places),
            )
        except KafkaException as error:
            raise ResetError(f"the group cannot be looked at: {words(error)}") from error

    def run(self, plan: Plan, step: Callable[[int], None]) -> None:
        """Do it; `step` is told of users that are done.

        Raises
        ------
        ResetError, MigrationError, FatalKafkaError
            If the group is not this command's alone, or nothing can be written.
        """
        kafka, count = self._settings.kafka, len(plan.targets)
        with ExitStack() as stack:
            group = stack.enter_context(
                self._member(kafka, kafka.group_id, self._topics.events, count, command="reset")
            )
            writer = self._writer(kafka, (group,), command="reset")
            stack.callback(writer.close)
            places = self._places(count)
            if any(plan.committed[place.partition] != offset_of(place) for place in places):
                raise ResetError(
                    f"group {kafka.group_id!r} has moved since it was looked at: stop all workers "
                    "and run 'segmenter reset' again"
                )
            known = {each.partition: OffsetMetadata.read(each.metadata) for each in places}
            marked = [
                self._place(number, plan.committed[number] or 0, metadata, resetting=True)
                for number, metadata in known.items()
            ]
            writer.write([], marked, group)
            for number in range(count):
                for outputs in self._emptied(number):
                    writer.write(outputs, [marked[number]], group)
                    step(sum(each.topic == self._topics.profiles for each in outputs))
            for keys in self._several(list(self._latest(self._topics.samples, 0))):
                nulls = [Output(self._topics.samples, key, None) for key in keys]
                writer.write(nulls, marked[:1], group)
            ends = [
                self._place(
                    *(number, target, known[number]),
                    resets=known[number].resets + 1,
                    resetting=False,
                    first=target,
                )
                for number, target in plan.targets.items()
            ]
            writer.write([], ends, group)

    def _emptied(self, number: int) -> Iterator[list[Output]]:
        topic, keep = self._topics.profiles, self._settings.profile.inactive_after is not None
        latest = self._latest(topic, number)
        users = self._settings.recommendations.users
        for_users = self._topics.user_recommendations if users else None
        for keys in self._several(list(latest)):
            several = {key: latest[key] for key in keys}
            try:
                yield emptied(topic, number, several, keep_times=keep, for_users=for_users)
            except RecordError as error:
                raise ResetError(
                    f"a record of {topic}[{number}] cannot be read: {error}; the group is marked "
                    "and does not start: run 'segmenter reset' of the version that has written it"
                ) from error

    def _several(self, keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        return chunks(keys, self._settings.batch.reassign_users)

    def _latest(self, topic: str, partition: int) -> dict[bytes, bytes]:
        """Give each key's latest value, of those that have one."""
        found: dict[bytes, bytes] = {}
        for records in self._cluster.read_columns(
            topic,
            partition,
            no_progress_seconds=self._settings.restore.no_progress_seconds,
        ):
            for key, value in zip(records.keys, records.values, strict=True):
                if key is not None and value is not None:
                    found[key] = value
                else:
                    found.pop(key or b"", None)
        return found

    def _places(self, count: int) -> list[TopicPartition]:
        return self._cluster.committed(
            self._settings.kafka.group_id,
            self._topics.events,
            range(count),
            wait_seconds=self._settings.restore.no_progress_seconds,
        )

    def _place(
        self, number: int, offset: int, known: OffsetMetadata, **changes: object
    ) -> TopicPartition:
        text = known.model_copy(update=changes).write()
        return TopicPartition(self._topics.events, number, offset, text)
