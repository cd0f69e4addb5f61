"""Reading the state of newly assigned partitions back, beside the loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from consumer.reader import committed_offset, end_offset, read_partition, start_offset
from consumer.settings import KafkaSettings
from consumer.stage import Restoration, Stage, Upto

logger = logging.getLogger(__name__)


class _CancelledError(Exception):
    """The partition was taken away while it was read back."""


@dataclass(slots=True)
class Restored:
    """A partition whose state is read back, and the offset where its input goes on."""

    partition: int
    restoration: Restoration
    offset: int


@dataclass(slots=True)
class RestoreTask:
    """One partition on its way."""

    partition: int
    records: int = 0
    share: float = 0.0
    started: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[Restored] | None = None


class Restorer:
    """Restores partitions in threads; the loop asks for what is finished.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    stage
        Says which changelogs make up a partition's state.
    group_id
        Whose committed offsets count.
    no_progress_seconds
        How long to wait for the next record of a changelog.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        stage: Stage[Any, Any],
        group_id: str,
        no_progress_seconds: float,
    ) -> None:
        self._kafka = kafka
        self._stage = stage
        self._group_id = group_id
        self._no_progress = no_progress_seconds
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="restore")
        self.tasks: dict[int, RestoreTask] = {}

    def start(self, partition: int) -> None:
        """Begin with a partition, anew if it is under way."""
        self.cancel(partition)
        task = RestoreTask(partition)
        task.future = self._executor.submit(self._restore, task)
        self.tasks[partition] = task

    def cancel(self, partition: int) -> None:
        """Stop with a partition that was taken away."""
        if task := self.tasks.pop(partition, None):
            task.cancelled.set()

    def finished(self) -> list[Restored]:
        """Give what is finished since the last call.

        Raises
        ------
        Exception
            What went wrong with one, such as ReadStalledError or StageError.
        """
        done = [task for task in self.tasks.values() if task.future and task.future.done()]
        results = []
        for task in done:
            del self.tasks[task.partition]
            if task.future is not None:
                results.append(task.future.result())
        return results

    @property
    def share(self) -> float:
        """Share of the present work that is done, 1 when there is none."""
        tasks = list(self.tasks.values())
        return sum(task.share for task in tasks) / len(tasks) if tasks else 1.0

    def close(self) -> None:
        """Cancel everything and wait for the threads."""
        for partition in list(self.tasks):
            self.cancel(partition)
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _restore(self, task: RestoreTask) -> Restored:
        topic = self._stage.inputs[0]
        # First the offset, then the state's end: the state read is never older than the offset.
        offset = self._start_offset(topic, task.partition)
        restoration = self._stage.restoration(task.partition)
        for log in restoration.changelogs:
            end = end_offset(self._kafka, log.topic, log.partition)
            target = end if log.upto is Upto.END else min(offset, end)
            if target <= 0:
                continue
            records = read_partition(
                self._kafka,
                log.topic,
                log.partition,
                target,
                no_progress_seconds=self._no_progress,
                cancelled=task.cancelled.is_set,
                progress=self._report(task, log.topic),
            )
            for record in records:
                restoration.load(record)
                task.records += 1
            if task.cancelled.is_set():
                raise _CancelledError(f"partition {task.partition} was taken away")
        logger.info(
            "partition %d restored: %d records in %.1f s, input goes on at offset %d",
            task.partition,
            task.records,
            time.monotonic() - task.started,
            offset,
        )
        return Restored(task.partition, restoration, offset)

    def _report(self, task: RestoreTask, topic: str) -> Callable[[int, float], None]:
        def report(count: int, share: float) -> None:
            task.share = share
            elapsed = time.monotonic() - task.started
            eta = elapsed / share - elapsed if share > 0 else float("inf")
            logger.info(
                "restoring %s[%d]: %d records, %.0f %%, about %.0f s to go",
                topic,
                task.partition,
                count,
                100 * share,
                eta,
            )

        return report

    def _start_offset(self, topic: str, partition: int) -> int:
        """Find where the group goes on: its committed offset, else where a new group begins."""
        committed = committed_offset(
            self._kafka, self._group_id, topic, partition, wait_seconds=self._no_progress
        )
        if committed is not None:
            return committed
        if self._kafka.auto_offset_reset == "earliest":
            return start_offset(self._kafka, topic, partition)
        return end_offset(self._kafka, topic, partition)
