"""The loop: poll, prepare, apply, commit. The only code that knows Kafka transactions.

One turn of the loop, in order:

1. Take over partitions whose state has been read back.
2. Poll. Rebalance callbacks run in here and nowhere else, so never amid a transaction.
3. If the stage has work of its own (a new model), do a piece of it in a transaction.
4. If a batch has been prepared, start preparing the next one, then apply it and commit: the stage's
   outputs and the input offsets in one transaction.

Preparing runs in threads of its own, so that batch n + 2 is cleaned and batch n + 1 embedded while
batch n commits. Batches are applied in the order in which they were read.

What a crash leaves, at each point: before the commit, nothing, and the batch is read again by
whoever gets the partition; after it, everything. The state in memory is never ahead of a commit.

Beside it: `consumer.engine.batches` collects and prepares, `consumer.engine.partitions` keeps
positions, `consumer.engine.transactions` sorts the errors of transactions, `consumer.state.restore`
reads state back. What is left here is more than 400 lines, since the order of these calls is the
guarantee, and an order is best read in one piece.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumer.contract.records import Output, Record
from consumer.contract.stage import Stage
from consumer.engine.batches import Batch, Batches
from consumer.engine.crash_points import reached
from consumer.engine.orphans import OrphanWatch, rebalance
from consumer.engine.partitions import Assignment, Place
from consumer.engine.pulse import Pulse
from consumer.engine.transactions import EndingError, FatalKafkaError, Outcome, Transactions
from consumer.kafka.asking import passes
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import consumer_config, producer_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.connection import Connection
from consumer.kafka.messages import as_record
from consumer.kafka.offset_metadata import INPUTS_HEADER, write_inputs
from consumer.kafka.topic_watch import TopicWatch
from consumer.kafka.topics import TopicError, raised_partitions
from consumer.process import ending
from consumer.settings import Settings
from consumer.state.checkpointer import Checkpointer
from consumer.state.checkpoints import CheckpointStore
from consumer.state.restore import Restorer
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import LoopMetrics

logger = logging.getLogger(__name__)

Prepared = TypeVar("Prepared")

# How long a poll may wait while a batch is being prepared: the latency it adds to a commit.
_POLL_SECONDS = 0.05
# With the next batch full and no other prepared yet, the loop waits this long before it
# pauses the partitions and goes on polling, so that the group does not take it for dead.
_PATIENCE_SECONDS = 2.0
# A batch that is aborted this often in a row will not succeed by being tried again.
_MAX_ABORTS = 20
# A transaction needs a little time even where a deadline is near.
_LEAST_COMMIT_SECONDS = 0.5
# At a stop, on top of kafka.revoke_seconds. The end is forced after 15 (docs/operations.md).
_SECOND_ROUND_SECONDS = 3.0
_CHECKPOINT_SECONDS = 10.0
# A partition's first records, or its end, come within a second of its being asked for.
_SILENT_SECONDS = 15.0
# Until a topic that was made anew is noticed, it is read from the wrong place.
_TOPIC_SECONDS = 5.0
# How many sessions to wait for the place of a predecessor: the session that counts is the brokers'
# (group.consumer.session.timeout.ms, 45 s by default), and this side knows only its own (30 s).
_HELD_SESSIONS = 4
_HELD_PAUSE_SECONDS = 1.0
# The start has seen the topic; a broker that has not heard of it yet says that there is none.
_NEW_TOPIC_SECONDS = 30.0


class InstanceHeldError(FatalKafkaError):
    """Another member of the group has this process's instance id, or the group thinks so."""


