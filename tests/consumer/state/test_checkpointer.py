"""When checkpoints are written, and that nothing about them stops the worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consumer.contract.records import Record
from consumer.settings import RestoreSettings
from consumer.stages.training.stage import TrainingStage
from consumer.state.checkpoint_format import Checkpoint, Owner
from consumer.state.checkpoint_store import CheckpointStore
from consumer.state.checkpointer import Checkpointer
from consumer.state.positions import Position
from consumer.state.restored import Restored
from consumer.telemetry.metrics import RestoreMetrics
from tests.consumer.kafka_runs import until
from tests.consumer.stages.stage_data import EMBEDDER, Worker, a_model, event, of, records

HOUR = 3600


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Store(CheckpointStore):
    """Writes by what a test puts in its place."""

    def __init__(self, folder: Path, max_age_seconds: float) -> None:
        super().__init__(folder, max_age_seconds)
        self.by: Callable[..., int] = super().write

    def write(self, *arguments: Any, **named: Any) -> int:
        return self.by(*arguments, **named)


class Kept:
    """A worker's stage with a checkpointer, driven as the loop drives it."""

    def __init__(self, folder: Path, partitions: tuple[int, ...] = (0,)) -> None:
        self.worker = Worker(a_model(), partitions)
        self.clock = Clock()
        self.store = Store(folder, 12 * HOUR)
        self.metrics = RestoreMetrics(CollectorRegistry())
        self.checkpointer = Checkpointer(
            self.worker.stage, self.store, 60, self.metrics, self.clock
        )
        self.written: dict[int, list[Record]] = {number: [] for number in partitions}

    def owner(self, partition: int = 0) -> Owner:
        kind = self.worker.stage.restoration(partition).kind
        return Owner(
            cluster_id="c",
            group_id="g",
            topic="user-profiles",
            topic_id="t",
            partition=partition,
            kind=kind,
        )

    def assign(self, partition: int = 0, *, covered: int = 0, source: str = "checkpoint") -> None:
        restoration = self.worker.stage.restoration(partition)
        self.checkpointer.assigned(
            Restored(
                partition,
                restoration,
                Position(0),
                seconds=0,
                covered=covered,
                owner=self.owner(partition),
                source=source,
            )
        )

    def commit(self, user: str, number: int, partition: int = 0) -> None:
        log = self.written[partition]
        for output in of(
            self.worker.run(records([event(user, number)], partition)), "user-profiles"
        ):
            log.append(Record(output.topic, partition, len(log), -1, output.key, output.value))
        self.checkpointer.committed({("user-profiles", partition): len(log)})

    def offset(self, partition: int = 0) -> int | None:
        """Offset of the checkpoint on the disk."""
        found = self.store.read(self.owner(partition), 0, 10**9)
        return found.header.offset if isinstance(found, Checkpoint) else None

    def save(self, count: int = 1) -> None:
        """Turn until so many checkpoints more are written."""
        wanted = self.outcomes()["written"] + count

        def done() -> bool:
            self.checkpointer.save_due()
            return self.outcomes()["written"] == wanted

        until(done, 20)
        self.checkpointer.save_due()

    def outcomes(self) -> dict[str, float]:
        return {
            name: self.metrics.writes.labels(name)._value.get() for name in ("written", "failed")
        }

    def state_again(self, partition: int = 0) -> dict[str, str]:
        """The state as a restart finds it: the checkpoint, and the records behind it."""
        found = self.store.read(self.owner(partition), 0, 10**9)
        assert isinstance(found, Checkpoint)
        restoration = self.worker.stage.restoration(partition)
        assert restoration.resume(found.columns) == found.header.users
        for record in self.written[partition][found.header.offset :]:
            restoration.load(record)
        return {
            user: restoration.table.gather([user]).to_record(0, EMBEDDER.identity).model_dump_json()
            for user in restoration.table.users
        }


@pytest.fixture
def kept(tmp_path: Path):
    kept = Kept(tmp_path / "checkpoints", (0, 1))
    yield kept
    kept.checkpointer.close(20)


def test_a_partition_is_saved_after_the_interval_and_only_if_it_changed(kept):
    kept.assign()
    kept.commit("u", 1)
    kept.clock.now = 59
    assert kept.checkpointer.due() is None
    kept.clock.now = 60
    kept.save()
    assert kept.offset() == 1
    kept.clock.now = 1000
    assert kept.checkpointer.due() is None
    kept.commit("u", 2)
    kept.save()
    assert kept.offset() == 2
    assert kept.state_again() == kept.worker.state()


def test_a_state_that_came_from_its_changelog_is_saved_at_once(kept):
    kept.assign(covered=7, source="changelog")
    assert kept.checkpointer.due() == 0
    kept.save()
    assert kept.offset() == 7


def test_an_empty_partition_has_nothing_to_be_saved(kept):
    kept.assign(covered=0, source="changelog")
    kept.clock.now = 10**6
    assert kept.checkpointer.due() is None
    kept.checkpointer.save_all()
    kept.checkpointer.close(20)
    assert kept.outcomes() == {"written": 0, "failed": 0}


def test_a_quiet_partition_is_saved_again_before_its_checkpoint_is_too_old(kept):
    kept.assign()
    kept.commit("u", 1)
    kept.clock.now = 60
    kept.save()
    kept.clock.now = 60 + 6 * HOUR - 1
    assert kept.checkpointer.due() is None
    kept.clock.now += 1
    assert kept.checkpointer.due() == 0


