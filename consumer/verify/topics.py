"""Audits what a group of workers wrote to Kafka."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from confluent_kafka import Message
from pydantic import ValidationError

from consumer.kafka.asking import REQUEST_SECONDS
from consumer.settings import Settings, TopicSettings
from consumer.verify import invariants
from consumer.verify.cut import Cut, Span, TopicReader
from consumer.verify.decode import read_change, read_profile
from consumer.verify.embeddings import EmbeddingTally
from consumer.verify.facts import LatestChange, ProfileFacts
from consumer.verify.invariants import Chains, ProfileSums
from consumer.verify.lifecycle import check_lifecycle
from consumer.verify.lookups import outputs_of, partitions_of
from consumer.verify.messages import changes_in, latest_in, lifecycle_in, refused_in
from consumer.verify.report import Counts, VerifyResult, ViolationKind, Violations
from consumer.verify.split import SplitUsers
from schemas.base import claimed_schema
from schemas.errors import first_problem
from schemas.segment_model import (
    SEGMENT_MODEL_KEY,
    SEGMENT_MODEL_SCHEMA,
    SegmentModelRecord,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


def verify_topics(
    settings: Settings,
    *,
    attempts: int = 3,
    stall_seconds: float = 60.0,
    request_seconds: float = REQUEST_SECONDS,
) -> VerifyResult:
    """Audit a group's topics as of one moment.

    A group that is at work while it is audited moves on between two topics; then the audit is made
    again, and is inconclusive when that does not help. What is found within `segment-changes` alone
    counts all the same, since a beginning of a log is a state of it.

    Parameters
    ----------
    settings
        Of the workers. Their group is neither joined nor changed.
    attempts
        How often to read while the group moves.
    stall_seconds
        How long to wait for progress; longer than the workers' transaction timeout, since records
        behind an open transaction cannot be read.
    request_seconds
        How long to ask which topics there are.

    Raises
    ------
    VerifyError
        If the topics are not there or cannot be read.
    """
    topics = settings.topics
    outputs = outputs_of(topics)
    with TopicReader(settings, settings.kafka.group_id, stall_seconds=stall_seconds) as reader:
        attempt = 0
        while True:
            attempt += 1
            partitions = partitions_of(settings, (topics.events, *outputs), seconds=request_seconds)
            cut = _take_cut(reader, topics, partitions)
            audit = _TopicAudit(reader, settings, cut)
            audit.run()
            moved = cut.moved(_take_cut(reader, topics, partitions), outputs)
            if moved is None:
                return audit.result()
            logger.info("attempt %d of %d: the group is moving: %s", attempt, attempts, moved)
            if attempt >= attempts:
                return audit.result_of_moving_group(moved, attempt)


def _take_cut(
    reader: TopicReader, topics: TopicSettings, partitions: Mapping[str, list[int]]
) -> Cut:
    def spans(*names: str) -> dict[str, dict[int, Span]]:
        return reader.spans({name: partitions[name] for name in names if name in partitions})

    group = reader.committed(topics.events, partitions[topics.events])
    found = spans(*outputs_of(topics), topics.lifecycle)
    # The models last: whatever model a change was decided by, or made a segment, it is then part of
    # the cut. New events and new models may come in while the audit runs; they change no output by
    # themselves.
    found |= spans(topics.events, topics.models)
    labels = partitions.get(topics.labels)
    beside = reader.committed(topics.labels, labels).metadata if labels else {}
    return Cut(group.offsets, found, group.metadata, beside)


class _TopicAudit:
    """One pass over the topics up to a cut."""

    def __init__(self, reader: TopicReader, settings: Settings, cut: Cut) -> None:
        self._reader = reader
        self._group_id = settings.kafka.group_id
        self._topics = settings.topics
        self._cut = cut
        # Of the changes alone, and of what lies between topics and needs one moment of all.
        self._in_changes = Violations()
        self._between = Violations()
        self._embeddings = EmbeddingTally()
        self._split = SplitUsers()
        self._unchecked: list[str] = []
        self._notes: list[str] = []
        self._unproven: str | None = None
        self._counts = Counts()

    def run(self) -> None:
        """Read every topic once."""
        topics, cut = self._topics, self._cut
        profiles = self._profiles()
        self._in_changes.ignored = self._between.ignored = self._split.users
        changes_lost = cut.beginning_lost(topics.changes)
        spans = cut.spans[topics.changes]
        seen = changes_in(self._read(topics.changes), topics.changes, spans, self._in_changes)
        chains = invariants.follow_chains(seen, self._in_changes, self._embeddings)
        if changes_lost:
            self._unchecked.append(
                f"the beginning of chains: retention has removed the oldest records of "
                f"{topics.changes}; {chains.cut_off:,} users' first changes are not there"
            )
        if later := chains.later.untold():
            self._unchecked.append(later)
        standings = invariants.compare_memberships(
            self._memberships().items(), chains, self._between, beginning_lost=changes_lost
        )
        sums = invariants.compare_profiles(
            profiles.items(), standings, self._between, self._embeddings, chains.labels
        )
        letters = refused_in(self._read(topics.dead_letters), topics.dead_letters, self._between)
        # Of other topics than the input are those of intake, which has an audit of its own.
        letters = (each for each in letters if each is None or each[0] != topics.raw_events)
        anew = {n for n, metadata in cut.metadata.items() if metadata.begun_anew}
        refused = invariants.count_dead_letters(letters, topics.dead_letters, self._between, anew)
        self._check_model(chains)
        self._embeddings.report(self._between)
        self._counts = Counts(
            accepted=sums.accepted,
            repeated=sums.repeated,
            refused=refused,
            changes=chains.count,
            users=sums.users,
            members=sums.members,
            lag=self._lag(),
            lost=self._lost(),
        )
        if self._split.users:
            self._report_split()
        elif None in profiles.values():
            self._not_balanced(
                f"profiles on {topics.profiles} cannot be read, so their events are not known"
            )
        else:
            self._check_balance(sums, refused)

    def result(self) -> VerifyResult:
        """Give the outcome for a group that stood still."""
        violations = Violations()
        violations.extend(self._in_changes)
        violations.extend(self._between)
        return self._result(violations, self._unproven)

    def result_of_moving_group(self, moved: str, attempts: int) -> VerifyResult:
        """Give the outcome for a group that never stood still."""
        reason = (
            f"the group is moving, the cut is not consistent: in each of {attempts} attempts it "
            f"wrote while it was read (in the last one {moved}); stop the workers or the input, "
            "then run it again"
        )
        return self._result(self._in_changes, reason)

    def _result(self, violations: Violations, inconclusive: str | None) -> VerifyResult:
        return VerifyResult(
            source=f"group {self._group_id}, topics {', '.join(outputs_of(self._topics))}",
            counts=self._counts,
            violations=tuple(violations.first),
            violations_by_kind=dict(violations.by_kind),
            unchecked=tuple(self._unchecked),
            notes=tuple(self._notes),
            inconclusive=inconclusive,
        )

    # --- the topics -------------------------------------------------------------------------

    def _read(self, topic: str) -> Iterator[Message]:
        return self._reader.read(topic, self._cut.spans[topic])

    def _memberships(self) -> dict[str, LatestChange | None]:
        def parse(value: bytes) -> tuple[str, LatestChange]:
            change = read_change(value)
            return change.user_id, LatestChange.of(change)

        return self._latest(self._topics.memberships, parse)

    def _profiles(self) -> dict[str, ProfileFacts | None]:
        def parse(value: bytes) -> tuple[str, ProfileFacts]:
            profile = read_profile(value)
            return profile.user_id, ProfileFacts.of(profile)

        messages = self._split.watch(self._read(self._topics.profiles))
        return self._latest(self._topics.profiles, parse, messages)

    def _latest(
        self,
        topic: str,
        parse: Callable[[bytes], tuple[str, T]],
        messages: Iterable[Message] | None = None,
    ) -> dict[str, T | None]:
        messages = self._read(topic) if messages is None else messages
        latest = latest_in(messages, topic, parse, self._between)
        if latest.removed:
            self._notes.append(f"tombstones have removed {len(latest.removed):,} users of {topic}")
        return latest.values

    def _model(self) -> SegmentModelRecord | None:
        topic, value = self._topics.models, None
        if topic in self._cut.spans:
            for message in self._read(topic):
                if message.key() == SEGMENT_MODEL_KEY:
                    value = message.value()
        if value is None:
            self._unchecked.append(f"that segments exist: there is no segment model on {topic}")
            return None
        try:
            return SegmentModelRecord.model_validate_json(value)
        except ValidationError as error:
            if (schema := claimed_schema(value)) > SEGMENT_MODEL_SCHEMA:
                self._unchecked.append(
                    f"that segments exist: the latest segment model is of schema {schema}, this "
                    f"version knows {SEGMENT_MODEL_SCHEMA}"
                )
                return None
            self._between.add(
                ViolationKind.MALFORMED,
                topic,
                f"the latest model cannot be read: {first_problem(error)}",
            )
            self._unchecked.append("that segments exist: the latest segment model cannot be read")
            return None

    # --- the sums ---------------------------------------------------------------------------

    def _check_model(self, chains: Chains) -> None:
        model = self._model()
        if model is not None:
            self._embeddings.add_model(model.embedding, model.version, self._topics.models)
            if reason := invariants.check_segments(chains, model, self._between):
                self._unchecked.append(reason)
        if (topic := self._topics.lifecycle) in self._cut.spans:
            check_lifecycle(
                lifecycle_in(self._read(topic), topic, self._in_changes),
                model,
                topic,
                self._between,
                beginning_lost=self._cut.beginning_lost(topic),
            )

    def _lag(self) -> int:
        """Count the records that wait; markers and aborted records take offsets, and wait for none.

        What lies behind an open transaction cannot be read yet, and counts by its offsets.
        """
        topic, open_offsets = self._topics.events, 0
        waiting: dict[int, Span] = {}
        numbers = list(self._cut.spans[topic])
        stable = self._reader.spans({topic: numbers}, stable=True)[topic]
        for partition, span in self._cut.spans[topic].items():
            start = max(span.low, self._cut.committed[partition] or 0)
            readable = min(span.end, stable[partition].end)
            waiting[partition] = Span(start, max(start, readable))
            open_offsets += max(0, span.end - max(start, readable))
        lag = sum(1 for _ in self._reader.read(topic, waiting)) + open_offsets
        if lag:
            self._notes.append(f"records of {topic} that wait for the group: {lag:,}")
        return lag

    def _lost(self) -> int | None:
        """Tell what the group never read, by what it has committed; None where there is nothing."""
        lost = None
        topics = (self._topics.events, self._cut.metadata), (self._topics.labels, self._cut.labels)
        for topic, by_partition in topics:
            for partition, metadata in sorted(by_partition.items()):
                self._notes += metadata.losses(f"{topic}[{partition}]")
                for loss in metadata.lost.values():
                    lost = (lost or 0) + loss.records
        return lost

    def _check_balance(self, sums: ProfileSums, refused: int) -> None:
        if reason := self._balance_obstacle(sums, refused):
            self._not_balanced(reason)
            return
        topic = self._topics.events
        done = {
            partition: Span(
                max(span.low, self._first(partition)), self._cut.committed[partition] or 0
            )
            for partition, span in self._cut.spans[topic].items()
        }
        records = sum(1 for _ in self._reader.read(topic, done))
        self._counts = replace(self._counts, records=records)
        invariants.check_balance(
            topic,
            self._between,
            records=records,
            accepted=sums.accepted,
            repeated=sums.repeated,
            refused=refused,
        )

    def _report_split(self) -> None:
        topic = self._topics.events
        spans = self._cut.spans[topic]
        self._split.report(self._read(topic), topic, len(spans), self._in_changes)
        self._not_balanced("profiles of users in several partitions do not add up")

    def _first(self, partition: int) -> int:
        """Give where the group began; the beginning, where an earlier version did not say."""
        metadata = self._cut.metadata.get(partition)
        return (metadata.first if metadata else None) or 0

    def _not_balanced(self, reason: str) -> None:
        self._unchecked.append(f"that input = accepted + repeated + refused: {reason}")

    def _balance_obstacle(self, sums: ProfileSums, refused: int) -> str | None:
        """Say why the input cannot be compared with the outputs, None when it can."""
        topics, cut = self._topics, self._cut
        if all(offset is None for offset in cut.committed.values()) and (sums.users or refused):
            # Nobody can tell a wrong name from a group that lost its offsets: no result either way.
            self._unproven = (
                f"group {self._group_id!r} has committed no offset of {topics.events}, though "
                "there are outputs: check the group's name; a group without members forgets its "
                "offsets after offsets.retention.minutes"
            )
            return "the group has committed no offset"
        if cut.beginning_lost(topics.dead_letters):
            return f"retention has removed the oldest records of {topics.dead_letters}"
        for partition, span in cut.spans[topics.events].items():
            if span.low > self._first(partition):
                return f"retention has removed the oldest records of {topics.events}"
            if (metadata := cut.metadata.get(partition)) is not None and metadata.begun_anew:
                return (
                    f"{topics.events} was made anew or truncated since the group began, so that "
                    "records which it has read are not there"
                )
            committed = cut.committed[partition] or 0
            if committed > span.end:
                return (
                    f"the group has committed offset {committed} of {topics.events}[{partition}], "
                    f"which ends at {span.end}: the topic was made anew or truncated"
                )
        return None