class Loop(Generic[Prepared]):
    """Drives a stage over Kafka, exactly once.

    Parameters
    ----------
    stage
        What is computed. The group shares its first input out; partition n of any further one is
        read by whoever has partition n of the first.
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
        self._topic, *self._beside = stage.inputs
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._idle_seconds = idle_seconds
        self._stopping = threading.Event()
        self._ends = float("inf")
        self._joined = False
        self._lost = False
        self._ended_well = False
        # Between the two rounds of a cooperative rebalance: given up, not yet shared out.
        self._giving_up = False
        self._callback_error: BaseException | None = None
        self._batches: Batches[Prepared] = Batches(self._prepare, settings.batch)
        self._paused_for_patience = False
        self._aborts = 0
        self._last_record = time.monotonic()
        self._last_report = 0.0
        # Records that wait, by place, as of the last report.
        self._waiting: dict[Place, int] = {}
        # The partition whose inputs a changelog tells of, by place.
        self._logs: dict[Place, int] = {}
        kafka = settings.kafka
        self._transactions = Transactions(
            producer_config(kafka, transactional_id),
            kafka.transaction_timeout_seconds,
            settings.restore.no_progress_seconds,
            health.tick,
        )
        self._connection = Connection(
            kafka.bootstrap_servers, kafka.session_timeout_seconds, kafka.group_protocol
        )
        health.connected = lambda: self._connection.connected
        self._consumer_config = {
            **consumer_config(kafka, group_id),
            **self._connection.config(),
            "error_cb": self._on_error,
        }
        self._consumer = Consumer(self._consumer_config)
        cluster = Cluster(kafka)
        self._partition_count = cluster.partitions(self._topic)
        metrics.input_partitions.set(self._partition_count)
        self._assignment = self._new_assignment()
        self._began = time.monotonic()
        store = CheckpointStore.of(settings.restore)
        self._restorer = Restorer.of(
            settings, stage, group_id, cluster=cluster, store=store, metrics=metrics.restore
        )
        self._checkpointer = Checkpointer.of(stage, store, settings.restore, metrics.restore)
        self._pulse = Pulse(kafka.session_timeout_seconds)
        self._topic_watch = TopicWatch(cluster, stage.inputs, _TOPIC_SECONDS)
        self._orphans: OrphanWatch | None = None
        if kafka.group_protocol == "classic" and kafka.instance_id is not None:
            self._orphans = OrphanWatch(
                cluster,
                group_id,
                self._topic,
                self._partition_count,
                every_seconds=kafka.session_timeout_seconds,
                share_out=lambda: rebalance(kafka, group_id, self._topic),
            )

    def stop(self) -> None:
        """Ask the loop to finish what it has begun and to leave the group; any thread may.

        Batches under way have `kafka.revoke_seconds` from now on.
        """
        self._ends = min(self._ends, time.monotonic() + self._settings.kafka.revoke_seconds)
        self._transactions.end_by(self._ends)
        self._stopping.set()

    def run(self) -> None:
        """Turn until stopped.

        Raises
        ------
        FatalKafkaError, StageError, ReadStalledError, SuspendedError, PreparationHungError
            What made it impossible to go on. Nothing uncommitted is kept.
        """
        self._subscribe()
        try:
            while not self._stopping.is_set():
                try:
                    self._turn()
                except InstanceHeldError as error:
                    self._join_again(error)
            self._finish()
        except EndingError as error:
            logger.info("%s", error)
        except BaseException as error:
            ending.begin(f"{type(error).__name__}")
            raise
        finally:
            self._close()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._guarded(self._on_assign),
            on_revoke=self._guarded(self._on_revoke),
            on_lost=self._guarded(self._on_lost),
        )

    def _join_again(self, error: InstanceHeldError) -> None:
        """Wait for the place of a predecessor that was killed, with a new member.

        Under KIP-848 the group keeps it until the predecessor's session is over, and refuses
        whoever asks for it earlier with an error that is fatal to the client.
        """
        patience = _HELD_SESSIONS * self._settings.kafka.session_timeout_seconds
        if self._joined or time.monotonic() - self._began > patience:
            raise error
        logger.info("waiting until the group gives up the predecessor of this name")
        self._consumer.close()
        time.sleep(_HELD_PAUSE_SECONDS)
        self._consumer = Consumer(self._consumer_config)
        self._assignment = self._new_assignment()
        self._subscribe()

    def _new_assignment(self) -> Assignment:
        return Assignment(self._consumer, self._topic, self._partition_count, self._beside)

    # --- one turn ---------------------------------------------------------------------------

    def _turn(self) -> None:
        self._health.tick()
        self._pulse.check()
        self._take_over_restored()
        self._poll()
        self._report()
        self._compare_topics()
        if not self._maintain():
            self._advance()
        self._commit_positions()
        if self._checkpointer is not None:
            self._checkpointer.save_due()
        if self._orphans is not None and self._joined:
            self._orphans.tick(list(self._assignment))

    def _poll(self) -> None:
        """Read what fits into the batch being collected."""
        room = self._batches.room
        if room <= 0:
            self._poll_while_full()
            return
        if self._paused_for_patience:
            self._assignment.resume()
            self._paused_for_patience = False
        due = self._batches.due_in
        timeout = _POLL_SECONDS if due is None else min(_POLL_SECONDS, due)
        self._consume(room, timeout)

    def _consume(self, room: int, timeout: float) -> None:
        """Poll once and collect; raise what came of callbacks, and errors in place of messages."""
        # A partition may be taken away and come back within this very call; what was read before
        # is then void, which the epochs taken afterwards cannot tell. So callbacks count epochs up
        # and drop what is collected, and messages in hand belong to the epoch of now or to none.
        before = self._assignment.epochs
        messages = self._consumer.consume(room, timeout)
        self._raise_callback_error()
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(error, message)
        if messages and self._assignment.epochs != before:
            self._rewind()
            return
        for message in messages:
            error = message.error()
            if error is None:
                self._collect(as_record(message), message.leader_epoch())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._assignment.passed(*_place_of(message), message.offset() or 0)

    def _collect(self, record: Record, leader_epoch: int | None) -> None:
        epoch = self._assignment.collect(record, leader_epoch)
        if epoch is not None:
            self._batches.collect(record, epoch)
            self._last_record = time.monotonic()

    def _poll_while_full(self) -> None:
        """Wait for the batch in preparation; keep the membership alive if it takes long."""
        if not self._paused_for_patience:
            if self._batches.wait(_PATIENCE_SECONDS):
                return
            logger.info("a batch takes long to prepare: partitions paused meanwhile")
            self._assignment.pause()
            self._paused_for_patience = True
        # What comes was fetched before the pause took hold; there is room for a few more.
        self._consume(1, _POLL_SECONDS)

    def _maintain(self) -> bool:
        """Do a piece of the stage's own work; tell whether there was any."""
        active = self._assignment.active
        if not active:
            return False
        if (outputs := self._stage.maintain(idle=self._idle)) is None:
            return False
        self._commit(outputs, active)
        return True

    def _advance(self) -> None:
        """Hand the collected batch to the preparing thread, and apply the one that is ready."""
        if (ready := self._batches.advance()) is not None:
            self._apply(ready)

    def _prepare(self, records: Sequence[Record]) -> Prepared:
        with self._metrics.prepare_seconds.time():
            return self._stage.prepare(records)

    def _apply(self, batch: Batch[Prepared], deadline: float | None = None) -> None:
        """Apply a prepared batch and commit it."""
        prepared = batch.future.result()
        current = self._assignment.current(batch.epochs.items())
        if not current:
            return
        positions: dict[Place, int] = {}
        for record in batch.records:
            if record.partition in current:
                positions[record.topic, record.partition] = record.offset + 1
        for (topic, number), position in positions.items():
            positions[topic, number] = self._assignment.reach(topic, number, position)
        outputs = self._stage.apply(prepared, current)
        if self._commit(outputs, list(current), positions, deadline):
            self._metrics.batch_records.observe(len(batch.records))
            for record in batch.records:
                if record.partition in current:
                    self._metrics.records.labels(record.partition).inc()

    # --- transactions -----------------------------------------------------------------------

    def _commit(
        self,
        outputs: Sequence[Output],
        partitions: Sequence[int],
        advanced: dict[Place, int] | None = None,
        deadline: float | None = None,
    ) -> bool:
        """Write outputs with the offsets of these partitions; tell whether that is committed."""
        # Not by what a process decided that others have replaced meanwhile.
        self._pulse.check()
        advanced = advanced or {}
        offsets = self._assignment.offsets(partitions, advanced)
        within = None
        if deadline is not None:
            within = max(deadline - time.monotonic(), _LEAST_COMMIT_SECONDS)
        with self._metrics.commit_seconds.time():
            outcome = self._transactions.write(
                self._telling(outputs), offsets, self._consumer, within
            )
        self._metrics.transactions.labels(outcome.value).inc()
        if outcome is Outcome.COMMITTED:
            self._aborts = 0
            self._stage.committed()
            self._assignment.advance(advanced.items())
            self._assignment.settle(partitions)
            if self._checkpointer is not None:
                self._checkpointer.committed(self._transactions.written)
            reached("merged")
            return True
        self._stage.aborted()
        self._batches.drop()
        if self._stopping.is_set():
            logger.info("the batch is not committed: it will be read again")
            return False
        self._aborts += 1
        if self._aborts >= _MAX_ABORTS:
            raise FatalKafkaError(f"{self._aborts} transactions in a row were aborted: giving up")
        if outcome is Outcome.UNKNOWN:
            self._transactions.reopen()
        if outcome is Outcome.UNKNOWN or self._stage.restore_after_abort:
            self._restore_again()
        else:
            time.sleep(min(0.05 * 2**self._aborts, 1.0))
            self._rewind()
        return False

    def _telling(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """Have the last record of each changelog tell of the inputs (`offset_metadata`)."""
        last: dict[int, int] = {}
        for index, output in enumerate(outputs):
            if output.partition is not None:
                number = self._logs.get((output.topic, output.partition))
                if number is not None and number in self._assignment:
                    last[number] = index
        told = list(outputs)
        for number, index in last.items():
            header = (INPUTS_HEADER, write_inputs(self._assignment.inputs(number)))
            told[index] = replace(told[index], headers=(*told[index].headers, header))
        return told

    def _commit_positions(self) -> None:
        """Commit where partitions stand where that is news and no batch will tell it.

        Of a group that begins, or goes on elsewhere than it stood, before anything is read: a
        successor must not decide that again. And behind the last record once the input is read up:
        transactions of producers end with markers, which take offsets, and whoever compares the
        group's offsets with the ends would see records wait for ever.
        """
        if self._stopping.is_set():
            return  # a commit that failed may have been the producer's last
        advanced = self._assignment.idle_advance() if self._idle else {}
        numbers = {*self._assignment.unsettled, *(number for _, number in advanced)}
        if numbers:
            self._commit([], sorted(numbers), advanced)

    def _rewind(self) -> None:
        """Read again from where the last commit left off, on every restored partition."""
        self._assignment.rewind()
        self._batches.drop()

    def _restore_again(self) -> None:
        """Read the state of all partitions back, as after an assignment."""
        for number in self._assignment:
            self._forget_state(number)
            self._assignment.unrestored(number)
            self._restorer.start(number)

    def _find_again(self, number: int, suspects: frozenset[str] = frozenset()) -> None:
        """Find out anew where a partition goes on, since it is not where it was.

        By reading its state back, as after an assignment: there is one place where that is decided.
        """
        topics = self._assignment.positions(number)
        logger.info("where partition %d goes on is looked for again", number)
        self._forget_state(number)
        self._assignment.unrestored(number)
        self._batches.leave_out(frozenset([number]))
        unread = {topic: self._waiting.get((topic, number), 0) for topic in topics}
        self._restorer.start(number, unread, suspects)

    def _compare_topics(self) -> None:
        """Notice topics that were made anew while they were read."""
        for topic, identity in self._topic_watch.tick().items():
            numbers = self._assignment.of_another(topic, identity.topic_id)
            others = identity.partitions != self._partition_count
            if numbers and others and self._stage.fixed_partitions:
                raise TopicError(
                    raised_partitions(topic, self._partition_count, identity.partitions)
                )
            for number in numbers:
                self._find_again(number)

    def _forget_state(self, number: int) -> None:
        self._stage.revoked(number)
        if self._checkpointer is not None:
            self._checkpointer.release(number)

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
        self._joined, self._lost, self._giving_up = True, False, False
        # The client reads nothing of them before it is known where from: `Assignment.restored`.
        self._consumer.incremental_assign([])
        if not partitions:
            return
        logger.info("assigned: %s", _names(partitions))
        if new := [place for place in partitions if place.partition >= self._partition_count]:
            count = max(place.partition for place in new) + 1
            if self._stage.fixed_partitions:
                raise TopicError(raised_partitions(self._topic, self._partition_count, count))
            self._partition_count = count
            self._metrics.input_partitions.set(count)
        for place in partitions:
            self._assignment.add(place.partition)
            self._restorer.start(place.partition)

    def _on_revoke(self, partitions: list[TopicPartition]) -> None:
        """Commit what is under way, so that the successor need not embed it again; then let go."""
        reached("revoking")
        try:
            self._finish_batches(frozenset(place.partition for place in partitions))
        finally:
            self._release("revoke", partitions)
            # Under KIP-848 the brokers see to the rest.
            self._giving_up = self._settings.kafka.group_protocol == "classic"

    def _on_lost(self, partitions: list[TopicPartition]) -> None:
        """Let go at once: the partitions are others' already, and nothing may be committed."""
        self._lost = True
        self._release("lost", partitions)

    def _release(self, kind: str, partitions: list[TopicPartition]) -> None:
        """Let go. Nothing is open here: every commit ends before the next poll."""
        self._metrics.rebalances.labels(kind).inc()
        if partitions:
            logger.info("%s: %s", kind, _names(partitions))
        numbers = [place.partition for place in partitions]
        for number in numbers:
            self._restorer.cancel(number)
        for number in self._assignment.remove(numbers):
            self._forget_state(number)
            self._metrics.forget(number)
        self._batches.leave_out(frozenset(numbers))

    def _finish_batches(self, partitions: frozenset[int] | None = None) -> None:
        """Commit what is in preparation, or leave it, under one deadline for all of that.

        With `partitions`, up to the last batch that holds records of them.
        """
        seconds = self._settings.kafka.revoke_seconds
        deadline = min(time.monotonic() + seconds, self._ends)
        while partitions is None or self._batches.touches(partitions):
            if not self._batches.wait(max(deadline - time.monotonic(), 0.0)):
                logger.info("a batch is not prepared in %g s: it will be read again", seconds)
                return
            if (ready := self._batches.take()) is None:
                return
            self._apply(ready, deadline)

    def _take_over_restored(self) -> None:
        for restored in self._restorer.finished():
            self._stage.assigned(restored.partition, restored.restoration)
            positions = {self._topic: restored.position, **restored.beside}
            self._assignment.restored(restored.partition, positions)
            losses = {topic: position.metadata.lost for topic, position in positions.items()}
            self._metrics.losses.show(restored.partition, losses)
            self._logs.update(dict.fromkeys(restored.logs, restored.partition))
            if self._checkpointer is not None:
                self._checkpointer.assigned(restored)
        # A member without partitions is not always called back: it has its place all the same.
        has_place = self._connection.steady or (self._joined and not self._lost)
        self._health.ready = has_place and not self._restorer.tasks

    # --- errors, reports, the end -----------------------------------------------------------

    def _on_error(self, error: KafkaError) -> None:
        if _is_fatal(error):
            self._callback_error = self._callback_error or FatalKafkaError(error.str())
        else:
            broker_log.error(error.name(), error.str())

    def _on_message_error(self, error: KafkaError, message: Message) -> None:
        topic, number = _place_of(message)
        if error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            # Of a partition that is being restored it is nothing new.
            if number in self._assignment.active:
                logger.info("%s[%d]: %s", topic, number, error.str())
                self._find_again(number, frozenset([topic]))
            return
        if _is_fatal(error):
            held = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str() in error.str()
            raise (InstanceHeldError if held else FatalKafkaError)(error.str())
        if error.code() in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        ):
            young = time.monotonic() - self._began < _NEW_TOPIC_SECONDS
            if not (young and passes(error)):
                raise FatalKafkaError(f"cannot read {topic}: {error.str()}")
        broker_log.error(error.name(), error.str())

    @property
    def _idle(self) -> bool:
        """Whether the input is read up: nothing under way, and nothing came for a while."""
        return (
            self._batches.empty
            and not self._restorer.tasks
            and time.monotonic() - self._last_record >= self._idle_seconds
        )

    def _report(self) -> None:
        """Set the gauges, twice a second."""
        now = time.monotonic()
        if now - self._last_report < 0.5:
            return
        self._last_report = now
        self._transactions.serve()
        self._ask_the_silent()
        self._metrics.partitions.set(len(self._assignment))
        self._metrics.restoring.set(len(self._restorer.tasks))
        progress = self._restorer.progress
        self._metrics.restore_share.set(progress.share)
        self._metrics.restore.show(progress.records, progress.eta_seconds)
        behind = 0
        self._waiting.clear()
        for number in self._assignment.active:
            lag = 0
            for topic, position in self._assignment.positions(number).items():
                place = TopicPartition(topic, number)
                _, high = self._consumer.get_watermark_offsets(place, cached=True)
                # Below zero: nothing was fetched yet, so nothing is known.
                waiting = max(high - self._assignment.reach(topic, number, position), 0)
                self._waiting[topic, number] = waiting
                lag += waiting
            behind += lag
            self._metrics.behind(number, lag)
        self._metrics.idle.set(float(self._joined and self._idle))
        self._metrics.connected.set(float(self._connection.connected))
        self._health.detail = {
            "assigned": sorted(self._assignment),
            "restoring": sorted(self._restorer.tasks),
            **progress.detail(),
            "lag": behind,
        }

    def _ask_the_silent(self) -> None:
        """Have partitions read anew of which the client has told nothing since it was to read them.

        It tells of records or of the end. What it never tells of is a partition that nobody reads,
        without an error, and without a lag, since it knows of no end either. Seen once under load,
        right after an assignment; a seek ends it.
        """
        if self._paused_for_patience or not self._connection.connected:
            return
        for topic, number in self._assignment.silent(_SILENT_SECONDS):
            logger.warning(
                "nothing is heard of %s[%d] for %g s: reading it anew",
                topic,
                number,
                _SILENT_SECONDS,
            )
            self._assignment.ask_again((topic, number))

    def _finish(self) -> None:
        """Commit the batches in preparation; what is only collected will be read again."""
        logger.info("stopping: finishing the batches under way")
        self._finish_batches()
        self._finish_rebalance()
        if self._checkpointer is not None:
            # So that the next start under this name has next to nothing to read.
            self._checkpointer.save_all()
        self._ended_well = True

    def _finish_rebalance(self) -> None:
        """Take part in the second round of a rebalance under way: `orphans` says why."""
        self._assignment.pause()
        self._consume(1, _POLL_SECONDS)
        while self._giving_up and time.monotonic() < self._ends + _SECOND_ROUND_SECONDS:
            self._consume(1, _POLL_SECONDS)

    def _close(self) -> None:
        self._health.ready = False
        # Closing the consumer calls on_revoke: by now there is nothing left to commit.
        self._batches.close()
        self._restorer.close()
        self._consumer.close()
        self._transactions.close()
        if self._checkpointer is not None:
            left = self._ends + _CHECKPOINT_SECONDS - time.monotonic()
            self._checkpointer.close(max(left, 0) if self._ended_well else 0)
        self._pulse.close()
        self._topic_watch.close()
        if self._orphans is not None:
            self._orphans.close()
        logger.info("left the group")


def _names(partitions: Sequence[TopicPartition]) -> str:
    return ", ".join(f"{place.topic}[{place.partition}]" for place in partitions)


def _place_of(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _is_fatal(error: KafkaError) -> bool:
    # A consumer's fatal error comes in place of a message, and without the flag.
    return error.fatal() or error.code() == KafkaError._FATAL
