"""Runs of the loop against the test session's broker, and the replay that each must agree with."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client import CollectorRegistry

from consumer.contract.records import Output, Record
from consumer.contract.stage import Stage
from consumer.kafka.clients import reader_config
from consumer.kafka.cluster import read_topic
from consumer.kafka.topics import create_topics
from consumer.offline.replay import Replay
from consumer.settings import Settings
from consumer.stages.segmentation.labelling import LabelModelSource
from consumer.stages.segmentation.model_source import FixedModel, ModelSource
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import LoopMetrics
from consumer.verify import VerifyResult, verify_topics
from consumer.verify.oracle import differences
from consumer.wiring.engine import build_loop
from models.embedding.runner_types import Embedder
from models.segments.model import SegmentModel
from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord
from tests.stubs import HashingEmbedder

PARTITIONS = 4
Pair = tuple[bytes | None, bytes]
TOPICS = {"hops": "beer hops malt yeast brew", "runs": "shoes running pace trail marathon"}


def placeless(record: ProfileRecord) -> ProfileRecord:
    """Give a state without offsets, which are others in a file than on a topic."""
    own = [each.model_copy(update={"offset": 0}) for each in record.references]
    return record.model_copy(update={"references": own})


def settings_for(servers: str, **sections: dict[str, object]) -> Settings:
    """Give settings whose topics and group nobody else uses."""
    unique = uuid.uuid4().hex[:8]
    kafka = {
        "bootstrap_servers": servers,
        "group_id": f"g-{unique}",
        "session_timeout_seconds": 6,
        **sections.pop("kafka", {}),
    }
    names = ("events", "dead_letters", "changes", "memberships", "profiles", "samples", "models")
    names += ("lifecycle", "labels", "label_dead_letters", "label_models", "drift_reference")
    names += ("segments", "model_versions", "model_control", "next_profiles", "item_events")
    names += ("item_profiles", "recommendation_parts", "segment_recommendations")
    names += ("user_recommendations", "rule_changes", "rule_memberships", "rule_states")
    topics = {name: f"{name.replace('_', '-')}-{unique}" for name in names}
    batch = {"max_records": 50, "max_wait_seconds": 0.1, **sections.pop("batch", {})}
    settings = Settings(
        kafka=kafka, topics={**topics, "partitions": PARTITIONS}, batch=batch, **sections
    )
    create_topics(settings)
    return settings


def event(user: str, number: int, text: str, **changes: object) -> Pair:
    """Give one event as a key and a value."""
    values = {
        "event_id": f"{user}-{number}",
        "user_id": user,
        "type": "comment",
        "text": text,
        "occurred_at": f"2025-01-01T00:{number % 60:02d}:00Z",
        **changes,
    }
    return user.encode(), json.dumps(values).encode()


def stream(users: int = 12, events: int = 20) -> list[Pair]:
    """Events of users who all change their interest half-way."""
    texts = list(TOPICS.values())
    return [
        event(f"u{user}", number, texts[(user + (number >= events // 2)) % 2])
        for number in range(events)
        for user in range(users)
    ]


def model_of(embedder: Embedder, version: int = 1, swap: bool = False) -> SegmentModel:
    """Make a model with one segment for each topic of `stream`; swapped, the ids change sides."""
    centres = embedder.embed(list(TOPICS.values())).astype(np.float64)
    return SegmentModel(
        version=version,
        embedding=embedder.identity,
        ids=np.array([0, 1]),
        centres=centres[::-1] if swap else centres,
        radii=np.zeros(2),
        sizes=np.zeros(2, np.int64),
        labels=tuple(TOPICS),
        words=((), ()),
        since=(1, 1),
        next_id=2,
        sample_threshold=1.0,
        samples=0,
        seed=0,
    )


def produce(settings: Settings, pairs: Iterable[Pair], topic: str | None = None) -> None:
    """Send events to the input topic, or to another one."""
    producer = Producer({**settings.kafka.client(), "message.max.bytes": 16_000_000})
    for key, value in pairs:
        producer.produce(topic or settings.topics.events, value, key)
        producer.poll(0)
    assert producer.flush(30) == 0


class _Waiting(threading.local):
    """The clients of a thread that waits, by group: it asks again and again."""

    clients: dict[tuple[str, str], Consumer] | None = None


_waiting = _Waiting()


def committed(settings: Settings) -> int:
    """Count the input records that the group has committed."""
    kafka, kept = settings.kafka, _waiting.clients
    which = (kafka.bootstrap_servers, kafka.group_id)
    client = None if kept is None else kept.get(which)
    if client is None:
        client = Consumer({**reader_config(kafka), "group.id": kafka.group_id})
    if kept is not None:
        kept[which] = client
    try:
        places = [TopicPartition(settings.topics.events, n) for n in range(PARTITIONS)]
        return sum(max(place.offset, 0) for place in client.committed(places, timeout=20))
    finally:
        if kept is None:
            client.close()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    before, _waiting.clients = _waiting.clients, {}
    try:
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.05)
    finally:
        for client in _waiting.clients.values():
            client.close()
        _waiting.clients = before


class Running:
    """A loop in a thread."""

    def __init__(
        self,
        settings: Settings,
        stage: Stage[object, object],
        name: str,
        group: str | None = None,
        **options: Any,
    ) -> None:
        self.health = Health(60)
        self.metrics = LoopMetrics(CollectorRegistry())
        self.loop = build_loop(
            stage,
            settings,
            group_id=group or settings.kafka.group_id,
            transactional_id=f"{group or settings.kafka.group_id}-{name}",
            metrics=self.metrics,
            health=self.health,
            idle_seconds=0.3,
            **options,
        )
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Stop it as SIGTERM would; raise what ended it."""
        self.loop.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