def test_the_partition_that_waited_longest_comes_first(kept):
    kept.assign(0)
    kept.clock.now = 10
    kept.assign(1)
    kept.commit("u", 1, 0)
    kept.commit("v", 1, 1)
    kept.clock.now = 100
    assert kept.checkpointer.due() == 0
    kept.save(2)
    assert (kept.offset(0), kept.offset(1)) == (1, 1)


def test_a_commit_of_a_lower_offset_never_moves_the_offset_back(kept):
    kept.assign(covered=1)
    kept.commit("u", 1)
    kept.commit("u", 2)
    kept.checkpointer.committed({("user-profiles", 0): 1})
    kept.clock.now = 60
    kept.save()
    assert kept.offset() == 2


def test_a_released_partition_is_saved_no_more(kept):
    kept.assign()
    kept.commit("u", 1)
    kept.checkpointer.release(0)
    kept.checkpointer.release(0)
    kept.checkpointer.committed({("user-profiles", 0): 5})
    kept.clock.now = 100
    assert kept.checkpointer.due() is None


def test_events_that_come_while_a_checkpoint_is_written_are_set_right_by_the_changelog(kept):
    """The snapshot is the live table: it may hold later states than its offset says."""
    kept.assign()
    for user in "abcdef":
        kept.commit(user, 1)
    begun, go_on = threading.Event(), threading.Event()
    real = kept.store.by

    def write(*args: object, cancelled: Callable[[], bool], **kwargs: object) -> int:
        def wait() -> bool:
            begun.set()
            assert go_on.wait(20)
            return cancelled()

        return real(*args, cancelled=wait, **kwargs)

    kept.store.by = write
    kept.clock.now = 60
    kept.checkpointer.save_due()
    assert begun.wait(20)
    for number in range(2, 5):
        kept.commit("b", number)
    kept.commit("new", 1)
    go_on.set()
    until(lambda: kept.outcomes()["written"] == 1, 20)
    assert kept.offset() == 6
    again = kept.state_again()
    state = kept.worker.state()
    assert again.keys() == state.keys()
    assert again == state


def test_writing_takes_a_tenth_of_the_time_at_most(kept):
    real = kept.store.by

    def slow(*args: object, **kwargs: object) -> int:
        kept.clock.now += 20
        return real(*args, **kwargs)

    kept.store.by = slow
    kept.assign(0, covered=1, source="changelog")
    kept.assign(1, covered=1, source="changelog")
    kept.save()
    kept.clock.now = 20 + 9 * 20 - 1
    kept.checkpointer.save_due()
    assert kept.outcomes()["written"] == 1
    kept.clock.now += 1
    kept.save()


def test_a_write_that_fails_is_told_once_counted_and_tried_again(kept, caplog):
    caplog.set_level(logging.INFO)
    kept.assign()
    kept.commit("u", 1)
    real = kept.store.by

    def full(*_args: object, **_kwargs: object) -> int:
        raise OSError(28, "No space left on device")

    kept.store.by = full
    for failed in range(1, 4):
        kept.clock.now += 60

        def tried(failed: int = failed) -> bool:
            kept.checkpointer.save_due()
            return kept.outcomes()["failed"] == failed

        until(tried, 20)
    kept.store.by = real
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    kept.clock.now += 60
    kept.save()
    assert kept.offset() == 1
    assert "checkpoints are written again" in caplog.text


def test_a_clean_stop_saves_all_that_changed_though_the_partitions_are_given_up(kept):
    kept.assign(0)
    kept.assign(1)
    kept.commit("u", 1, 0)
    kept.commit("v", 1, 1)
    state = kept.worker.state()
    kept.checkpointer.save_all()
    for partition in (0, 1):
        kept.worker.stage.revoked(partition)
        kept.checkpointer.release(partition)
    kept.checkpointer.close(20)
    assert kept.state_again(0) | kept.state_again(1) == state


def test_a_stop_does_not_wait_longer_than_it_is_given(kept, caplog):
    kept.assign(0)
    kept.assign(1)
    kept.commit("u", 1, 0)
    kept.commit("v", 1, 1)
    real = kept.store.by

    def slow(*args: object, cancelled: Callable[[], bool], **kwargs: object) -> int:
        until(cancelled, 20)
        return real(*args, cancelled=cancelled, **kwargs)

    kept.store.by = slow
    kept.checkpointer.save_all()
    kept.checkpointer.close(0.01)
    assert "2 checkpoints were not written in time" in caplog.text
    assert (kept.offset(0), kept.offset(1)) == (None, None)
    assert kept.outcomes() == {"written": 0, "failed": 0}


def test_there_is_none_without_a_folder_or_for_a_stage_without_snapshots(kept):
    settings = RestoreSettings()
    stage, store = kept.worker.stage, kept.store
    assert Checkpointer.of(stage, None, settings, kept.metrics) is None
    trainer = TrainingStage(kept.worker.settings)
    assert Checkpointer.of(trainer, store, settings, kept.metrics) is None
    one = Checkpointer.of(stage, store, settings, kept.metrics)
    assert one is not None
    one.close(1)


def test_a_partition_without_an_owner_is_not_kept(kept):
    restored = Restored(0, kept.worker.stage.restoration(0), Position(0), seconds=0, covered=9)
    kept.checkpointer.assigned(restored)
    assert kept.checkpointer.due() is None
