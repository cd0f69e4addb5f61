"""The loop: poll, prepare, apply, commit. The only code that knows Kafka transactions.

One turn of the loop, in order:

1. Take over partitions whose state has been read back.
2. Poll. Rebalance callbacks run in here and nowhere else, so never amid a transaction.
3. If the stage has work of its own (a new model), do a piece of it in a transaction.
4. If a batch has been prepared, start preparing the next one, then apply it and commit: the stage's
   outputs and the input offsets in one transaction.

Preparing runs in a thread of its own, so that batch n + 1 is embedded while batch n commits.

What a crash leaves, at each point: before the commit, nothing, and the batch is read again by
whoever gets the partition; after it, everything. The state in memory is never ahead of a commit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.clients import consumer_config, producer_config
from consumer.health import Health
from consumer.metrics import LoopMetrics
from consumer.reader import as_record
from consumer.records import Output, Record
from consumer.restore import Restorer
from consumer.settings import Settings
from consumer.stage import Stage
from consumer.transactions import FatalKafkaError, Outcome, Transactions

logger = logging.getLogger(__name__)

Prepared = TypeVar("Prepared")

# How long a poll may wait while a batch is being prepared: the latency it adds to a commit.
_POLL_SECONDS = 0.05
# With the next batch full and the present one not yet prepared, the loop waits this long before it
# pauses the partitions and goes on polling, so that the group does not take it for dead.
_PATIENCE_SECONDS = 2.0
# A batch that is aborted this often in a row will not succeed by being tried again.
_MAX_ABORTS = 20
_SEEK_ATTEMPTS = 50


@dataclass(slots=True)
class _Partition:
    """An assigned partition."""

    epoch: int
    """Grows with each assignment and each rewind; records of an older epoch are void."""
    position: int | None = None
    """Next offset to apply; None until restored."""
    fetched: int = 0
    """Next offset to collect. What lies below has been collected already: a seek that took hold
    late must not bring it in twice."""


@dataclass(slots=True)
class _Batch(Generic[Prepared]):
    """Records on their way, with the epochs under which they were read."""

    records: list[Record] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)
    opened: float = 0.0
    future: Future[Prepared] | None = None


class Loop(Generic[Prepared]):
    """Drives a stage over Kafka, exactly once.

    Parameters
    ----------
    stage
        What is computed. Its input is one topic.
    settings
        All settings.
    group_id
        Of the consumer group.
    transactional_id
        Stable for a process that keeps its name over restarts, so that its start ends what its
        predecessor left open.
    metrics, health
        Where the loop tells of itself.
    idle_seconds
        How long nothing must come before the stage is told that it is idle.
    """

    def __init__(
        self,
        stage: Stage[Prepared, Any],
        settings: Settings,
        *,
        group_id: str,
        transactional_id: str,
        metrics: LoopMetrics,
        health: Health,
        idle_seconds: float,
    ) -> None:
        self._stage = stage
        self._topic = stage.inputs[0]
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._partitions: dict[int, _Partition] = {}
        self._epochs = 0
        self._joined = False
        self._callback_error: BaseException | None = None
        self._collecting: _Batch[Prepared] = _Batch()
        self._preparing: _Batch[Prepared] | None = None
        self._paused_for_patience = False
        self._aborts = 0
        self._last_record = time.monotonic()
        self._last_report = 0.0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._transactions = Transactions(
            producer_config(settings.kafka, transactional_id),
            settings.kafka.transaction_timeout_seconds,
        )
        self._consumer = Consumer(
            {**consumer_config(settings.kafka, group_id), "error_cb": self._on_error}
        )
        self._restorer = Restorer(
            settings.kafka, stage, group_id, settings.restore.no_progress_seconds
        )

    def stop(self) -> None:
        """Ask the loop to finish what it has begun and to leave the group; any thread may."""
        self._stopping.set()

    def run(self) -> None:
        """Turn until stopped.

        Raises
        ------
        FatalKafkaError, StageError, ReadStalledError, KafkaException
            What made it impossible to go on. Nothing uncommitted is kept.
        """
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._guarded(self._on_assign),
            on_revoke=self._guarded(self._on_revoke),
            on_lost=self._guarded(self._on_lost),
        )
        try:
            while not self._stopping.is_set():
                self._turn()
            self._finish()
        finally:
            self._close()

    # --- one turn ---------------------------------------------------------------------------

    def _turn(self) -> None:
        self._health.tick()
        self._take_over_restored()
        self._poll()
        self._report()
        if not self._maintain():
            self._advance()

    def _poll(self) -> None:
        """Read what fits into the batch being collected."""
        batch = self._collecting
        room = self._settings.batch.max_records - len(batch.records)
        if room <= 0:
            self._poll_while_full()
            return
        if self._paused_for_patience:
            self._consumer.resume(self._active())
            self._paused_for_patience = False
        waiting = batch.opened + self._settings.batch.max_wait_seconds - time.monotonic()
        timeout = min(_POLL_SECONDS, max(waiting, 0.0)) if batch.records else _POLL_SECONDS
        # A partition may be taken away and come back within this very call; what was read before
        # is then void, which the epochs taken afterwards cannot tell. So callbacks count epochs up
        # and drop what is collected, and messages in hand belong to the epoch of now or to none.
        before = self._epochs
        messages = self._consumer.consume(room, timeout)
        self._raise_callback_error()
        if messages and self._epochs != before:
            self._rewind_to_positions()
            return
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(error)
                continue
            self._collect(as_record(message))

    def _collect(self, record: Record) -> None:
        partition = self._partitions.get(record.partition)
        if partition is None or partition.position is None or record.offset < partition.fetched:
            return
        partition.fetched = record.offset + 1
        batch = self._collecting
        if not batch.records:
            batch.opened = time.monotonic()
        batch.records.append(record)
        batch.epochs[record.partition] = partition.epoch
        self._last_record = time.monotonic()

    def _poll_while_full(self) -> None:
        """Wait for the batch in preparation; keep the membership alive if it takes long."""
        preparing = self._preparing
        if preparing is None or preparing.future is None:
            return
        if not self._paused_for_patience:
            wait([preparing.future], _PATIENCE_SECONDS)
            if preparing.future.done():
                return
            logger.info("a batch takes long to prepare: partitions paused meanwhile")
            self._consumer.pause(self._active())
            self._paused_for_patience = True
        messages = self._consumer.consume(1, _POLL_SECONDS)
        self._raise_callback_error()
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(error)
            else:
                # It was fetched before the pause took hold; there is room for a few more.
                self._collect(as_record(message))

    def _maintain(self) -> bool:
        """Do a piece of the stage's own work; tell whether there was any."""
        active = self._active()
        if not active:
            return False
        if (outputs := self._stage.maintain(idle=self._idle)) is None:
            return False
        self._commit(outputs, [tp.partition for tp in active])
        return True

    def _advance(self) -> None:
        """Hand the collected batch to the preparing thread, and apply the one that is ready."""
        ready = None
        if self._preparing is not None and self._preparing.future is not None:
            if not self._preparing.future.done():
                return
            ready, self._preparing = self._preparing, None
        if self._collected_enough():
            self._prepare_collected()
        if ready is not None:
            self._apply(ready)

    def _collected_enough(self) -> bool:
        batch = self._collecting
        if not batch.records:
            return False
        waited = time.monotonic() - batch.opened
        full = len(batch.records) >= self._settings.batch.max_records
        return full or waited >= self._settings.batch.max_wait_seconds

    def _prepare_collected(self) -> None:
        batch, self._collecting = self._collecting, _Batch()
        batch.future = self._executor.submit(self._timed_prepare, batch.records)
        self._preparing = batch

    def _timed_prepare(self, records: Sequence[Record]) -> Prepared:
        with self._metrics.prepare_seconds.time():
            return self._stage.prepare(records)

    def _apply(self, batch: _Batch[Prepared]) -> None:
        """Apply a prepared batch and commit it."""
        if batch.future is None:
            return
        prepared = batch.future.result()
        current = {
            number
            for number, epoch in batch.epochs.items()
            if number in self._partitions and self._partitions[number].epoch == epoch
        }
        if not current:
            return
        positions: dict[int, int] = {}
        for record in batch.records:
            if record.partition in current:
                positions[record.partition] = record.offset + 1
        outputs = self._stage.apply(prepared, frozenset(current))
        if self._commit(outputs, list(current), positions):
            self._metrics.batch_records.observe(len(batch.records))
            for record in batch.records:
                if record.partition in current:
                    self._metrics.records.labels(record.partition).inc()

    # --- transactions -----------------------------------------------------------------------

    def _commit(
        self,
        outputs: Sequence[Output],
        partitions: Sequence[int],
        advanced: dict[int, int] | None = None,
    ) -> bool:
        """Write outputs with the offsets of these partitions; tell whether that is committed."""
        advanced = advanced or {}
        offsets = []
        for number in partitions:
            position = advanced.get(number, self._partitions[number].position)
            if position is not None:
                offsets.append(TopicPartition(self._topic, number, position))
        with self._metrics.commit_seconds.time():
            outcome = self._transactions.write(outputs, offsets, self._consumer)
        self._metrics.transactions.labels(outcome.value).inc()
        if outcome is Outcome.COMMITTED:
            self._aborts = 0
            self._stage.committed()
            for number, position in advanced.items():
                self._partitions[number].position = position
            return True
        self._stage.aborted()
        self._drop_batches()
        self._aborts += 1
        if self._aborts >= _MAX_ABORTS:
            raise FatalKafkaError(f"{self._aborts} transactions in a row were aborted: giving up")
        if outcome is Outcome.UNKNOWN:
            self._transactions.reopen()
        if outcome is Outcome.UNKNOWN or self._stage.restore_after_abort:
            self._restore_again()
        else:
            time.sleep(min(0.05 * 2**self._aborts, 1.0))
            self._rewind_to_positions()
        return False

    def _drop_batches(self) -> None:
        self._collecting = _Batch()
        if self._preparing is not None and self._preparing.future is not None:
            self._preparing.future.cancel()
            self._preparing = None

    def _rewind_to_positions(self) -> None:
        """Read again from where the last commit left off, on every restored partition."""
        for number, partition in self._partitions.items():
            if partition.position is not None:
                partition.epoch = self._next_epoch()
                partition.fetched = partition.position
                self._seek(number, partition.position)
        self._drop_batches()

    def _restore_again(self) -> None:
        """Read the state of all partitions back, as after an assignment."""
        for number, partition in self._partitions.items():
            self._stage.revoked(number)
            partition.epoch = self._next_epoch()
            partition.position = None
            self._consumer.pause([TopicPartition(self._topic, number)])
            self._restorer.start(number)

    def _seek(self, number: int, offset: int) -> None:
        place = TopicPartition(self._topic, number, offset)
        for attempt in range(_SEEK_ATTEMPTS):
            try:
                self._consumer.seek(place)
            except KafkaException as error:
                # Just assigned, the fetcher may not be up yet.
                if error.args[0].code() != KafkaError._STATE or attempt == _SEEK_ATTEMPTS - 1:
                    raise
                time.sleep(0.1)
            else:
                return

    # --- partitions come and go -------------------------------------------------------------

    def _guarded(
        self, handler: Callable[[list[TopicPartition]], None]
    ) -> Callable[[Consumer, list[TopicPartition]], None]:
        """Record what a callback raises: raised inside of consume() it would lose messages."""

        def callback(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
            try:
                handler(partitions)
            except Exception as error:
                self._callback_error = self._callback_error or error

        return callback

    def _raise_callback_error(self) -> None:
        if (error := self._callback_error) is not None:
            self._callback_error = None
            raise error

    def _on_assign(self, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("assign").inc()
        self._joined = True
        self._consumer.incremental_assign(partitions)
        if not partitions:
            return
        logger.info("assigned: %s", _names(partitions))
        self._consumer.pause(partitions)
        for place in partitions:
            self._partitions[place.partition] = _Partition(self._next_epoch())
            self._restorer.start(place.partition)

    def _on_revoke(self, partitions: list[TopicPartition]) -> None:
        self._release("revoke", partitions)

    def _on_lost(self, partitions: list[TopicPartition]) -> None:
        self._release("lost", partitions)

    def _release(self, kind: str, partitions: list[TopicPartition]) -> None:
        """Let go. Nothing is open here: every commit ends before the next poll."""
        self._metrics.rebalances.labels(kind).inc()
        if partitions:
            logger.info("%s: %s", kind, _names(partitions))
        for place in partitions:
            self._restorer.cancel(place.partition)
            if self._partitions.pop(place.partition, None) is not None:
                self._epochs += 1
                self._stage.revoked(place.partition)
                self._metrics.forget(place.partition)
        gone = {place.partition for place in partitions}
        self._collecting.records = [
            record for record in self._collecting.records if record.partition not in gone
        ]
        self._consumer.incremental_unassign(partitions)

    def _take_over_restored(self) -> None:
        for restored in self._restorer.finished():
            partition = self._partitions[restored.partition]
            self._stage.assigned(restored.partition, restored.restoration)
            partition.epoch = self._next_epoch()
            partition.position = partition.fetched = restored.offset
            self._seek(restored.partition, restored.offset)
            self._consumer.resume([TopicPartition(self._topic, restored.partition)])
        self._health.ready = self._joined and not self._restorer.tasks

    def _next_epoch(self) -> int:
        self._epochs += 1
        return self._epochs

    def _active(self) -> list[TopicPartition]:
        return [
            TopicPartition(self._topic, number)
            for number, partition in self._partitions.items()
            if partition.position is not None
        ]

    # --- errors, reports, the end -----------------------------------------------------------

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._callback_error = self._callback_error or FatalKafkaError(error.str())
        else:
            logger.warning("kafka: %s", error.str())

    def _on_message_error(self, error: KafkaError) -> None:
        if error.fatal():
            raise FatalKafkaError(error.str())
        if error.code() in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        ):
            raise FatalKafkaError(f"cannot read {self._topic}: {error.str()}")
        logger.warning("kafka: %s", error.str())

    @property
    def _idle(self) -> bool:
        """Whether the input is read up: nothing under way, and nothing came for a while."""
        return (
            not self._collecting.records
            and self._preparing is None
            and not self._restorer.tasks
            and time.monotonic() - self._last_record >= self._idle_seconds
        )

    def _report(self) -> None:
        """Set the gauges, twice a second."""
        now = time.monotonic()
        if now - self._last_report < 0.5:
            return
        self._last_report = now
        self._metrics.partitions.set(len(self._partitions))
        self._metrics.restoring.set(len(self._restorer.tasks))
        self._metrics.restore_share.set(self._restorer.share)
        behind = 0
        for number, partition in list(self._partitions.items()):
            if partition.position is None:
                continue
            place = TopicPartition(self._topic, number)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            # Below zero: nothing was fetched yet, so nothing is known.
            lag = max(high - partition.position, 0)
            behind += lag
            self._metrics.lag.labels(number).set(lag)
        self._metrics.idle.set(float(self._joined and self._idle))
        self._health.detail = {
            "assigned": sorted(self._partitions),
            "restoring": sorted(self._restorer.tasks),
            "restore_share": round(self._restorer.share, 3),
            "lag": behind,
        }

    def _finish(self) -> None:
        """Commit the batch in preparation; what is only collected will be read again."""
        logger.info("stopping: finishing the batch under way")
        if self._preparing is not None and self._preparing.future is not None:
            ready, self._preparing = self._preparing, None
            self._apply(ready)

    def _close(self) -> None:
        self._health.ready = False
        self._restorer.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._consumer.close()
        self._transactions.close()
        logger.info("left the group")


def _names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{place.topic}[{place.partition}]" for place in partitions)
