"""Reading the state of newly assigned partitions back, beside the loop.

The state of a partition is what the committed records of its changelog add up to. A checkpoint
holds that sum up to an offset of the changelog, and the records from there to the end add the rest:

* It holds committed state only, so every record that it rests on is in the changelog for good, and
  it cannot be ahead of the group's committed offset, which went into the same transactions.
* It may be older than the partition's last owner: what others committed meanwhile is in the rest.
* A record holds the whole state of its user, so one that is loaded though the checkpoint has it, or
  a part of it, already does no harm. An offset too low costs time; one too high would lose users.

With or without a checkpoint, the group's offset is asked for first and the changelog's end after
it: what was committed up to that offset lies before that end, so the state is never older than the
offset.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from consumer.contract.stage import (
    Changelog,
    Completed,
    OtherVersionError,
    Restoration,
    Resumable,
    Stage,
    StageError,
    Upto,
    Waiting,
)
from consumer.kafka.asking import AskCancelledError
from consumer.kafka.cluster import Cluster, OffsetGoneError
from consumer.kafka.offset_metadata import OffsetMetadata, read_inputs
from consumer.settings import Settings
from consumer.state.checkpoint_format import Checkpoint, Owner, Reason, Unusable
from consumer.state.checkpoint_store import CheckpointStore
from consumer.state.positions import Hints, Position, Positions
from consumer.state.restored import Restored, RestoreProgress, RestoreTask
from consumer.telemetry.metrics import RestoreMetrics
from models.daemon_pool import DaemonPool

logger = logging.getLogger(__name__)

# A thread that waits for brokers notices sooner or later, one that waits for a volume may never.
_CLOSE_SECONDS = 1.0


class LostOffsetsError(StageError):
    """The group has state and no committed offset; its input would count again."""


class _CancelledError(Exception):
    """The partition was taken away while it was read back."""


class Restorer:
    """Restores partitions in threads; the loop asks for what is finished.

    Parameters
    ----------
    settings
        Where a group without an offset begins, and how a restore goes.
    stage
        Says which changelogs make up a partition's state.
    group_id
        Whose state it is.
    cluster
        Where it comes from.
    positions
        Where the group goes on.
    store
        Where checkpoints are; none are used without.
    metrics
        Told of what is finished and of checkpoints that are dropped.
    """

    def __init__(
        self,
        settings: Settings,
        stage: Stage[Any, Any],
        group_id: str,
        *,
        cluster: Cluster | None = None,
        positions: Positions | None = None,
        store: CheckpointStore | None = None,
        metrics: RestoreMetrics | None = None,
    ) -> None:
        self._stage = stage
        self._group_id = group_id
        self._cluster = cluster or Cluster(settings.kafka)
        self._positions = positions or Positions(self._cluster, group_id, settings)
        self._store = store
        self._metrics = metrics
        self._begin = settings.kafka.auto_offset_reset
        self._no_progress = settings.restore.no_progress_seconds
        self._accept_lost_offsets = settings.restore.accept_lost_offsets
        self._pool = DaemonPool(2, "restore")
        self.tasks: dict[int, RestoreTask] = {}
        # Of the tasks since there were none: what progress is told by.
        self._began = 0.0
        self._done: list[Restored] = []

    def start(
        self,
        partition: int,
        unread: Mapping[str, int] | None = None,
        suspects: frozenset[str] = frozenset(),
    ) -> None:
        """Begin with a partition, anew if it is under way; see `RestoreTask`."""
        self.cancel(partition)
        if not self.tasks:
            self._began, self._done = time.monotonic(), []
        task = RestoreTask(partition, unread or {}, suspects)
        task.future = self._pool.submit(lambda: self._restore(task))
        self.tasks[partition] = task

    def cancel(self, partition: int) -> None:
        """Stop with a partition that was taken away."""
        if task := self.tasks.pop(partition, None):
            task.cancelled.set()
            if task.future is not None:
                task.future.cancel()

    def finished(self) -> list[Restored]:
        """Give what is finished since the last call.

        Raises
        ------
        Exception
            What went wrong with one, such as ReadStalledError or StageError.
        """
        done = [task for task in self.tasks.values() if task.future and self._is_due(task)]
        results = []
        for task in done:
            del self.tasks[task.partition]
            if task.future is not None:
                results.append(task.future.result())
        self._done += results
        if self._metrics is not None:
            for restored in results:
                self._metrics.restored.labels(restored.source).inc()
                self._metrics.seconds.observe(restored.seconds)
        return results

    def _is_due(self, task: RestoreTask) -> bool:
        """Tell whether a partition is read back, and the stage may take it over."""
        if task.future is None or not task.future.done():
            return False
        if not isinstance(self._stage, Waiting) or task.future.exception() is not None:
            return True
        if self._stage.may_take_over(task.future.result().restoration):
            return True
        now = time.monotonic()
        if task.held_since is None:
            task.held_since = now
            logger.info(
                "%s waits: its users were decided on under a newer model than is known here",
                task.place,
            )
        if now - task.held_since < self._no_progress:
            return False
        logger.warning(
            "%s is taken over after %g s (restore.no_progress_seconds), though its users were "
            "decided on under a newer model than was ever published: was the topic of the models "
            "made anew?",
            task.place,
            self._no_progress,
        )
        return True

    @property
    def progress(self) -> RestoreProgress:
        """How far the present work is; all done when there is none."""
        tasks = list(self.tasks.values())
        if not tasks:
            return RestoreProgress()
        ended = len(self._done)
        share = (ended + sum(task.share for task in tasks)) / (ended + len(tasks))
        elapsed = time.monotonic() - self._began
        return RestoreProgress(
            records=sum(done.records for done in self._done) + sum(t.records for t in tasks),
            share=share,
            eta_seconds=elapsed / share - elapsed if share > 0 else None,
        )

    def close(self) -> None:
        """Cancel everything; the threads are waited for, though not where a call hangs."""
        for partition in list(self.tasks):
            self.cancel(partition)
        self._pool.close(_CLOSE_SECONDS)

    # --- one partition, in a thread -----------------------------------------------------------

    def _restore(self, task: RestoreTask) -> Restored:
        try:
            return self._read_back(task)
        except AskCancelledError as error:
            raise _CancelledError(f"{task.place} was taken away") from error

    def _read_back(self, task: RestoreTask) -> Restored:
        task.started = time.monotonic()
        topic, *others = self._stage.inputs
        partition = task.partition
        restoration = self._stage.restoration(partition)
        logs = [log for log in restoration.changelogs if log.needs_offset]
        # First the offsets, then the state's end: the state read is never older than an offset.
        position = self._find(task, topic, self._begin)
        former: dict[str, OffsetMetadata] = {}
        if position.begins and (former := self._inputs_of(task, logs)):
            position = self._find(task, topic, self._begin, former)
        restored = Restored(
            partition,
            restoration,
            position,
            seconds=0,
            # Without an offset at its beginning, as a table is.
            beside={name: self._find(task, name, "earliest", former) for name in others},
            logs=[(log.topic, log.partition) for log in logs],
        )
        for log in restored.restoration.changelogs:
            self._read_log(task, restored, log, lost=restored.position.begins)
            if task.cancelled.is_set():
                raise _CancelledError(f"{task.place} was taken away")
        if isinstance(restored.restoration, Completed):
            restored.restoration.complete(restored.offset, task.cancelled.is_set)
            if task.cancelled.is_set():
                raise _CancelledError(f"{task.place} was taken away")
        restored.records = task.records
        restored.seconds = time.monotonic() - task.started
        logger.info(
            "partition %d restored in %.1f s: %d users from the checkpoint, %d records from the "
            "changelog; input goes on at offset %d",
            partition,
            restored.seconds,
            restored.users,
            restored.records,
            restored.offset,
        )
        return restored

    def _read_log(
        self, task: RestoreTask, restored: Restored, log: Changelog, *, lost: bool
    ) -> None:
        """Read a changelog, from a checkpoint on where there is one that fits."""
        first, end = self._cluster.watermarks(log.topic, log.partition)
        target = end if log.upto is Upto.END else min(restored.offset, end)
        refuse = lost and log.needs_offset and not self._accept_lost_offsets
        restored.owner = self._owner(restored.restoration, log)
        # To be refused at the first record, whatever a checkpoint holds.
        start = 0 if refuse else self._resume(task, restored, first, end)
        try:
            self._read_records(task, restored.restoration, log, start, target, refuse=refuse)
        except OffsetGoneError as error:
            self._drop(restored, Unusable(Reason.OUTDATED, str(error)))
            restored.restoration = self._stage.restoration(task.partition)
            restored.users, restored.source, task.records = 0, "changelog", 0
            self._read_records(task, restored.restoration, log, 0, target, refuse=refuse)
        restored.covered = target

    def _owner(self, restoration: Restoration, log: Changelog) -> Owner | None:
        """Say whose state it is, None where no checkpoints are kept."""
        if self._store is None or not isinstance(restoration, Resumable):
            return None
        identity = self._cluster.identity(log.topic)
        return Owner(
            cluster_id=identity.cluster_id,
            group_id=self._group_id,
            topic=log.topic,
            topic_id=identity.topic_id,
            partition=log.partition,
            kind=restoration.kind,
        )

    def _resume(self, task: RestoreTask, restored: Restored, first: int, end: int) -> int:
        """Take a checkpoint over and give the offset behind it; 0 where none can be used."""
        store, owner, restoration = self._store, restored.owner, restored.restoration
        if store is None or owner is None or not isinstance(restoration, Resumable):
            return 0
        found = store.read(owner, first, end, task.cancelled.is_set)
        if task.cancelled.is_set():
            raise _CancelledError(f"{task.place} was taken away")
        if isinstance(found, Checkpoint):
            try:
                restored.users = restoration.resume(found.columns)
            except ValueError as error:
                other = isinstance(error, OtherVersionError)
                found = Unusable(Reason.OUTDATED if other else Reason.DAMAGED, str(error))
                restored.restoration = self._stage.restoration(task.partition)
            else:
                restored.source = "checkpoint"
                return found.header.offset
        if found.reason is not Reason.MISSING:
            self._drop(restored, found)
        return 0

    def _drop(self, restored: Restored, unusable: Unusable) -> None:
        """Remove a checkpoint that is of no use."""
        if self._store is None or restored.owner is None:
            return
        logger.warning(
            "the checkpoint %s is dropped (%s): %s; the state of partition %d is read from its "
            "changelog",
            self._store.path(restored.owner),
            unusable.reason,
            unusable.detail,
            restored.partition,
        )
        self._store.drop(restored.owner)
        if self._metrics is not None:
            self._metrics.dropped.labels(unusable.reason.value).inc()

    def _read_records(
        self,
        task: RestoreTask,
        restoration: Restoration,
        log: Changelog,
        start: int,
        target: int,
        *,
        refuse: bool,
    ) -> None:
        for records in self._cluster.read_columns(
            log.topic,
            log.partition,
            target,
            start=start,
            no_progress_seconds=self._no_progress,
            cancelled=task.cancelled.is_set,
            progress=self._report(task, log.topic),
        ):
            if refuse:
                raise self._lost_offsets(log)
            restoration.load_many(records)
            task.records += len(records)

    def _report(self, task: RestoreTask, topic: str) -> Callable[[int, float], None]:
        def report(count: int, share: float) -> None:
            task.share = share
            if share == 1.0:  # it is told at once what came of it
                return
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

    def _find(
        self,
        task: RestoreTask,
        topic: str,
        begin: str,
        former: Mapping[str, OffsetMetadata] | None = None,
    ) -> Position:
        hints = Hints(
            (former or {}).get(topic),
            task.unread.get(topic, 0),
            topic in task.suspects,
            task.cancelled.is_set,
        )
        return self._positions.find(topic, task.partition, begin, hints)

    def _inputs_of(self, task: RestoreTask, logs: Iterable[Changelog]) -> dict[str, OffsetMetadata]:
        """Read in changelogs which inputs the state rests on, where the brokers have forgotten."""
        found: dict[str, OffsetMetadata] = {}
        for log in logs:
            for record in self._cluster.read(
                log.topic,
                log.partition,
                self._cluster.end(log.topic, log.partition),
                no_progress_seconds=self._no_progress,
                cancelled=task.cancelled.is_set,
            ):
                found = read_inputs(record.headers) or found
        return found

    def _lost_offsets(self, log: Changelog) -> LostOffsetsError:
        topic = self._stage.inputs[0]
        again = "count again" if self._begin == "earliest" else "be skipped"
        return LostOffsetsError(
            f"{log.topic}[{log.partition}] holds state, but the group {self._group_id!r} has no "
            f"committed offset for {topic}[{log.partition}], so events would {again}: the offsets "
            "expired at the broker, or kafka.group_id is not that of the state; set the group's "
            "offsets to where it stood, give the former kafka.group_id, or accept it with "
            "restore.accept_lost_offsets = true"
        )
