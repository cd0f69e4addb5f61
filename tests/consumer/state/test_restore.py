"""State read back on a real Kafka, with checkpoints and without: the same, and less of it."""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from prometheus_client import CollectorRegistry

from consumer.contract.records import Record, RecordColumns
from consumer.contract.stage import Columns, StageError
from consumer.kafka.clients import admin_config
from consumer.kafka.cluster import Cluster, OffsetGoneError
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.stage import TrainingStage
from consumer.state.checkpoint_format import Reason
from consumer.state.checkpoint_store import CheckpointStore
from consumer.state.checkpointer import Checkpointer
from consumer.state.restore import LostOffsetsError, Restorer
from consumer.state.restored import Restored, RestoreTask
from consumer.telemetry.metrics import RestoreMetrics
from consumer.tryout.broker import EmbeddedKafka
from models.segments.model import SegmentModel
from tests.consumer.kafka_runs import (
    PARTITIONS,
    committed,
    model_of,
    produce,
    settings_for,
    stream,
    until,
    worker,
)
from tests.consumer.state.test_checkpoint_store import of_format
from tests.stubs import HashingEmbedder

pytestmark = pytest.mark.usefixtures("broker")

EMBEDDER = HashingEmbedder()
FIRST = stream(events=6)
LATER = [(key, value) for key, value in stream(events=9) if (key, value) not in FIRST]


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", 12 * 3600)


@dataclass
class Back:
    """What a restore of all partitions gave."""

    restored: dict[int, Restored]
    metrics: RestoreMetrics
    stage: SegmentationStage

    @property
    def profiles(self) -> dict[str, str]:
        """Every user's state, as in the changelog."""
        return {
            user: each.restoration.table.gather([user])
            .to_record(0, EMBEDDER.identity)
            .model_dump_json()
            for each in self.restored.values()
            for user in each.restoration.table.users
        }

    @property
    def records(self) -> int:
        return sum(each.records for each in self.restored.values())

    @property
    def sources(self) -> set[str]:
        return {each.source for each in self.restored.values()}

    def dropped(self, reason: Reason) -> float:
        return self.metrics.dropped.labels(reason.value)._value.get()


def restore(
    settings: Settings,
    store: CheckpointStore | None = None,
    embedder: HashingEmbedder = EMBEDDER,
    cluster: Cluster | None = None,
) -> Back:
    """Read all partitions back, as a worker that starts."""
    stage = SegmentationStage(settings, embedder, FixedModel(model_of(embedder)))
    metrics = RestoreMetrics(CollectorRegistry())
    restorer = Restorer(
        settings, stage, settings.kafka.group_id, cluster=cluster, store=store, metrics=metrics
    )
    back = Back({}, metrics, stage)
    try:
        for partition in range(PARTITIONS):
            restorer.start(partition)

        def done() -> bool:
            back.restored.update({each.partition: each for each in restorer.finished()})
            return len(back.restored) == PARTITIONS

        until(done)
    finally:
        restorer.close()
    return back


def accepting(settings: Settings) -> Settings:
    accepts = settings.restore.model_copy(update={"accept_lost_offsets": True})
    return settings.model_copy(update={"restore": accepts})


class NoColumns:
    """A snapshot that is no state of profiles."""

    def __len__(self) -> int:
        return 0

    def columns(self) -> Columns:
        return {}


class OtherColumns(NoColumns):
    """A snapshot as another version lays it out."""

    def columns(self) -> Columns:
        return {"layout": np.array([1], "u1")}


def save(back: Back, store: CheckpointStore) -> None:
    """Write checkpoints of what was read back."""
    checkpointer = Checkpointer(back.stage, store, 60, back.metrics)
    for restored in back.restored.values():
        back.stage.assigned(restored.partition, restored.restoration)
        checkpointer.assigned(restored)
    checkpointer.save_all()
    checkpointer.close(20)
    assert back.metrics.writes.labels("failed")._value.get() == 0


def run(settings: Settings, pairs: list[tuple[bytes | None, bytes]]) -> None:
    """Do what a worker does with events, without its polls and rebalances."""
    back = restore(accepting(settings))
    for each in back.restored.values():
        back.stage.assigned(each.partition, each.restoration)
    numbered = [
        Record(settings.topics.events, zlib.crc32(key or b"") % PARTITIONS, n, -1, key, value)
        for n, (key, value) in enumerate(pairs)
    ]
    producer = Producer(settings.kafka.client())
    for start in range(0, len(numbered), 10):
        batch = back.stage.prepare(numbered[start : start + 10])
        for output in back.stage.apply(batch, frozenset(range(PARTITIONS))):
            if output.topic == settings.topics.profiles:
                producer.produce(output.topic, output.value, output.key, output.partition or 0)
        back.stage.committed()
    for partition in range(PARTITIONS):  # so that there is what is said to be read
        producer.produce(settings.topics.events, b"{}", b"u", partition)
    assert producer.flush(20) == 0
    commit(settings, {n: each.offset + 1 for n, each in back.restored.items()})


