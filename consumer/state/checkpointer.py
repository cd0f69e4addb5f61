"""Keeping local checkpoints of a stage's partitions while the loop turns.

The loop tells what it commits and calls `save_due` between its turns. That takes a snapshot, in
milliseconds, and hands it to a thread that writes it. Whatever goes wrong there is logged and
counted, and the former checkpoint stays: the worker goes on, since the truth is the changelog.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Self

from consumer.contract.stage import Checkpointed, Snapshot, Stage
from consumer.settings import RestoreSettings
from consumer.state.checkpoint_format import Owner, WriteCancelledError
from consumer.state.checkpoint_store import CheckpointStore
from consumer.state.restored import Restored
from consumer.telemetry.metrics import RestoreMetrics
from models.daemon_pool import DaemonPool

logger = logging.getLogger(__name__)

# The thread rests this many times as long as it wrote, so that checkpoints take a tenth of a core
# and of the disk at most, however many partitions there are.
_REST = 9
# A checkpoint of a partition in which nothing happens is written again before it is too old.
_REFRESH_SHARE = 0.5
# A write that is given up notices within a block; one that hangs never does.
_GIVE_UP_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class _Kept:
    """A partition of this process."""

    owner: Owner
    offset: int
    """Of the changelog: what lies below is in the state."""
    changed: bool
    """Whether the state has moved since the last checkpoint."""
    saved: float
    """When the last one was begun."""


@dataclass(slots=True)
class _Write:
    """A checkpoint on its way to the disk."""

    kept: _Kept
    future: Future[bool]


class Checkpointer:
    """Writes checkpoints of the partitions that the loop has; all calls come from its thread.

    Parameters
    ----------
    stage
        Gives the snapshots.
    store
        Where they go.
    seconds
        Between two checkpoints of a partition, at least. When writing takes long they are further
        apart.
    metrics
        Told the outcome of each.
    clock
        Seconds that do not go back.
    """

    def __init__(
        self,
        stage: Checkpointed,
        store: CheckpointStore,
        seconds: float,
        metrics: RestoreMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._store = store
        self._seconds = seconds
        self._metrics = metrics
        self._clock = clock
        self._kept: dict[int, _Kept] = {}
        self._writes: list[_Write] = []
        self._rests_until = float("-inf")
        self._failing = False
        self._closing = threading.Event()
        self._pool = DaemonPool(1, "checkpoint")

    @classmethod
    def of(
        cls,
        stage: Stage[Any, Any],
        store: CheckpointStore | None,
        settings: RestoreSettings,
        metrics: RestoreMetrics,
    ) -> Self | None:
        """Give one where the settings and the stage provide for checkpoints, else None."""
        if store is None or not isinstance(stage, Checkpointed):
            return None
        return cls(stage, store, settings.checkpoint_seconds, metrics)

    def assigned(self, restored: Restored) -> None:
        """Begin with a partition that the stage has taken over."""
        if restored.owner is None:
            return
        # One that was read from its changelog has no checkpoint to go on from: at once.
        fresh = restored.source == "checkpoint"
        self._kept[restored.partition] = _Kept(
            restored.owner,
            restored.covered,
            changed=restored.covered > 0,
            saved=self._clock() if fresh else float("-inf"),
        )

    def committed(self, written: Mapping[tuple[str, int], int]) -> None:
        """Take note of a transaction, once the stage has made it the state.

        Parameters
        ----------
        written
            By topic and partition, the offset behind the last record that it wrote there. Too low
            costs a later restore time, too high would lose users.
        """
        for (topic, partition), offset in written.items():
            kept = self._kept.get(partition)
            if kept is not None and kept.owner.topic == topic:
                kept.changed = True
                kept.offset = max(kept.offset, offset)

    def release(self, partition: int) -> None:
        """Let go of a partition, or of a state of which it is not known what is committed.

        What is being written stays right: the next restore reads what followed from the changelog.
        """
        self._kept.pop(partition, None)

    def due(self) -> int | None:
        """Give the partition that has waited longest for a checkpoint, None when none has to."""
        now = self._clock()
        refresh = self._store.max_age_seconds * _REFRESH_SHARE
        waiting = [
            (kept.saved, partition)
            for partition, kept in self._kept.items()
            if now - kept.saved >= (min(self._seconds, refresh) if kept.changed else refresh)
            and kept.offset > 0
        ]
        return min(waiting)[1] if waiting else None

    def save_due(self) -> None:
        """Begin with one checkpoint if one is due and none is being written.

        To be called between transactions.
        """
        self._collect()
        if self._writes or self._clock() < self._rests_until:
            return
        if (partition := self.due()) is not None:
            self._begin(partition)

    def save_all(self) -> None:
        """Begin with checkpoints of all that changed since the last one, at a clean stop.

        The partitions may be given up at once afterwards; `close` waits for the files.
        """
        self._collect()
        for partition, kept in self._kept.items():
            if kept.changed and kept.offset > 0:
                self._begin(partition)

    def close(self, seconds: float) -> None:
        """Wait so many seconds for what is being written, and give up the rest.

        A write that hangs, as on a volume that is gone, is left behind in its thread.
        """
        _, late = wait([write.future for write in self._writes], seconds)
        if late:
            logger.warning("%d checkpoints were not written in time", len(late))
        self._closing.set()
        for write in late:
            write.cancel()
        self._pool.close(_GIVE_UP_SECONDS)

    def _begin(self, partition: int) -> None:
        kept = self._kept[partition]
        kept.changed, kept.saved = False, self._clock()
        snapshot, taken_at = self._stage.snapshot(partition), self._store.now()
        future = self._pool.submit(lambda: self._write(kept.owner, kept.offset, snapshot, taken_at))
        self._writes.append(_Write(kept, future))

    def _collect(self) -> None:
        """Take note of what is written."""
        for write in [each for each in self._writes if each.future.done()]:
            self._writes.remove(write)
            if not write.future.result():
                write.kept.changed = True

    def _write(self, owner: Owner, offset: int, snapshot: Snapshot, taken_at: float) -> bool:
        """Write a checkpoint, in the thread; tell whether it is there."""
        started = self._clock()
        try:
            size = self._store.write(
                owner, offset, snapshot, taken_at=taken_at, cancelled=self._closing.is_set
            )
        except WriteCancelledError:
            logger.info("the checkpoint of %s[%d] is given up", owner.topic, owner.partition)
            return False
        except (OSError, MemoryError) as error:
            # Once, not every minute that the disk stays full; the metric tells of each.
            logger.log(
                logging.DEBUG if self._failing else logging.WARNING,
                "cannot write the checkpoint %s: %s; the former one, if any, stays, and a restart "
                "reads more of the changelog",
                self._store.path(owner),
                error,
            )
            self._failing = True
            self._metrics.writes.labels("failed").inc()
            return False
        finally:
            took = self._clock() - started
            self._rests_until = self._clock() + _REST * took
        if self._failing:
            self._failing = False
            logger.info("checkpoints are written again")
        self._metrics.writes.labels("written").inc()
        logger.debug(
            "checkpoint of %s[%d] at offset %d: %d users, %.1f MB in %.2f s",
            owner.topic,
            owner.partition,
            offset,
            len(snapshot),
            size / 1e6,
            took,
        )
        return True