@contextmanager
def worker(
    settings: Settings,
    source: ModelSource | None = None,
    name: str = "w0",
    labels: LabelModelSource | None = None,
    **options: Any,
) -> Iterator[tuple[Running, SegmentationStage]]:
    """Run a worker with the cheap embedder; see `build_loop` for options."""
    embedder = HashingEmbedder()
    stage = SegmentationStage(
        settings, embedder, source or FixedModel(model_of(embedder)), label_models=labels
    )
    running = Running(settings, stage, name, **options)
    try:
        yield running, stage
    finally:
        running.loop.stop()
        running.thread.join(60)


def audit(settings: Settings) -> VerifyResult:
    """Run the product's own verify on the topics."""
    return verify_topics(settings)


def changes_of(settings: Settings) -> list[SegmentChange]:
    """Read all committed changes."""
    return [
        SegmentChange.model_validate_json(record.value or b"")
        for record in read_topic(settings, settings.topics.changes)
    ]


def oracle(
    settings: Settings,
    pairs: Sequence[Pair],
    embedder: Embedder | None = None,
    model: SegmentModel | None = None,
) -> list[SegmentChange]:
    """Give the changes that a replay of the same events makes."""
    embedder = embedder or HashingEmbedder()
    return replayed(settings, pairs, embedder, model or model_of(embedder))[1]


def replayed(
    settings: Settings, pairs: Sequence[Pair], embedder: Embedder, model: SegmentModel
) -> tuple[Replay, list[SegmentChange]]:
    """Replay events; give the replay, with the final state, and the changes that it made."""
    replay = Replay(settings, embedder, model)
    found: list[SegmentChange] = []

    def sink(output: Output) -> None:
        if output.topic == settings.topics.changes:
            found.append(SegmentChange.model_validate_json(output.value or b""))

    records = (
        Record(settings.topics.events, 0, n, -1, key, value) for n, (key, value) in enumerate(pairs)
    )
    replay.run(records, sink)
    return replay, found


def assert_as_replayed(
    settings: Settings,
    pairs: Sequence[Pair],
    embedder: Embedder | None = None,
    model: SegmentModel | None = None,
) -> None:
    """Hold the topics against the replay and the invariants."""
    expected = oracle(settings, pairs, embedder, model)
    assert expected, "the stream makes no changes: the test would hold nothing"
    assert list(differences(expected, changes_of(settings))) == []
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    assert result.counts.records == len(pairs)