def commit(settings: Settings, offsets: dict[int, int]) -> None:
    client = Consumer({**settings.kafka.client(), "group.id": settings.kafka.group_id})
    places = [TopicPartition(settings.topics.events, n, offset) for n, offset in offsets.items()]
    client.commit(offsets=places, asynchronous=False)
    client.close()


def run_the_loop(settings: Settings, pairs: list[tuple[bytes | None, bytes]]) -> None:
    before = committed(settings)
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == before + len(pairs))


@pytest.fixture
def saved(settings: Settings, store: CheckpointStore) -> Back:
    """A group that has worked, and checkpoints of its state."""
    run(settings, FIRST)
    back = restore(settings, store)
    assert back.sources == {"changelog"}
    assert len(back.profiles) == 12
    save(back, store)
    return back


def test_a_checkpoint_and_the_rest_are_the_state_record_by_record(settings, store, saved):
    run(settings, LATER)
    with_it, without = restore(settings, store), restore(settings)
    assert with_it.profiles == without.profiles != saved.profiles
    assert with_it.sources == {"checkpoint"}
    assert without.sources == {"changelog"}
    for partition in range(PARTITIONS):
        one, other = with_it.restored[partition], without.restored[partition]
        assert (one.offset, one.covered) == (other.offset, other.covered)
    # Only what was written after the checkpoint is read.
    topic = settings.topics.profiles
    for partition, each in with_it.restored.items():
        end = Cluster(settings.kafka).end(topic, partition)
        tail = Cluster(settings.kafka).read(
            topic,
            partition,
            end,
            start=saved.restored[partition].covered,
            no_progress_seconds=20,
        )
        assert each.records == len(list(tail))
    assert 0 < with_it.records < without.records
    assert sum(each.users for each in with_it.restored.values()) == 12


def test_a_checkpoint_of_the_very_end_needs_no_reading(settings, store, saved, caplog):
    caplog.set_level(logging.INFO)
    back = restore(settings, store)
    assert back.profiles == saved.profiles
    assert (back.records, back.sources) == (0, {"checkpoint"})
    assert "users from the checkpoint, 0 records from the changelog" in caplog.text
    assert back.metrics.restored.labels("checkpoint")._value.get() == PARTITIONS
    assert [
        s.value for s in back.metrics.seconds.collect()[0].samples if s.name.endswith("_count")
    ] == [PARTITIONS]


def test_workers_that_come_and_go_leave_checkpoints_that_their_changelog_goes_on_from(
    settings, store
):
    for pairs in (FIRST, LATER[:12], LATER[12:]):
        run_the_loop(settings, pairs)
        back = restore(settings, store)
        assert back.profiles == restore(settings).profiles
        save(back, store)
    assert back.sources == {"checkpoint"}
    assert 0 < back.records < len(LATER)


def damage(store: CheckpointStore) -> None:
    for path in checkpoints(store):
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(whole)


def checkpoints(store: CheckpointStore) -> list[Path]:
    return sorted(store._folder.glob("*.checkpoint"))


@pytest.mark.parametrize(
    "flaw", ["damaged", "future", "too old", "of another state", "unfit", "of another version"]
)
def test_a_checkpoint_that_cannot_be_used_is_dropped_with_one_warning(
    settings, store, saved, flaw, caplog
):
    reason = Reason.DAMAGED
    if flaw == "damaged":
        damage(store)
    elif flaw == "future":
        for path in store._folder.iterdir():
            path.write_bytes(of_format(99, path.read_bytes()))
        reason = Reason.FUTURE
    elif flaw == "too old":
        store = CheckpointStore(store._folder, 3600, lambda: time.time() + 3601)
        reason = Reason.OUTDATED
    elif flaw == "of another state":
        settings = settings.model_copy(
            update={"profile": settings.profile.model_copy(update={"event_memory": 5})}
        )
        reason = Reason.FOREIGN
    elif flaw == "unfit":
        for each in saved.restored.values():
            store.write(each.owner, each.covered, NoColumns(), taken_at=store.now())
    elif flaw == "of another version":
        for each in saved.restored.values():
            store.write(each.owner, each.covered, OtherColumns(), taken_at=store.now())
        reason = Reason.OUTDATED
    back = restore(settings, store)
    assert back.sources == {"changelog"}
    assert back.profiles == restore(settings).profiles
    assert back.dropped(reason) == PARTITIONS
    # The client may tell of what other tests have left.
    own = [record for record in caplog.records if record.name.startswith("consumer.")]
    warnings = [record.getMessage() for record in own if record.levelno == logging.WARNING]
    assert len(warnings) == PARTITIONS
    assert all(f"({reason})" in warning for warning in warnings)
    assert checkpoints(store) == []


