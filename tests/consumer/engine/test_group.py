"""The loop on a real Kafka: partitions, rebalances, crashes, new models, bad input."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.contract.records import Output, Record
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.cluster import read_topic
from consumer.offline.replay import Replay
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.shared.dead_letters import DeadLetterLimitError
from consumer.stages.training.stage import TrainingStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.demo.generate import StreamSettings, generate_records
from consumer.tryout.demo.processes import Child
from consumer.wiring.embedder import load_embedder
from consumer.wiring.model_feed import ModelFeed
from schemas.changes import ChangeReason, ChangeStatus
from schemas.segment_model import SEGMENT_MODEL_KEY, SegmentModelRecord
from tests.consumer.kafka_runs import (
    TOPICS,
    Running,
    assert_as_replayed,
    audit,
    changes_of,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    stream,
    until,
    worker,
)
from tests.stubs import HashingEmbedder

pytestmark = pytest.mark.usefixtures("broker")


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


def test_several_partitions_give_what_a_replay_gives(settings: Settings) -> None:
    pairs = stream()
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    assert_as_replayed(settings, pairs)


def test_the_consumer_protocol_gives_the_same(broker: EmbeddedKafka) -> None:
    settings = settings_for(broker.bootstrap_servers, kafka={"group_protocol": "consumer"})
    pairs = stream()
    produce(settings, pairs)
    with worker(settings), worker(settings, name="w1"):
        until(lambda: committed(settings) == len(pairs))
    assert_as_replayed(settings, pairs)


def test_workers_may_come_and_go_in_the_middle(settings: Settings) -> None:
    pairs = stream(events=60)
    third = len(pairs) // 3
    produce(settings, pairs[:third])
    with worker(settings) as (first, _):
        until(lambda: committed(settings) > 0)
        with worker(settings, name="w1") as (second, stage):
            produce(settings, pairs[third : 2 * third])
            until(lambda: len(stage.tables) > 0 and second.health.ready)
            first.stop()
            produce(settings, pairs[2 * third :])
            until(lambda: committed(settings) == len(pairs))
            assert len(stage.tables) == 4
    assert_as_replayed(settings, pairs)


def test_a_restarted_worker_goes_on_where_it_stopped(settings: Settings) -> None:
    pairs = stream()
    half = len(pairs) // 2
    produce(settings, pairs[:half])
    with worker(settings):
        until(lambda: committed(settings) == half)
    produce(settings, pairs[half:])
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    assert_as_replayed(settings, pairs)
    entered = [c.user_id for c in changes_of(settings) if c.status is ChangeStatus.ENTERED]
    assert len(entered) == len(set(entered))


@pytest.mark.parametrize("outcome", [Outcome.ABORTED, Outcome.UNKNOWN])
def test_a_transaction_that_fails_leaves_no_trace(settings: Settings, outcome: Outcome) -> None:
    failures = [outcome] * 3

    class Failing(Transactions):
        count = 0

        def _commit(self, producer: Producer, budget: float) -> Outcome:
            self.count += 1
            if self.count % 2 == 0 and failures:
                failed = failures.pop()
                if failed is Outcome.ABORTED:
                    return self._abort(producer, "the test asked for it")
                return failed  # left open: the new producer has to settle it
            return super()._commit(producer, budget)

    pairs = stream()
    produce(settings, pairs)
    with worker(settings, transactions=Failing) as (running, _):
        until(lambda: committed(settings) == len(pairs) or running.error is not None)
        assert running.error is None
    assert not failures
    assert_as_replayed(settings, pairs)


def test_lag_in_seconds_is_the_age_of_what_waits_and_of_nothing_else(settings: Settings) -> None:
    """Not of a partition without records, nor of the marker behind a producer's transaction."""
    held = threading.Event()

    class Holding(Transactions):
        def _commit(self, producer: Producer, budget: float) -> Outcome:
            if held.is_set():
                return self._abort(producer, "the test holds it up")
            return super()._commit(producer, budget)

    def send(number: int, age: float) -> None:
        key, value = event("u1", number, "espresso beans")
        producer.begin_transaction()
        at = round((time.time() - age) * 1000)
        producer.produce(settings.topics.events, value, key, partition=0, timestamp=at)
        producer.commit_transaction(20)

    def lags() -> dict[str, float]:
        return {
            partition: round(seconds, -2)
            for partition, seconds in dict(running.metrics._figures())["lag_seconds"].items()
        }

    producer = Producer({**settings.kafka.client(), "transactional.id": settings.topics.events})
    producer.init_transactions(20)
    nothing = dict.fromkeys("0123", 0.0)
    with worker(settings, transactions=Holding) as (running, _):
        until(lambda: lags() == nothing)
        held.set()
        send(1, 3600)
        until(lambda: lags() == nothing | {"0": 3600.0})
        send(2, 60)
        aborted = running.metrics.transactions.labels("aborted")._value
        begun = aborted.get()
        until(lambda: aborted.get() > begun + 1)  # read again, it is as old as before
        assert lags() == nothing | {"0": 3600.0}
        held.clear()
        until(lambda: committed(settings) >= 2 and lags() == nothing)
        count = running.metrics._freshness.collect()[0].samples
    assert [sample.value for sample in count if sample.name.endswith("_count")] == [2]


