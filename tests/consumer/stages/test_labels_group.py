"""Labels on a real Kafka: from `segment-labels` to changes that tell them, as in a replay."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer.contract.records import Output, Record
from consumer.kafka.clients import reader_config
from consumer.kafka.cluster import read_topic
from consumer.offline.replay import Replay
from consumer.settings import Settings
from consumer.stages.segmentation.labelling import FixedLabelModel
from consumer.stages.training.stage import TrainingStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify.oracle import differences
from consumer.wiring.model_feed import LabelModelFeed
from schemas.changes import ChangeStatus, SegmentChange
from schemas.states import read_profile
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    Pair,
    Running,
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

USERS, EVENTS = 12, 20
NAMES = ("brewer", "runner")


def label(user: int, name: str | None) -> Pair:
    value = {"user_id": f"u{user}", "label": name, "labelled_at": "2025-01-01T00:00:00Z"}
    return f"u{user}".encode(), json.dumps(value).encode()


def labels() -> list[Pair]:
    """Half of the users are labelled; one record is no label."""
    given = [label(user, NAMES[user % 2]) for user in range(USERS // 2)]
    return [*given, (b"u0", b"{}")]


def committed_labels(settings: Settings) -> int:
    client = Consumer({**reader_config(settings.kafka), "group.id": settings.kafka.group_id})
    try:
        places = [TopicPartition(settings.topics.labels, n) for n in range(PARTITIONS)]
        return sum(max(place.offset, 0) for place in client.committed(places, timeout=20))
    finally:
        client.close()


def replayed(settings: Settings, pairs: list[Pair], model: FixedLabelModel) -> list[SegmentChange]:
    embedder = HashingEmbedder()
    replay = Replay(settings, embedder, model_of(embedder), label_model=model.model)
    found: list[SegmentChange] = []

    def sink(output: Output) -> None:
        if output.topic == settings.topics.changes:
            found.append(SegmentChange.model_validate_json(output.value or b""))

    topics = settings.topics
    records = [
        Record(topic, 0, n, -1, key, value)
        for topic, part in ((topics.labels, labels()), (topics.events, pairs))
        for n, (key, value) in enumerate(part)
    ]
    replay.run(records, sink)
    return found


def test_labels_become_part_of_changes_as_in_a_replay(broker: EmbeddedKafka) -> None:
    asked = {"enabled": True, "publish_every": 20, "dwell_events": 0}
    settings = settings_for(broker.bootstrap_servers, labels=asked)
    texts = list(TOPICS.values())
    steady = [event(f"u{n % USERS}", n // USERS, texts[n % 2]) for n in range(USERS * EVENTS)]
    feed = LabelModelFeed(settings)
    trainer = Running(settings, TrainingStage(settings), "t0", f"{settings.kafka.group_id}-trainer")
    produce(settings, labels(), settings.topics.labels)
    with worker(settings, labels=feed) as (_, stage):
        produce(settings, steady)
        until(lambda: committed(settings) == len(steady))
        until(lambda: committed_labels(settings) == len(labels()))

        def everybody() -> bool:
            told = {change.user_id: change.label for change in changes_of(settings)}
            return len(told) == USERS and all(each and each.name for each in told.values())

        until(everybody)
        until(lambda: stage.settled)
    trainer.stop()
    changes = changes_of(settings)
    assert any(change.status is ChangeStatus.LABELLED for change in changes)
    last = {change.user_id: change.label.name for change in changes if change.label}
    assert last == {f"u{n}": NAMES[n % 2] for n in range(USERS)}
    (letter,) = read_topic(settings, settings.topics.label_dead_letters)
    assert dict(letter.headers)["dlq_reason"] == b"missing_field"
    result = audit(settings)
    assert result.exit_code == 0, result.render()

    # Another group that keeps this label model: workers come and go, and it is as in a replay.
    kept = FixedLabelModel(feed.latest())
    feed.close()
    assert kept.model is not None
    pairs = stream(USERS, EVENTS)  # in which all change their interest, and so their label
    protocol = {"group_protocol": "consumer"}  # the first group had the classic one
    second = settings_for(broker.bootstrap_servers, labels=asked, kafka=protocol)
    half = len(pairs) // 2
    produce(second, labels(), second.topics.labels)
    produce(second, pairs[:half])
    with worker(second, labels=kept) as (first, _):
        until(lambda: committed(second) > 0)
        with worker(second, name="w1", labels=kept) as (other, own):
            until(lambda: len(own.tables) > 0 and other.health.ready)
            first.stop()
            produce(second, pairs[half:])
            until(lambda: committed(second) == len(pairs))
            until(lambda: committed_labels(second) == len(labels()))
    assert list(differences(replayed(second, pairs, kept), changes_of(second))) == []
    assert len(list(read_topic(second, second.topics.label_dead_letters))) == 1
    profiles = {
        record.key.decode(): read_profile(record.key, record.value).labels
        for record in read_topic(second, second.topics.profiles)
        if record.key and record.value
    }
    given = {user: own.given for user, own in profiles.items() if own and own.given}
    assert given == {f"u{n}": NAMES[n % 2] for n in range(USERS // 2)}
    result = audit(second)
    assert result.exit_code == 0, result.render()