def test_another_embedding_model_finds_no_checkpoint_and_is_refused_as_without(
    settings, store, saved
):
    back = restore(settings, store, HashingEmbedder(32))
    assert {each.source for each in back.restored.values()} == {"changelog"}
    for restored in back.restored.values():
        with pytest.raises(StageError, match="made with the embedding model"):
            back.stage.assigned(restored.partition, restored.restoration)


def test_a_changelog_made_anew_under_its_name_is_another_one(settings, store, saved):
    admin = AdminClient(admin_config(settings.kafka))
    topic = settings.topics.profiles
    before = Cluster(settings.kafka).identity(topic)
    admin.delete_topics([topic])[topic].result(20)

    def made() -> bool:
        return create_topics(settings)[topic]

    until(made)
    until(lambda: topic in admin.list_topics(timeout=10).topics)
    assert Cluster(settings.kafka).identity(topic).topic_id != before.topic_id
    back = restore(settings, store)
    assert (back.profiles, back.dropped(Reason.FOREIGN)) == ({}, PARTITIONS)


def test_records_deleted_beyond_a_checkpoint_make_it_outdated(settings, store, saved):
    run(settings, LATER)
    admin = AdminClient(admin_config(settings.kafka))
    topic = settings.topics.profiles
    # Kafka refuses to delete records of a topic that is compacted only.
    deletes = ConfigEntry(
        "cleanup.policy", "compact,delete", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[deletes])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(20)
    ends = [
        TopicPartition(topic, n, Cluster(settings.kafka).end(topic, n)) for n in range(PARTITIONS)
    ]
    for future in admin.delete_records(ends).values():
        future.result(20)
    back = restore(settings, store)
    assert (back.profiles, back.dropped(Reason.OUTDATED)) == ({}, PARTITIONS)


def test_an_offset_that_goes_while_it_is_read_from_starts_the_restore_over(settings, store, saved):
    class Losing(Cluster):
        def read_columns(
            self, *args: Any, start: int = 0, **kwargs: Any
        ) -> Generator[RecordColumns, None, None]:
            if start > 0:
                raise OffsetGoneError("gone")
            return super().read_columns(*args, start=start, **kwargs)

    run(settings, LATER)
    back = restore(settings, store, cluster=Losing(settings.kafka))
    assert back.profiles == restore(settings).profiles
    assert (back.sources, back.dropped(Reason.OUTDATED)) == ({"changelog"}, PARTITIONS)


def test_an_offset_that_the_partition_does_not_hold_is_told(settings, saved):
    topic = settings.topics.profiles
    end = Cluster(settings.kafka).end(topic, 0)
    with pytest.raises(OffsetGoneError, match=rf"does not hold offset {end + 5}"):
        list(Cluster(settings.kafka).read(topic, 0, end + 9, start=end + 5, no_progress_seconds=20))


def test_a_group_without_an_offset_is_refused_beside_a_state(settings, store, saved):
    other = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"group_id": "somebody-else"})}
    )
    for used in (None, store):
        with pytest.raises(
            LostOffsetsError,
            match=r"'somebody-else' has no committed offset.*"
            r"count again.*kafka\.group_id.*restore\.accept_lost_offsets",
        ):
            restore(other, used)
    back = restore(accepting(other), store)
    assert back.profiles == saved.profiles
    assert {each.offset for each in back.restored.values()} == {0}
    # Another group's checkpoints are not its own.
    assert back.sources == {"changelog"}


def test_a_group_that_begins_has_neither_offset_nor_state(settings, store):
    back = restore(settings, store)
    assert (back.profiles, back.records) == ({}, 0)
    assert all(each.owner is not None for each in back.restored.values())


def test_a_trainer_begins_without_an_offset_beside_models(settings):
    producer = Producer(settings.kafka.client())
    model = model_of(EMBEDDER).to_record().model_dump_json()
    producer.produce(settings.topics.models, model, b"m")
    assert producer.flush(20) == 0
    restorer = Restorer(settings, TrainingStage(settings), "new-trainer")
    restorer.start(0)
    found: list[Restored] = []
    until(lambda: bool(found.extend(restorer.finished()) or found))
    restorer.close()
    assert (found[0].records, found[0].owner) == (1, None)