def test_a_commit_whose_answer_is_lost_counts_once(settings: Settings) -> None:
    lost = threading.Event()

    class Losing(Transactions):
        def _commit(self, producer: Producer, budget: float) -> Outcome:
            outcome = super()._commit(producer, budget)
            if outcome is Outcome.COMMITTED and not lost.is_set():
                lost.set()
                return Outcome.UNKNOWN
            return outcome

    pairs = stream()
    produce(settings, pairs)
    with worker(settings, transactions=Losing):
        until(lambda: committed(settings) == len(pairs))
    assert lost.is_set()
    assert_as_replayed(settings, pairs)


def bad_records() -> dict[str, tuple[bytes | None, bytes]]:
    text = "SECRET beer"
    good = json.loads(event("bad", 0, text)[1])
    return {
        "invalid_json": (b"bad", b'{"text": "SECRET beer"'),
        "invalid_utf8": (b"bad", b'{"text": "SECRET \xff"}'),
        "missing_field": (b"bad", b'{"text": "SECRET beer"}'),
        "missing_key": (None, event("bad", 1, text)[1]),
        "key_mismatch": (b"other", event("bad", 2, text)[1]),
        "no_text": event("bad", 3, "<p> </p>"),
        "text_too_long": event("bad", 4, "SECRET " * 750_000),
        "time_too_old": event("bad", 5, text, occurred_at="0001-01-01T00:00:00Z"),
        "time_in_future": event("bad", 6, text, occurred_at="9999-01-01T00:00:00Z"),
        "invalid_field": event("bad", 7, text, occurred_at="2025-01-01T00:00:00"),
        "nan": (b"bad", json.dumps({**good, "occurred_at": float("nan")}).encode()),
        "surrogate": (b"bad", json.dumps({**good, "text": "SECRET \ud800"}).encode()),
    }


