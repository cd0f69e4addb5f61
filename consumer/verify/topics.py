"""Audits what a group of workers wrote to Kafka."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from consumer.contract.records import Record
from consumer.kafka.asking import REQUEST_SECONDS
from consumer.kafka.groups import intake_group, recommender_group, rules_group
from consumer.settings import Settings, TopicSettings
from consumer.settings.agreed import apart
from consumer.verify import decode
from consumer.verify.cut import Cut, Span, TopicReader
from consumer.verify.decode import Source, State, Told, V
from consumer.verify.engine import Sums
from consumer.verify.for_users import audit_for_users
from consumer.verify.intake import audit_intake
from consumer.verify.items import audit_items
from consumer.verify.ledger import UNREADABLE_MEMBERSHIP, UNREADABLE_PROFILE
from consumer.verify.lifecycle import check_lifecycle, check_segment_states
from consumer.verify.lookups import outputs_of, partitions_of
from consumer.verify.report import VerifyResult, ViolationKind
from consumer.verify.rule_topics import audit_rules, outputs_of_rules
from consumer.verify.split import split_users
from consumer.verify.versions import VersionAudit
from consumer.verify.whole import WholeAudit
from schemas.changes import SegmentChange
from schemas.lifecycle import LifecycleEvent, lifecycle_headers
from schemas.segment_model import SEGMENT_MODEL_KEY

logger = logging.getLogger(__name__)


def verify_topics(
    settings: Settings,
    *,
    intake: bool = False,
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
    intake
        Whether to audit the group's intake besides, where there is one.
    attempts
        How often to read while the group moves, once at least.
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
    group_id = settings.kafka.group_id
    with closing(TopicReader(settings, group_id, stall_seconds=stall_seconds)) as reader:
        for attempt in range(1, attempts + 1):
            partitions = partitions_of(settings, (topics.events, *outputs), seconds=request_seconds)
            cut = _take_cut(reader, topics, partitions)
            audit = _TopicAudit(reader, settings, cut)
            audit.run()
            moved = cut.moved(_take_cut(reader, topics, partitions), outputs)
            if moved is None:
                break
            logger.info("attempt %d of %d: the group is moving: %s", attempt, attempts, moved)
    if intake and topics.raw_events is not None:
        partitions = partitions_of(
            settings,
            [topics.raw_events],
            seconds=request_seconds,
            otherwise="check topics.raw_events",
        )
        group_id = intake_group(settings.kafka)
        with closing(TopicReader(settings, group_id, stall_seconds=stall_seconds)) as reader:
            audit_intake(reader, topics.raw_events, topics, partitions, audit)
    if settings.recommendations.users:
        _audit_for_users(settings, audit, stall_seconds, request_seconds)
    if settings.recommendations.enabled:
        _audit_items(settings, audit, stall_seconds, request_seconds)
    if settings.rules.enabled:
        _audit_rules(settings, audit, stall_seconds, request_seconds)
    return audit.outcome(moved, attempts)


def _audit_for_users(
    settings: Settings, audit: WholeAudit, stall_seconds: float, request_seconds: float
) -> None:
    names = (settings.topics.profiles, settings.topics.user_recommendations)
    partitions = partitions_of(settings, names, seconds=request_seconds)
    group_id = settings.kafka.group_id
    with closing(TopicReader(settings, group_id, stall_seconds=stall_seconds)) as reader:
        audit_for_users(reader, settings, partitions, audit)


def _audit_rules(
    settings: Settings, audit: WholeAudit, stall_seconds: float, request_seconds: float
) -> None:
    names = (settings.topics.events, *outputs_of_rules(settings.topics))
    partitions = partitions_of(settings, names, seconds=request_seconds)
    group_id = rules_group(settings.kafka)
    with closing(TopicReader(settings, group_id, stall_seconds=stall_seconds)) as reader:
        audit_rules(reader, settings, partitions, audit)


def _audit_items(
    settings: Settings, audit: WholeAudit, stall_seconds: float, request_seconds: float
) -> None:
    topics, kafka = settings.topics, settings.kafka
    names = (
        *(topics.item_events, topics.item_profiles, topics.recommendation_parts),
        *(topics.segment_recommendations, topics.events, topics.dead_letters),
    )
    partitions = partitions_of(settings, names, seconds=request_seconds)
    with (
        closing(TopicReader(settings, kafka.group_id, stall_seconds=stall_seconds)) as workers,
        closing(
            TopicReader(settings, recommender_group(kafka), stall_seconds=stall_seconds)
        ) as reader,
    ):
        audit_items(workers, reader, settings, partitions, audit)


def _take_cut(
    reader: TopicReader, topics: TopicSettings, partitions: Mapping[str, list[int]]
) -> Cut:
    def spans(*names: str) -> dict[str, dict[int, Span]]:
        return reader.spans({name: partitions[name] for name in names if name in partitions})

    group = reader.group(topics.events, partitions[topics.events])
    found = spans(*outputs_of(topics), topics.lifecycle, topics.segments, topics.model_versions)
    # The models last: whatever model a change was decided by, or made a segment, it is then part of
    # the cut. New events and new models may come in while the audit runs; they change no output by
    # themselves.
    found |= spans(topics.events, topics.models)
    labels = partitions.get(topics.labels)
    beside = reader.group(topics.labels, labels).metadata if labels else {}
    return Cut(group.offsets, found, group.metadata, beside)


class _TopicAudit(WholeAudit):
    """One pass over the topics up to a cut."""

    def __init__(self, reader: TopicReader, settings: Settings, cut: Cut) -> None:
        self._topics = topics = settings.topics
        super().__init__(
            beginning_lost=cut.beginning_lost(topics.changes),
            begun_anew={n for n, metadata in cut.metadata.items() if metadata.begun_anew},
        )
        self._reader = reader
        self._group_id = settings.kafka.group_id
        self._lets_go = settings.profile.inactive_after is not None
        self._cut = cut
        self._unproven: str | None = None
        self._versions = VersionAudit(topics.model_versions, self.between)

    def run(self) -> None:
        """Read every topic once."""
        engine, topics, spans = self.engine, self._topics, self._cut.spans
        # Profiles first: of users in several partitions nothing else is looked at.
        for record, profile in self._states(topics.profiles, decode.profile, UNREADABLE_PROFILE):
            partition = None if record.value is None else record.partition
            engine.profile(profile.user, profile.facts, partition=partition)
        self._read_versions()
        for record in self._read(topics.changes):
            if told := decode.change_in(record, self.in_changes):
                self.in_changes.add_all(told.event.user_id, self._versions.change(told.event))
                lost = spans[topics.changes][record.partition].low > 0
                engine.change(told, decode.canonical(told.event), beginning_lost=lost)
        if engine.beginning_lost:
            self.unchecked.append(
                f"the beginning of chains: retention has removed the oldest records of "
                f"{topics.changes}; {engine.cut_off:,} users' first changes are not there"
            )
        for _, membership in self._states(
            topics.memberships, decode.membership, UNREADABLE_MEMBERSHIP
        ):
            engine.membership(membership.user, membership.facts)
        for source in self._refused():
            # Of other topics than the input are those of intake, which has an audit of its own.
            if source is None or source[0] != topics.raw_events:
                engine.dead_letters.add(source, topics.dead_letters)
        self._check_segments()
        self.unchecked += self._versions.unchecked()
        sums = self.finish(self._changes)
        self.counts = replace(self.counts, lag=self._lag(), lost=self._lost())
        self._tell_settings()
        if engine.split:
            events = self._read(topics.events)
            partitions = len(spans[topics.events])
            findings = split_users(len(engine.split), engine.placed, events, partitions)
            self.in_changes.add_all(topics.events, findings)
            self.not_balanced("profiles of users in several partitions do not add up")
        elif engine.let_go or self._lets_go:
            self.not_balanced("users who fell silent were let go, with what was counted of them")
        elif sums.unreadable:
            self.not_balanced(
                f"profiles on {topics.profiles} cannot be read, so their events are not known"
            )
        elif reason := self._balance_obstacle(sums):
            self.not_balanced(reason)
        else:
            self._check_balance(sums)

    def outcome(self, moved: str | None = None, attempts: int = 1) -> VerifyResult:
        """Give the outcome, of a group that moved in all attempts or stood still."""
        reason = self._unproven
        if moved is not None:
            reason = (
                f"the group is moving, the cut is not consistent: in each of {attempts} attempts "
                f"it wrote while it was read (in the last one {moved}); stop the workers or the "
                "input, then run it again"
            )
        return self.result(
            f"group {self._group_id}, topics {', '.join(outputs_of(self._topics))}",
            inconclusive=reason,
            in_changes_alone=moved is not None,
        )

    # --- the topics -------------------------------------------------------------------------

    def _read(self, topic: str) -> Iterator[Record]:
        return self._reader.read(topic, self._cut.spans[topic])

    def _changes(self) -> Iterator[SegmentChange]:
        """Give the changes that can be read, once more."""
        for record in self._read(self._topics.changes):
            with suppress(decode.MalformedError):
                yield decode.read(SegmentChange, record.value)

    def _states(
        self, topic: str, read: decode.ReadState[V], unreadable: V
    ) -> Iterator[tuple[Record, State[V]]]:
        """Read a compacted topic. A value that cannot be read counts until a later one comes."""
        faults: dict[str, str] = {}
        removed: set[str] = set()
        for record in self._read(topic):
            state = decode.state_in(record, read, unreadable, self.between)
            if state is None:
                continue
            faults.pop(state.user, None)
            removed.discard(state.user)
            if state.fault is not None:
                faults[state.user] = state.fault
            elif state.facts is None:
                removed.add(state.user)
            yield record, state
        for fault in faults.values():
            self.between.add(ViolationKind.MALFORMED, topic, fault)
        if removed:
            self.notes.append(f"tombstones have removed {len(removed):,} users of {topic}")

    def _refused(self) -> Iterator[Source | None]:
        for record in self._read(topic := self._topics.dead_letters):
            place = record.place
            yield decode.attempt(partial(decode.refused_in, record), place, topic, self.between)

    def _read_versions(self) -> None:
        # Not there before `segmenter topics create` of this release.
        if (topic := self._topics.model_versions) in self._cut.spans:
            for record in self._read(topic):
                self._versions.add(record.key, record.value, record.place)

    def _check_segments(self) -> None:
        topic, value = self._topics.models, None
        if topic in self._cut.spans:
            for record in self._read(topic):
                if record.key == SEGMENT_MODEL_KEY:
                    value = record.value
        model = self.check_segments(
            value, topic, "the latest segment model", f"segment model on {topic}"
        )
        self._versions.check_model(model)
        if (topic := self._topics.lifecycle) in self._cut.spans:
            lost = self._cut.beginning_lost(topic)
            lives = self._lives(topic)
            check_lifecycle(lives, model, topic, self.between, beginning_lost=lost)
        if (topic := self._topics.segments) in self._cut.spans:
            states: dict[str, bytes] = {}
            for record in self._read(topic):
                key = (record.key or b"").decode(errors="replace")
                if record.value is None:
                    states.pop(key, None)
                else:
                    states[key] = record.value
            if reason := check_segment_states(states, model, topic, self.between):
                self.unchecked.append(f"{topic}: {reason}")

    def _lives(self, topic: str) -> Iterator[Told[LifecycleEvent]]:
        for record in self._read(topic):
            place = record.place
            read = partial(decode.event_in, record, LifecycleEvent, lifecycle_headers)
            if told := decode.attempt(read, place, topic, self.in_changes):
                yield told

    # --- the sums ---------------------------------------------------------------------------

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
            self.notes.append(f"records of {topic} that wait for the group: {lag:,}")
        return lag

    def _lost(self) -> int | None:
        """Tell what the group never read, by what it has committed; None where there is nothing."""
        lost = None
        topics = (self._topics.events, self._cut.metadata), (self._topics.labels, self._cut.labels)
        for topic, by_partition in topics:
            for partition, metadata in sorted(by_partition.items()):
                self.notes += metadata.losses(f"{topic}[{partition}]")
                for loss in metadata.lost.values():
                    lost = (lost or 0) + loss.records
        return lost

    def _tell_settings(self) -> None:
        """Tell of members of the group whose settings differ from those of the others."""
        settings = {number: each.settings for number, each in self._cut.metadata.items()}
        for told, partitions in apart(settings, "worker").items():
            self.notes.append(
                "the group's workers need the same settings: where "
                f"{self._topics.events}{partitions} were read last, {', '.join(told)}"
            )

    def _check_balance(self, sums: Sums) -> None:
        topic, cut = self._topics.events, self._cut
        done = {
            partition: Span(max(span.low, self._first(partition)), cut.committed[partition] or 0)
            for partition, span in cut.spans[topic].items()
        }
        self.balance(topic, sum(1 for _ in self._reader.read(topic, done)), sums)

    def _first(self, partition: int) -> int:
        """Give where the group began; the beginning, where an earlier version did not say."""
        metadata = self._cut.metadata.get(partition)
        return (metadata.first if metadata else None) or 0

    def _balance_obstacle(self, sums: Sums) -> str | None:
        """Say why the input cannot be compared with the outputs, None when it can."""
        topics, cut = self._topics, self._cut
        if all(offset is None for offset in cut.committed.values()) and (
            sums.users or self.engine.dead_letters.count
        ):
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
                    f"{topics.events} was made anew or truncated since the group began, or the "
                    "group was reset, so that records which it has read are not there or were read "
                    "again"
                )
            committed = cut.committed[partition] or 0
            if committed > span.end:
                return (
                    f"the group has committed offset {committed} of {topics.events}[{partition}], "
                    f"which ends at {span.end}: the topic was made anew or truncated"
                )
        return None
