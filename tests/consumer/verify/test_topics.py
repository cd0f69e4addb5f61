"""The auditor on a real Kafka: transactions, compaction, retention, and a group that moves."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import pytest
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.kafka.clients import ClientSettingsError
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.settings import Settings, TopicSettings
from consumer.verify import VerifyError, VerifyResult, ViolationKind, verify_topics
from consumer.verify import topics as topics_module
from consumer.verify.lookups import outputs_of
from schemas.base import Contract
from schemas.changes import SegmentChange, cloudevents_headers
from schemas.dead_letters import DeadLetter, dead_letter_headers
from schemas.lifecycle import LifecycleEvent, TransitionType, lifecycle_headers
from schemas.profiles import ProfileRecord
from schemas.segment_model import SEGMENT_MODEL_KEY
from tests.consumer.verify.histories import (
    PARTITIONS,
    SEGMENTS,
    SOURCE,
    START,
    History,
    UserPath,
    binary_profile,
    history_of,
)

Kind = ViolationKind


class Broker(Protocol):
    """What these tests need of the `broker` fixture."""

    @property
    def bootstrap_servers(self) -> str: ...


@dataclass
class Deployment:
    """Topics of their own for one test, and the hand that writes what workers would."""

    servers: str
    group: str = field(default_factory=lambda: f"verify-{uuid.uuid4()}")

    def __post_init__(self) -> None:
        name = self.group
        self.topics = TopicSettings(
            events=f"{name}.events",
            dead_letters=f"{name}.dlq",
            changes=f"{name}.changes",
            memberships=f"{name}.memberships",
            profiles=f"{name}.profiles",
            models=f"{name}.models",
            lifecycle=f"{name}.lifecycle",
            segments=f"{name}.segments",
            model_versions=f"{name}.model-versions",
        )
        self.admin = AdminClient({"bootstrap.servers": self.servers})
        compacted = {self.topics.memberships, self.topics.profiles, self.topics.models}
        compacted.add(self.topics.segments)
        single = {self.topics.models, self.topics.lifecycle, self.topics.segments}
        new = [
            NewTopic(
                topic,
                num_partitions=1 if topic in single else PARTITIONS,
                replication_factor=1,
                config={"cleanup.policy": "compact" if topic in compacted else "delete"},
            )
            for topic in (
                self.topics.events,
                *outputs_of(self.topics),
                self.topics.models,
                self.topics.lifecycle,
                self.topics.segments,
            )
        ]
        for future in self.admin.create_topics(new).values():
            future.result(30)
        self.producer = self.new_producer()
        self.consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.group})
        self._next_offset: dict[int, int] = {}

    def close(self) -> None:
        self.consumer.close()

    def new_producer(self) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self.servers,
                "transactional.id": str(uuid.uuid4()),
                "transaction.timeout.ms": 60_000,
            }
        )
        producer.init_transactions(30)
        return producer

    # --- writing ----------------------------------------------------------------------------

    def send(
        self, topic: str, key: str | bytes, value: Contract | bytes | None, **more: Any
    ) -> None:
        data = value.model_dump_json().encode() if isinstance(value, Contract) else value
        self.producer.produce(topic, key=key, value=data, **more)

    def send_event(self, user: str) -> None:
        def delivered(_error: object, message: Any) -> None:
            self._next_offset[message.partition()] = message.offset() + 1

        self.send(self.topics.events, user, b"an event", on_delivery=delivered)

    def send_change(self, change: SegmentChange, **spoiled: bytes) -> None:
        headers = {**dict(cloudevents_headers(change, SOURCE)), **spoiled}
        self.send(self.topics.changes, change.user_id, change, headers=list(headers.items()))
        self.send(self.topics.memberships, change.user_id, change)

    def send_profile(self, profile: ProfileRecord) -> None:
        self.send(self.topics.profiles, profile.user_id, binary_profile(profile))

    def send_dead_letter(self, letter: DeadLetter) -> None:
        headers = dead_letter_headers(
            letter.refusal,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            timestamp=letter.timestamp,
        )
        self.send(self.topics.dead_letters, b"\xff", b"\xff{", headers=headers)

    def send_offsets(self, told: Mapping[int, str] = MappingProxyType({})) -> None:
        places = [
            TopicPartition(self.topics.events, p, o, told.get(p, ""))
            for p, o in self._next_offset.items()
        ]
        metadata = self.consumer.consumer_group_metadata()
        self.producer.send_offsets_to_transaction(places, metadata, 30)

    def transaction(self, *, commit: bool = True) -> _Transaction:
        return _Transaction(self.producer, commit)

    def publish(self, history: History) -> None:
        """Write a history as a run would: input first, then batch by batch in transactions."""
        users = [user for user, profile in history.profiles.items() for _ in range(_input(profile))]
        users += ["refused"] * (history.records - len(users))
        for batch in _batches(users):
            with self.transaction():
                for user in batch:
                    self.send_event(user)
            with self.transaction(commit=False):
                self.producer.produce(self.topics.events, key="ann", value=b"never was")
        for changes in _batches(history.changes):
            with self.transaction(commit=False):
                for change in changes:
                    self.send_change(change.model_copy(update={"sequence": 99}))
                self.send_dead_letter_of_no_one()
            with self.transaction():
                for change in changes:
                    self.send_change(change)
                    # A state in between, replaced by a later record of the same key.
                    profile = history.profiles[change.user_id]
                    self.send_profile(profile.model_copy(update={"events": 0, "sequence": 77}))
        with self.transaction():
            for profile in history.profiles.values():
                self.send_profile(profile)
            for user, membership in history.memberships.items():
                self.send(self.topics.memberships, user, membership)
            for letter in history.dead_letters:
                self.send_dead_letter(letter)
            if history.model:
                self.send(self.topics.models, SEGMENT_MODEL_KEY, b"a former model")
                self.send(self.topics.models, SEGMENT_MODEL_KEY, history.model)
            self.send_offsets()

    def send_dead_letter_of_no_one(self) -> None:
        self.producer.produce(self.topics.dead_letters, value=b"aborted")

    def commit(self) -> None:
        """Commit the offset of every event sent so far."""
        with self.transaction():
            self.send_offsets()

    def forget_beginning(self, topic: str, records: int = 1) -> None:
        """Remove the first offsets of every partition, as retention does."""
        places = [TopicPartition(topic, partition, records) for partition in range(PARTITIONS)]
        for future in self.admin.delete_records(places).values():
            future.result(30)

    def verify(self, **options: Any) -> VerifyResult:
        return verify_topics(self.settings(), **options)

    def settings(self, **sections: Any) -> Settings:
        kafka = {"bootstrap_servers": self.servers, "group_id": self.group}
        return Settings(kafka=kafka, topics=self.topics, **sections)


@dataclass
class _Transaction:
    producer: Producer
    commit: bool

    def __enter__(self) -> None:
        self.producer.begin_transaction()

    def __exit__(self, *_: object) -> None:
        # Flushed first, so that aborted records do reach the log.
        self.producer.flush(30)
        if self.commit:
            self.producer.commit_transaction(30)
        else:
            self.producer.abort_transaction(30)


def _input(profile: ProfileRecord) -> int:
    return profile.events + profile.repeats


def _batches(items: list[Any], size: int = 4) -> Iterable[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))


@pytest.fixture
def deployment(broker: Broker) -> Iterator[Deployment]:
    deployment = Deployment(broker.bootstrap_servers)
    yield deployment
    deployment.close()


@pytest.fixture
def history() -> History:
    paths = {f"user {i}": UserPath([i % 5, (i + 1) % 5], repeats=i % 2) for i in range(6)}
    paths["ann"] = UserPath([1, None, 3], by_model=frozenset({2}))
    paths["cat"] = UserPath(quiet_events=3)
    return history_of(paths, refused=2)


def kinds(result: VerifyResult) -> dict[Kind, int]:
    return result.violations_by_kind


# --- what is sound ------------------------------------------------------------------------------


def test_a_valid_history_passes_through_aborts_markers_and_compacted_duplicates(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    result = deployment.verify()
    assert result.ok, result.render()
    assert (result.exit_code, result.unchecked) == (0, ())
    profiles = history.profiles.values()
    counts = result.counts
    assert counts.records == history.records
    assert counts.accepted == sum(profile.events for profile in profiles)
    assert counts.repeated == sum(profile.repeats for profile in profiles)
    assert counts.refused == 2
    assert counts.changes == len(history.changes)
    assert (counts.users, counts.members) == (8, 7)
    # What is left are markers and aborted records: offsets, and yet nothing that waits.
    assert (counts.lag, counts.lost) == (0, None)
    assert not any("for the group" in note for note in result.notes)


def test_topics_without_a_record_pass(deployment: Deployment) -> None:
    result = deployment.verify()
    assert result.ok, result.render()
    assert (result.counts.records, result.counts.lag) == (0, 0)


def test_a_tombstone_removes_a_user_and_a_later_record_brings_the_user_back(
    deployment: Deployment, history: History
) -> None:
    erased = history_of({"gone": UserPath([1])})
    with deployment.transaction():
        deployment.send_profile(erased.profiles["gone"])
        deployment.send(deployment.topics.memberships, "gone", erased.memberships["gone"])
        deployment.send(deployment.topics.memberships, "ann", None)
        deployment.send(deployment.topics.profiles, "ann", None)
    with deployment.transaction():
        deployment.send(deployment.topics.memberships, "gone", None)
        deployment.send(deployment.topics.profiles, "gone", None)
    deployment.publish(history)
    result = deployment.verify()
    assert result.ok, result.render()
    assert sum("tombstones have removed 1 users" in note for note in result.notes) == 2


def test_the_lag_is_reported_and_no_violation(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    before = deployment.verify().counts
    with deployment.transaction():
        deployment.producer.produce(deployment.topics.events, b"late", key="ann", partition=0)
    result = deployment.verify()
    assert result.ok, result.render()
    assert result.counts.records == before.records
    # The record, and not its marker.
    assert (before.lag, result.counts.lag) == (0, 1)
    assert any("wait for the group: 1" in note for note in result.notes)


# --- what is not --------------------------------------------------------------------------------


def test_workers_with_other_settings_than_the_others_are_told_of(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    others = OffsetMetadata(settings={}).write()
    one = OffsetMetadata(settings={"profile.half_life_days": "30.0"}).write()
    with deployment.transaction():
        deployment.send_offsets({0: others, 1: one, 2: others})
    result = deployment.verify()
    assert result.ok
    assert (
        f"the group's workers need the same settings: where {deployment.topics.events}[1] were "
        "read last, profile.half_life_days is 30.0 (elsewhere 180.0)"
    ) in result.notes


def test_defects_in_topics_are_found(deployment: Deployment, history: History) -> None:
    topics = deployment.topics
    (ann_last,) = [c for c in history.changes if (c.user_id, c.sequence) == ("ann", 3)]
    deployment.publish(history)
    with deployment.transaction():
        deployment.send_change(ann_last)
        stale = history.changes[0]
        deployment.send(topics.memberships, stale.user_id, stale)
        wrong = history.profiles["user 1"].model_copy(update={"segment": 4})
        deployment.send_profile(wrong)
        deployment.send(topics.profiles, "cat", None)
        deployment.send(topics.memberships, "user 2", history.memberships["user 3"])
    result = deployment.verify()
    assert result.exit_code == 1
    assert {(entry.kind, entry.subject) for entry in result.violations} == {
        (Kind.REPEATED_ID, "ann"),
        (Kind.MEMBERSHIP_DIFFERS, stale.user_id),
        (Kind.PROFILE_DIFFERS, "user 1"),
        # The three events of the profile that a tombstone removed.
        (Kind.BALANCE, topics.events),
        (Kind.MALFORMED, topics.memberships),
    }


def test_changes_that_cannot_be_read_or_lie_about_themselves_are_found(
    deployment: Deployment,
) -> None:
    history = history_of({user: UserPath([1]) for user in ("ann", "bob", "cat", "dan", "eve")})
    ann, bob, cat, dan, eve = history.changes
    history.changes = []
    deployment.publish(history)
    with deployment.transaction():
        deployment.send_change(ann, ce_id=b"11111111-2222-3333-4444-555555555555")
        deployment.send_change(bob, ce_subject=b"someone else")
        deployment.send_change(cat, ce_source=b"")
        deployment.send_change(dan, ce_id=b"")
        headers = cloudevents_headers(eve, SOURCE)
        deployment.send(deployment.topics.changes, b"\xff", eve, headers=headers)
        deployment.send(deployment.topics.changes, "fay", b"{")
    result = deployment.verify()
    found = {(entry.kind, entry.subject) for entry in result.violations}
    assert found == {
        (Kind.FORGED_ID, "ann"),
        (Kind.ENVELOPE, "bob"),
        (Kind.ENVELOPE, "cat"),
        (Kind.MALFORMED, deployment.topics.changes),
        (Kind.MEMBERSHIP_UNFOUNDED, "dan"),
        (Kind.WRONG_KEY, "eve"),
    }
    assert kinds(result)[Kind.MALFORMED] == 2


def test_a_lost_event_and_a_lost_dead_letter_are_found(
    deployment: Deployment, history: History
) -> None:
    history.dead_letters.pop()
    deployment.publish(history)
    result = deployment.verify()
    assert kinds(result) == {Kind.BALANCE: 1}
    assert result.violations[0].detail.endswith("1 are not accounted for")


def test_dead_letters_that_do_not_say_their_origin_are_found_and_counted(
    deployment: Deployment, history: History
) -> None:
    history.dead_letters.pop()
    deployment.publish(history)
    with deployment.transaction():
        deployment.send_dead_letter_of_no_one()
    assert kinds(deployment.verify()) == {Kind.MALFORMED: 1}


def test_a_profile_that_cannot_be_read_leaves_the_balance_open(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with deployment.transaction():
        deployment.send(deployment.topics.profiles, "cat", b"{}")
    result = deployment.verify()
    assert kinds(result) == {Kind.MALFORMED: 1}
    assert any("input = accepted" in reason for reason in result.unchecked)


def test_a_value_that_cannot_be_read_counts_only_until_a_later_one_replaces_it(
    deployment: Deployment, history: History
) -> None:
    with deployment.transaction():
        deployment.send(deployment.topics.profiles, "ann", b"{")
        deployment.send(deployment.topics.memberships, "ann", b"{")
    deployment.publish(history)
    result = deployment.verify()
    assert result.ok, result.render()


def test_records_of_the_former_form_are_read_beside_binary_ones(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with deployment.transaction():
        for user in ("cat", "user 1", "user 2"):
            deployment.send(deployment.topics.profiles, user, history.profiles[user])
    result = deployment.verify()
    assert result.ok, result.render()
    assert result.counts.accepted == sum(each.events for each in history.profiles.values())


def test_a_binary_profile_under_another_users_key_is_found(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with deployment.transaction():
        stray = binary_profile(history.profiles["ann"])
        deployment.send(deployment.topics.profiles, "cat", stray)
    result = deployment.verify()
    assert kinds(result) == {Kind.MALFORMED: 1}
    assert "stands under another key" in result.render()


def test_a_segment_that_the_latest_model_does_not_have_is_found(
    deployment: Deployment, history: History
) -> None:
    assert history.model is not None
    history.model = history.model.model_copy(
        update={"segments": history.model.segments[:1]},
    )
    deployment.publish(history)
    result = deployment.verify()
    assert [(entry.kind, entry.subject) for entry in result.violations] == [
        (Kind.UNKNOWN_SEGMENT, "ann")
    ]


def test_the_lives_of_segments_are_held_against_the_latest_model(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)

    def tell(kind: TransitionType, segment: int, version: int) -> None:
        event = LifecycleEvent(
            type=kind,
            segment=segment,
            label="words",
            parents=[],
            children=[],
            successor=None,
            size_before=0,
            size=1,
            flows=[],
            version=version,
            at=START,
        )
        headers = lifecycle_headers(event, SOURCE)
        deployment.send(deployment.topics.lifecycle, str(segment), event, headers=headers)

    with deployment.transaction():
        for segment in SEGMENTS:
            tell(TransitionType.CREATED, segment, 1)
    assert deployment.verify().ok
    with deployment.transaction():
        tell(TransitionType.RETIRED, SEGMENTS[-1], 2)
    result = deployment.verify()
    assert [(entry.kind, entry.subject) for entry in result.violations] == [
        (Kind.LIFECYCLE, deployment.topics.lifecycle)
    ]


def test_a_segment_model_of_a_newer_format_is_reported_as_not_checked(
    deployment: Deployment, history: History
) -> None:
    assert history.model is not None
    fields = {**history.model.model_dump(mode="json"), "schema_version": 5, "shape": "new"}
    history.model = None
    deployment.publish(history)
    with deployment.transaction():
        value = json.dumps(fields).encode()
        deployment.send(deployment.topics.models, SEGMENT_MODEL_KEY, value)
    result = deployment.verify()
    assert (result.exit_code, kinds(result)) == (0, {}), result.render()
    assert result.unchecked == (
        "that segments exist: the latest segment model is of schema 5, this version knows 4",
    )


def test_a_segment_model_that_cannot_be_read_is_found(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    with deployment.transaction():
        deployment.send(deployment.topics.models, SEGMENT_MODEL_KEY, b'{"schema_version": 1}')
    result = deployment.verify()
    assert (result.exit_code, kinds(result)) == (1, {Kind.MALFORMED: 1})
    (violation,) = result.violations
    assert violation.detail.startswith("the latest segment model cannot be read: ")
    assert any("the latest segment model cannot be read" in reason for reason in result.unchecked)


# --- retention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("records", [5, OFFSET_END])
def test_a_beginning_that_retention_removed_is_reported_as_not_checked(
    deployment: Deployment, history: History, records: int
) -> None:
    deployment.publish(history)
    deployment.forget_beginning(deployment.topics.changes, records)
    result = deployment.verify()
    assert result.exit_code == 0, result.render()
    (reason,) = result.unchecked
    assert reason.startswith("the beginning of chains: retention has removed")
    assert (result.counts.changes or 0) < len(history.changes)


@pytest.mark.parametrize("topic", ["events", "dead_letters"])
def test_without_all_input_and_dead_letters_the_balance_is_reported_as_not_checked(
    deployment: Deployment, history: History, topic: str
) -> None:
    history.records += 7
    deployment.publish(history)
    name = getattr(deployment.topics, topic)
    with deployment.transaction():
        for partition in range(PARTITIONS):
            deployment.producer.produce(name, b"x", partition=partition, headers=_ORIGIN[partition])
    deployment.forget_beginning(name)
    result = deployment.verify()
    assert result.exit_code == 0, result.render()
    (reason,) = result.unchecked
    assert reason == (
        "that input = accepted + repeated + refused: retention has removed the oldest records of "
        f"{name}"
    )


_ORIGIN = [
    [("dlq_topic", b"t"), ("dlq_partition", b"0"), ("dlq_offset", offset)]
    for offset in (b"100", b"101")
]


# --- groups -------------------------------------------------------------------------------------


def test_a_group_that_stands_still_in_the_end_is_audited_again(
    deployment: Deployment, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.publish(history)
    runs = _move_after_each_run(deployment, monkeypatch, times=1)
    result = deployment.verify()
    assert result.ok, result.render()
    assert len(runs) == 2
    assert result.counts.records == history.records + 1


def test_a_group_that_never_stands_still_gives_no_result(
    deployment: Deployment, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Would be a violation, if it could be told from a race.
    history.dead_letters.pop()
    deployment.publish(history)
    runs = _move_after_each_run(deployment, monkeypatch, times=9)
    result = deployment.verify(attempts=2)
    assert (result.exit_code, result.ok, kinds(result)) == (2, False, {})
    assert len(runs) == 2
    assert "the group is moving, the cut is not consistent" in result.render()


def test_a_broken_chain_counts_though_the_group_moves(
    deployment: Deployment, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    del history.changes[0]
    deployment.publish(history)
    _move_after_each_run(deployment, monkeypatch, times=9)
    result = deployment.verify(attempts=2)
    assert (result.exit_code, kinds(result)) == (1, {Kind.SEQUENCE: 1})
    assert result.inconclusive


def test_reassignment_under_a_new_model_counts_as_moving(
    deployment: Deployment, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It writes outputs and commits no offset.
    deployment.publish(history)
    audited = topics_module._TopicAudit.run

    def run_and_write(audit: Any) -> None:
        audited(audit)
        with deployment.transaction():
            deployment.send_profile(history.profiles["ann"])

    monkeypatch.setattr(topics_module._TopicAudit, "run", run_and_write)
    result = deployment.verify(attempts=1)
    assert result.exit_code == 2
    assert f"{deployment.topics.profiles}[" in (result.inconclusive or "")


def test_offsets_committed_without_outputs_count_as_moving(
    deployment: Deployment, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.publish(history)
    audited = topics_module._TopicAudit.run

    def run_and_commit(audit: Any) -> None:
        audited(audit)
        with deployment.transaction():
            deployment.send_event("ann")
        deployment.commit()

    monkeypatch.setattr(topics_module._TopicAudit, "run", run_and_commit)
    result = deployment.verify(attempts=1)
    assert result.exit_code == 2
    assert "it committed offset" in (result.inconclusive or "")


def _move_after_each_run(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, times: int
) -> list[int]:
    """Let the group work on one more event behind each of the first audits."""
    audited = topics_module._TopicAudit.run
    runs: list[int] = []

    def run_and_move(audit: Any) -> None:
        audited(audit)
        runs.append(1)
        if len(runs) <= times:
            with deployment.transaction():
                deployment.send_event("new user")
            profile = history_of({"new user": UserPath(quiet_events=len(runs))})
            with deployment.transaction():
                deployment.send_profile(profile.profiles["new user"])
                deployment.send_offsets()

    monkeypatch.setattr(topics_module._TopicAudit, "run", run_and_move)
    return runs


def test_a_group_without_offsets_but_with_outputs_gives_no_result(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    deployment.group = "a typing error"
    result = deployment.verify()
    assert result.exit_code == 2
    assert "check the group's name" in (result.inconclusive or "")


def test_an_open_transaction_is_waited_for(deployment: Deployment, history: History) -> None:
    deployment.publish(history)
    other = deployment.new_producer()
    other.begin_transaction()
    other.produce(deployment.topics.changes, b"never was", key="ann")
    other.flush(30)
    timer = threading.Timer(1.0, other.abort_transaction, [30])
    timer.start()
    result = deployment.verify()
    timer.join()
    assert result.ok, result.render()


def test_a_transaction_that_stays_open_ends_in_an_error(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    other = deployment.new_producer()
    other.begin_transaction()
    other.produce(deployment.topics.changes, b"never was", key="ann")
    other.flush(30)
    with pytest.raises(VerifyError, match=r"did not move for 1 s, .* a transaction open"):
        deployment.verify(stall_seconds=1.0)
    other.abort_transaction(30)
    assert deployment.verify().ok


def test_offsets_in_an_open_transaction_end_in_an_error(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    deployment.producer.begin_transaction()
    deployment.send_offsets()
    with pytest.raises(VerifyError, match=r"offsets of group .* cannot be read"):
        deployment.verify(stall_seconds=1.0, request_seconds=5.0)
    deployment.producer.abort_transaction(30)
    assert deployment.verify().ok


def test_a_missing_topic_is_named(deployment: Deployment) -> None:
    deployment.topics = deployment.topics.model_copy(update={"dead_letters": "no-such-topic"})
    with pytest.raises(VerifyError, match="no topic 'no-such-topic'"):
        deployment.verify()


def test_a_topic_made_anew_under_the_group_leaves_the_balance_open(
    deployment: Deployment, history: History
) -> None:
    deployment.publish(history)
    place = TopicPartition(deployment.topics.events, 0, 100_000)
    deployment.consumer.commit(offsets=[place], asynchronous=False)
    result = deployment.verify()
    assert result.exit_code == 0
    assert "was made anew or truncated" in result.unchecked[0]


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with pytest.raises(VerifyError, match=r"cannot reach Kafka at 127\.0\.0\.1:1: "):
        verify_topics(Settings(kafka={"bootstrap_servers": "127.0.0.1:1"}), request_seconds=0.5)


def test_a_property_that_the_client_does_not_know_is_named() -> None:
    kafka = {"bootstrap_servers": "127.0.0.1:1", "properties": {"no.such.property": "x"}}
    with pytest.raises(ClientSettingsError, match=r"no\.such\.property"):
        verify_topics(Settings(kafka=kafka))