def test_each_bad_record_is_one_dead_letter_and_the_rest_goes_on(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings.changed("dead_letters", values=True)
    bad = bad_records()
    pairs = stream(events=10)
    mixed = [*pairs[:40], *bad.values(), *pairs[40:]]
    produce(settings, mixed)
    with worker(settings):
        until(lambda: committed(settings) == len(mixed))
    assert_as_replayed(settings, mixed)
    letters = list(read_topic(settings, settings.topics.dead_letters))
    reasons = [dict(letter.headers)["dlq_reason"].decode() for letter in letters]
    aliases = {"nan": "invalid_field", "surrogate": "invalid_json"}
    assert sorted(reasons) == sorted(aliases.get(name, name) for name in bad)
    assert sorted(letter.value or b"" for letter in letters) == sorted(v for _, v in bad.values())
    for letter in letters:
        headers = dict(letter.headers)
        assert headers["dlq_topic"].decode() == settings.topics.events
        assert {"dlq_partition", "dlq_offset", "dlq_timestamp", "dlq_field"} <= headers.keys()
        assert b"SECRET" not in headers["dlq_detail"]
    assert "SECRET" not in caplog.text


def test_too_many_bad_records_stop_the_worker_before_they_are_committed(
    broker: EmbeddedKafka,
) -> None:
    settings = settings_for(
        broker.bootstrap_servers, dead_letters={"min_records": 20, "max_share": 0.5}
    )
    produce(settings, [(b"u", b"{") for _ in range(200)])
    with worker(settings) as (running, _):
        until(lambda: running.error is not None)
        assert isinstance(running.error, DeadLetterLimitError)
        assert "dead_letters.max_share" in str(running.error)
    assert committed(settings) == len(list(read_topic(settings, settings.topics.dead_letters)))
    assert committed(settings) < 20


def test_large_records_are_taken_in_batches_of_few_bytes(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(broker.bootstrap_servers, batch={"max_bytes": 500_000})
    pairs = [event(f"u{n % 7}", n, "hops malt " * 10_000) for n in range(60)]
    pairs[30] = event("u2", 30, "hops malt " * 300_000)  # larger than all that is fetched at once
    produce(settings, pairs)
    seen: list[list[int]] = []
    prepare = SegmentationStage.prepare

    def watched(stage: SegmentationStage, records: Sequence[Record]) -> Any:
        seen.append([len(record.value or b"") for record in records])
        return prepare(stage, records)

    monkeypatch.setattr(SegmentationStage, "prepare", watched)
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    assert sum(map(len, seen)) >= len(pairs)
    assert all(sum(sizes) <= 500_000 or len(sizes) == 1 for sizes in seen)
    assert max(map(len, seen)) > 1
    assert audit(settings).exit_code == 0


def publish(settings: Settings, version: int, *, swap: bool) -> None:
    record = model_of(HashingEmbedder(), version, swap).to_record()
    producer = Producer(settings.kafka.client())
    producer.produce(settings.topics.models, record.model_dump_json(), SEGMENT_MODEL_KEY)
    assert producer.flush(30) == 0


def test_a_new_model_in_the_middle_moves_users_without_breaking_a_chain(
    settings: Settings,
) -> None:
    publish(settings, 1, swap=False)
    pairs = stream(events=8)
    produce(settings, pairs[:48])
    feed = ModelFeed(settings)
    with worker(settings, feed) as (_, stage):
        until(lambda: committed(settings) == 48)
        publish(settings, 2, swap=True)
        # Who is half-way between the two interests when looked at stays where he is.
        until(lambda: stage.model is not None and stage.model.version == 2 and stage.settled)
        produce(settings, pairs[48:])
        until(lambda: committed(settings) == len(pairs))
    feed.close()
    moved = [c for c in changes_of(settings) if c.reason is ChangeReason.MODEL_UPDATE]
    assert {c.user_id for c in moved} == {f"u{n}" for n in range(12)}
    assert all(c.source is None and c.model.version == 2 for c in moved)
    result = audit(settings)
    assert result.exit_code == 0, result.render()


def models_in(settings: Settings) -> list[SegmentModelRecord]:
    return [
        SegmentModelRecord.model_validate_json(record.value or b"")
        for record in read_topic(settings, settings.topics.models)
    ]


def run_until_committed(settings: Settings, pairs: Sequence[tuple[bytes | None, bytes]]) -> None:
    before = committed(settings)
    produce(settings, pairs)
    with worker(settings, FixedModel()):
        until(lambda: committed(settings) == before + len(pairs))


def test_a_trainer_publishes_and_its_stand_by_takes_over(broker: EmbeddedKafka) -> None:
    settings = settings_for(broker.bootstrap_servers, training={"segments": 2, "warmup_users": 10})
    run_until_committed(settings, stream(users=30, events=3))
    group = f"{settings.kafka.group_id}-trainer"
    first = Running(settings, TrainingStage(settings), "t0", group)
    until(lambda: len(models_in(settings)) > 0)
    stand_by_stage = TrainingStage(settings)
    stand_by = Running(settings, stand_by_stage, "t1", group)
    until(lambda: stand_by.health.ready)
    first.stop()
    # It may find at once what the first one had not looked at.
    until(lambda: stand_by_stage.published is not None and stand_by_stage.settled)
    latest = models_in(settings)[-1]
    assert stand_by_stage.published is not None
    assert stand_by_stage.published.version == latest.version
    assert stand_by_stage.sampled_users == 30
    texts = list(TOPICS.values())
    newcomers = [event(f"n{i}", 0, "quantum qubit gate physics photon") for i in range(40)]
    run_until_committed(settings, [*newcomers, event("n99", 0, texts[0])])
    until(lambda: models_in(settings)[-1].version > latest.version)
    stand_by.stop()
    versions = [model.version for model in models_in(settings)]
    assert versions == list(range(1, len(versions) + 1))
    # An id that is gone does not come back, a new one is always higher.
    known: set[int] = set()
    for model in models_in(settings):
        ids = {segment.id for segment in model.segments}
        assert all(new >= max(known, default=-1) for new in ids - known)
        known |= ids


def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    settings = settings_for(
        broker.bootstrap_servers,
        batch={"max_records": 40},
        training={"warmup_users": 30},
        embedding={"threads": 1},
    )
    pairs = [
        (record.key, record.value)
        for record in generate_records(StreamSettings(users=80, events_per_user=15))
    ]
    embedder = load_embedder(settings)
    learned = Replay(settings, embedder)
    records = [
        Record(settings.topics.events, 0, n, -1, key, value) for n, (key, value) in enumerate(pairs)
    ]

    def ignore(_output: Output) -> None:
        """Only the model is wanted."""

    learned.run(records, ignore)
    model = learned.segmentation.model
    assert model is not None
    path = tmp_path / "model.json"
    path.write_text(model.to_record().model_dump_json(), encoding="utf-8")

    def start(name: str, run: int) -> Child:
        kafka = settings.kafka.model_copy(update={"instance_id": name})
        own = settings.model_copy(update={"kafka": kafka})
        return Child(f"{name}-{run}", ["worker", "--model", str(path)], own, tmp_path)

    victim, other = start("a", 1), start("b", 1)
    children = [victim, other]
    try:
        until(lambda: victim.ready() and other.ready())
        produce(settings, pairs)
        for kill in range(2, 4):
            enough = committed(settings) + 80
            until(lambda enough=enough: committed(settings) > enough)
            assert victim.stop(signal.SIGKILL) == -signal.SIGKILL
            victim = start("a", kill)
            children.append(victim)
        until(lambda: committed(settings) == len(pairs), 90)
        assert other.metrics()["segmenter_records_total"] > 0
        assert [child.stop() for child in (victim, other)] == [0, 0]
    finally:
        for child in children:
            child.stop(signal.SIGKILL)
    assert_as_replayed(settings, pairs, embedder, model)


def test_a_standing_transaction_of_a_dead_writer_hides_nothing_from_a_restore(
    settings: Settings,
) -> None:
    """Restore waits behind an open transaction instead of missing what is committed after it."""
    pairs = stream(events=10)
    produce(settings, pairs[:60])
    with worker(settings):
        until(lambda: committed(settings) == 60)
    dead = Producer(
        {
            **settings.kafka.client(),
            "transactional.id": "dead",
            "transaction.timeout.ms": 3000,
        }
    )
    dead.init_transactions(20)
    dead.begin_transaction()
    for partition in range(4):
        dead.produce(settings.topics.profiles, b"not a profile", b"ghost", partition=partition)
    dead.flush(20)
    produce(settings, pairs[60:])
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    # By now the broker has ended it: the dead writer's transaction.timeout.ms is over.
    dead.purge()
    assert_as_replayed(settings, pairs)


def test_the_offsets_of_the_group_are_those_of_the_input(settings: Settings) -> None:
    pairs = stream(events=4)
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    client = Consumer({**settings.kafka.client(), "group.id": settings.kafka.group_id})
    for partition in range(4):
        place = TopicPartition(settings.topics.events, partition)
        _, end = client.get_watermark_offsets(place, timeout=20)
        assert client.committed([place], timeout=20)[0].offset in {end, -1001}
    client.close()


def test_a_restart_moves_nobody_who_still_dwells(settings: Settings) -> None:
    # Entered with four texts, who has seven on something else dwells for one more.
    late = settings.assignment.model_copy(update={"min_events": 4})
    settings = settings.model_copy(update={"assignment": late})
    hops, runs = TOPICS.values()
    pairs = [event("u", n, text) for n, text in enumerate([*[hops] * 4, *[runs] * 9])]
    for part in (pairs[:11], pairs[11:]):
        before = committed(settings)
        produce(settings, part)
        with worker(settings):
            until(lambda before=before, part=part: committed(settings) == before + len(part))
    assert_as_replayed(settings, pairs)