def test_progress_is_told_over_all_partitions(settings):
    stage = SegmentationStage(settings, EMBEDDER, FixedModel())
    restorer = Restorer(settings, stage, settings.kafka.group_id)
    assert restorer.progress.detail() == {
        "restore_records": 0,
        "restore_share": 1.0,
        "restore_eta_seconds": 0.0,
    }
    hold, real = threading.Event(), restorer._restore

    def held(task: RestoreTask) -> Restored:
        if task.partition > 0:
            task.records, task.share = 30, 0.5
            assert hold.wait(20)
        return real(task)

    restorer._restore = held
    for partition in range(3):
        restorer.start(partition)
    until(lambda: len(restorer.finished()) == 1 or len(restorer.tasks) == 2)
    until(lambda: restorer.tasks[2].share == 0.5)
    progress = restorer.progress
    assert (progress.records, progress.share) == (60, pytest.approx(2 / 3))
    assert progress.eta_seconds is not None
    assert progress.eta_seconds > 0
    hold.set()
    until(lambda: not (restorer.finished(), restorer.tasks)[1])
    restorer.close()


class Published:
    """Versions of the segments, as a worker has heard of them."""

    def __init__(self, version: int) -> None:
        self.version = version

    def latest(self) -> SegmentModel:
        return model_of(EMBEDDER, self.version)


def decided_under(settings: Settings, version: int) -> None:
    """Let users be decided on under a version."""
    produce(settings, FIRST)
    with worker(settings, FixedModel(model_of(EMBEDDER, version))):
        until(lambda: committed(settings) == len(FIRST))


def test_a_partition_waits_until_the_version_is_known_that_decided_on_its_users(settings, caplog):
    caplog.set_level(logging.INFO)
    decided_under(settings, 5)
    known = Published(4)
    stage = SegmentationStage(settings, EMBEDDER, known)
    restorer = Restorer(settings, stage, settings.kafka.group_id)
    given: list[Restored] = []
    for partition in range(PARTITIONS):
        restorer.start(partition)

    def held() -> bool:
        restorer.finished()  # a partition without users waits for nobody
        return all(task.held_since for task in restorer.tasks.values())

    until(held)
    waiting = set(restorer.tasks)
    assert len(waiting) > 1
    assert restorer.finished() == []
    restorer.cancel(min(waiting))  # taken away meanwhile
    known.version = 5
    until(lambda: bool(given.extend(restorer.finished()) or not restorer.tasks))
    assert {each.partition for each in given} == waiting - {min(waiting)}
    restorer.close()
    assert "its users were decided on under a newer model than is known here" in caplog.text


def test_a_version_that_was_lost_with_its_topic_is_not_waited_for_without_end(settings, caplog):
    decided_under(settings, 5)
    stage = SegmentationStage(settings, EMBEDDER, Published(1))
    restorer = Restorer(settings, stage, settings.kafka.group_id)
    restorer.start(0)
    until(lambda: restorer.tasks[0].future is not None and restorer.tasks[0].future.done())
    assert restorer.finished() == []
    restorer._no_progress = 0.0
    assert [each.partition for each in restorer.finished()] == [0]
    restorer.close()
    assert "was the topic of the models made anew?" in caplog.text


def test_closing_does_not_wait_for_a_volume_that_hangs(settings, store):
    begun, gate = threading.Event(), threading.Event()

    class Hanging(CheckpointStore):
        def read(self, *_: object, **__: object) -> Any:
            begun.set()
            gate.wait()

    commit(settings, {0: 0})
    store = Hanging(store._folder, 3600)
    stage = SegmentationStage(settings, EMBEDDER, FixedModel())
    restorer = Restorer(settings, stage, settings.kafka.group_id, store=store)
    restorer.start(0)
    until(begun.is_set)
    closing = threading.Thread(target=restorer.close, daemon=True)
    closing.start()
    until(lambda: not closing.is_alive())
    gate.set()


def test_closing_does_not_wait_for_brokers_that_are_away(settings):
    away = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    settings = settings.model_copy(update={"kafka": away})
    stage = SegmentationStage(settings, EMBEDDER, FixedModel())
    restorer = Restorer(settings, stage, away.group_id)
    for partition in range(3):
        restorer.start(partition)
    waiting = restorer.tasks[2]
    closing = threading.Thread(target=restorer.close, daemon=True)
    closing.start()
    until(lambda: not closing.is_alive())
    # What had not begun never does.
    assert waiting.future is not None
    assert waiting.future.cancelled()
