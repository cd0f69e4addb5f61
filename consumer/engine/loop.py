"""The loop: poll, prepare, apply, commit. The order of its calls is the guarantee.

One turn of the loop, in order:

1. Take over partitions whose state has been read back.
2. Poll. Rebalance callbacks run in here and nowhere else, so never amid a transaction.
3. If a batch has been prepared, start preparing the next one, then apply it and commit: the stage's
   outputs and the input offsets in one transaction.
4. If the stage has work of its own (a new model), do a piece of it, in a transaction where there is
   something to write. Where events are under way pieces have a fifth of the time, under full load
   a tenth (`_REST`), and a batch that is ready goes first: so no event waits for more than one of
   them, and a model is taken up whatever the load. Where batches come often their transactions
   have pieces in them, for a transaction costs more than most pieces do (`_SHARE`).

Preparing runs in threads of its own, so that batch n + 2 is cleaned and batch n + 1 embedded while
batch n commits. Batches are applied in the order in which they were read.

What a crash leaves, at each point: before the commit, nothing, and the batch is read again by
whoever gets the partition; after it, everything. The state in memory is never ahead of a commit.

To be read next: `membership`, who the client's calls and errors go through; `ownership`, what
happens to partitions; `batches`; `commits`, and `transactions` under them. `consumer.wiring.engine`
puts them together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

from confluent_kafka import KafkaError, Message

from consumer.contract.records import Output
from consumer.contract.stage import Sharing
from consumer.engine.batches import Batch
from consumer.engine.commits import Commits
from consumer.engine.crash_points import reached
from consumer.engine.membership import InstanceHeldError
from consumer.engine.ownership import Ownership
from consumer.engine.partitions import Place
from consumer.engine.parts import Parts
from consumer.engine.transactions import EndingError
from consumer.kafka.messages import as_records
from consumer.process import ending

logger = logging.getLogger(__name__)

Prepared = TypeVar("Prepared")

# What comes in place of a record.
_GONE, _END = KafkaError._AUTO_OFFSET_RESET, KafkaError._PARTITION_EOF
# Messages of one poll: as many large ones may come on top of what a batch may hold.
_AT_ONCE = 32
# How long a poll may wait where nothing is under way, and after how long the loop looks again
# whether a batch is full where something is. The client holds what comes meanwhile.
_POLL_SECONDS, _LOOK_SECONDS = 0.05, 0.02
# A transaction needs a little time even where a deadline is near.
_LEAST_COMMIT_SECONDS = 0.5
# At a stop, on top of revoke_seconds. The end is forced after 15 (docs/operations.md).
_SECOND_ROUND_SECONDS = 3.0
_CHECKPOINT_SECONDS = 10.0
# Where events are under way the stage's own work rests for so many times what the last piece took,
# its transaction included; for longer where they come faster than they are taken.
_REST, _LONG_REST = 4.0, 9.0
# Pieces in the transactions of batches have this share of the time, whatever the load: events take
# no model up by themselves, so it would not end under a load that does not end.
_SHARE = 0.1
# How long one of them may take, at least and at most, and how long they keep pieces in transactions
# of their own away. These cost more, but all kinds of own work are done in them.
_SHORTEST_SHARED, _LONGEST_SHARED, _SHARED_APART = 0.003, 0.02, 2.0


class Loop(Generic[Prepared]):
    """Drives a stage over Kafka, exactly once.

    Parameters
    ----------
    parts
        What it is put together from.
    revoke_seconds
        How long batches under way have where partitions are taken away, or the process ends.
    idle_seconds
        How long nothing must come before the stage is told that it is idle.
    patience_seconds
        With the next batch full and no other prepared yet, the loop waits this long before it
        pauses the partitions and goes on polling, so that the group does not take it for dead.
    silent_seconds
        A partition's first records, or its end, come within a second of its being asked for. One of
        which nothing has come for so long is asked for again.
    report_seconds
        From one look at the gauges to the next.
    """

    def __init__(
        self,
        parts: Parts[Prepared],
        *,
        revoke_seconds: float,
        idle_seconds: float,
        patience_seconds: float = 2.0,
        silent_seconds: float = 15.0,
        report_seconds: float = 0.5,
    ) -> None:
        self._parts = parts
        self._stage, self._membership, self._batches = parts.stage, parts.membership, parts.batches
        self._assignment, self._restorer = parts.assignment, parts.restorer
        self._now = parts.timer.monotonic
        self._revoke_seconds = revoke_seconds
        self._idle_seconds = idle_seconds
        self._patience_seconds = patience_seconds
        self._silent_seconds = silent_seconds
        self._report_seconds = report_seconds
        self._stopping = threading.Event()
        self._ends = float("inf")
        self._ended_well = False
        self._paused_for_patience = False
        self._last_record = self._now()
        self._last_report = 0.0
        # Whether the stage had work of its own when it was asked last, how long that took, and when
        # it ended; seconds.
        self._working = False
        self._piece_seconds = self._piece_ended = self._shared_ended = 0.0
        self._full_since: float | None = None
        self._ownership = Ownership(parts)
        self._commits = Commits(parts, self._ownership, self._stopping.is_set)
        parts.health.connected = lambda: parts.membership.connection.connected

    def stop(self) -> None:
        """Ask the loop to finish what it has begun and to leave the group; any thread may.

        Batches under way have `revoke_seconds` from now on.
        """
        self._ends = min(self._ends, self._now() + self._revoke_seconds)
        self._parts.transactions.end_by(self._ends)
        self._stopping.set()

    def run(self) -> None:
        """Turn until stopped.

        Raises
        ------
        FatalKafkaError, StageError, ReadStalledError, SuspendedError, PreparationHungError
            What made it impossible to go on. Nothing uncommitted is kept.
        """
        self._membership.join(self)
        try:
            while not self._stopping.is_set():
                try:
                    self._turn()
                except InstanceHeldError as error:
                    self._membership.join_again(error, self)
                    self._assignment.consumer = self._membership.consumer
            self._finish()
        except EndingError as error:
            logger.info("%s", error)
        except BaseException as error:
            ending.begin(f"{type(error).__name__}")
            raise
        finally:
            self._close()

    # --- one turn ---------------------------------------------------------------------------

    def _turn(self) -> None:
        self._parts.health.tick()
        self._parts.pulse.check()
        self._ownership.take_over_restored()
        self._ownership.read_back_next()
        self._parts.health.ready = self._membership.has_place and not self._restorer.tasks
        self._poll()
        self._look_around()
        self._advance()
        self._maintain()
        self._commit_positions()
        if self._parts.checkpointer is not None:
            self._parts.checkpointer.save_due()
        if self._parts.orphans is not None and self._membership.joined:
            self._parts.orphans.tick(list(self._assignment))

    def _poll(self) -> None:
        """Read what fits into the batch being collected."""
        room = self._batches.room
        if room <= 0:
            self._poll_while_full()
            return
        self._full_since = None
        if self._paused_for_patience:
            self._assignment.resume()
            self._paused_for_patience = False
        if not self._batches.preparing and self._batches.due_in is None:
            # The first record wakes the poll, for it may be due at once.
            timeout = min(_POLL_SECONDS, self._rest) if self._working else _POLL_SECONDS
            self._collect(room, 1, timeout)
        elif self._collect(room, _AT_ONCE, 0.0):
            # No poll is woken by a batch that becomes ready, and each record would wake one. So
            # more is left to wait in the client.
            timeout = min(_LOOK_SECONDS, self._rest) if self._working else _LOOK_SECONDS
            if self._batches.preparing:
                self._batches.wait(timeout)
            else:
                self._stopping.wait(min(timeout, self._batches.due_in or 0.0))

    def _collect(self, room: int, step: int, timeout: float) -> bool:
        """Poll until nothing more is there, or nothing more fits; tell whether more fits."""
        # In steps: how large records are is known only when they are there.
        while (asked := min(room, step)) > 0 and self._consume(asked, timeout) >= asked:
            room, step, timeout = self._batches.room, _AT_ONCE, 0.0
        return room > 0

    def _poll_while_full(self) -> None:
        """Wait for the batch in preparation; keep the membership alive if it takes long."""
        if not self._paused_for_patience:
            now = self._now()
            self._full_since = now if self._full_since is None else self._full_since
            patience = max(self._full_since + self._patience_seconds - now, 0.0)
            if self._batches.wait(min(patience, self._rest) if self._working else patience):
                self._full_since = None
                return
            if self._working and patience:
                return  # there is something to do meanwhile
            logger.info("a batch takes long to prepare: partitions paused meanwhile")
            self._assignment.pause()
            self._paused_for_patience = True
        # What comes was fetched before the pause took hold; there is room for a few more.
        self._consume(1, _POLL_SECONDS)

    def _consume(self, room: int, timeout: float) -> int:
        """Poll once and collect; give the number of messages."""
        # A partition may be taken away and come back within this very call; what was read before
        # is then void, which the epochs taken afterwards cannot tell. So callbacks count epochs up
        # and drop what is collected, and messages in hand belong to the epoch of now or to none.
        before = self._assignment.epochs
        messages = self._membership.poll(room, timeout)
        odd = [(each, error) for each in messages if (error := each.error()) is not None]
        for message, error in odd:
            if error.code() == _GONE:
                self._find_again(_place_of(message), error.str())
        if messages and self._assignment.epochs != before:
            self._ownership.rewind()
            return 0
        read = [each for each in messages if each.error() is None] if odd else messages
        epochs = [message.leader_epoch() for message in read]
        if taken := self._assignment.collect(as_records(read), epochs):
            self._batches.collect(taken, self._assignment.epoch)
            self._last_record = self._now()
        for message, error in odd:
            if error.code() == _END:
                self._assignment.passed(*_place_of(message), message.offset() or 0)
        return len(messages)

    def _find_again(self, place: Place, why: str) -> None:
        """Go on elsewhere in a partition, where the client has found its place to be gone."""
        topic, number = place
        if number in self._assignment.active:  # else it is being restored, and this is nothing new
            logger.info("%s[%d]: %s", topic, number, why)
            self._ownership.find_again(number, frozenset([topic]))

    def _look_around(self) -> None:
        """Tell how things stand, and notice what the client does not."""
        if self._now() - self._last_report >= self._report_seconds:
            self._last_report = self._now()
            self._parts.transactions.serve()
            if self._membership.connection.connected and not self._paused_for_patience:
                self._ownership.ask_the_silent(self._silent_seconds)
            self._ownership.show(idle=self._idle)
        self._ownership.compare(self._parts.topic_watch.tick() or {})

    def _advance(self) -> None:
        """Hand the collected batch to the preparing thread, and apply the one that is ready."""
        if (ready := self._batches.advance()) is not None:
            self._apply(ready)

    def _maintain(self) -> None:
        """Do a piece of the stage's own work, if there is any and it is its turn."""
        if not (active := self._assignment.active):
            self._working = False
            return
        if self._rest > 0:
            return
        began = self._now()
        outputs = self._stage.maintain(idle=self._idle)
        self._working = outputs is not None
        if outputs:
            self._commits.commit(outputs, active)
        elif outputs is not None:
            self._stage.committed()
        self._piece_ended = self._now()
        self._piece_seconds = self._piece_ended - began

    @property
    def _rest(self) -> float:
        """Seconds until the next piece of the stage's own work: 0 where no event is under way."""
        if self._batches.empty:
            return 0.0
        rest = (_LONG_REST if self._batches.crowded else _REST) * self._piece_seconds
        if self._shared_ended > self._piece_ended:
            rest = max(rest, _SHARED_APART)
        return max(self._piece_ended + rest - self._now(), 0.0)

    def _shared(self) -> Sequence[Output]:
        """Do as much of the stage's own work in the transaction of a batch as its time allows."""
        if not (self._working and isinstance(self._stage, Sharing)):
            return []
        since = self._now() - max(self._piece_ended, self._shared_ended)
        if (seconds := since * _SHARE) < _SHORTEST_SHARED:
            return []
        outputs = self._stage.share(min(seconds, _LONGEST_SHARED))
        self._shared_ended = self._now()
        return outputs

    def _apply(self, batch: Batch[Prepared], deadline: float | None = None) -> None:
        """Apply a prepared batch and commit it."""
        prepared = batch.future.result()
        current = self._assignment.current(batch.epochs.items())
        if not current:
            return
        records = batch.records
        if len(current) < len(batch.epochs):
            records = [record for record in records if record.partition in current]
        # Of each place the last record's stays.
        behind = {(record.topic, record.partition): record.offset for record in records}
        positions = {
            (topic, number): self._assignment.reach(topic, number, offset + 1)
            for (topic, number), offset in behind.items()
        }
        with self._parts.metrics.apply_seconds.time():
            outputs = self._stage.apply(prepared, current)
        within = None
        shared: Sequence[Output] = []
        if deadline is None:
            shared = self._shared()
        else:
            within = max(deadline - self._now(), _LEAST_COMMIT_SECONDS)
        # Those of the stage's own work are of any partition.
        partitions = self._assignment.active if shared else current
        if self._commits.commit([*outputs, *shared], list(partitions), positions, within):
            self._parts.metrics.committed(records)

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
            self._commits.commit([], sorted(numbers), advanced)

    @property
    def _idle(self) -> bool:
        """Whether the input is read up: nothing under way, and nothing came for a while."""
        return (
            self._batches.empty
            and not self._restorer.tasks
            and self._now() - self._last_record >= self._idle_seconds
        )

    # --- what the group does with partitions, amid a poll -----------------------------------

    def assigned(self, numbers: Sequence[int]) -> None:
        """Begin to restore partitions; see `consumer.engine.membership.Partitioned`."""
        self._parts.metrics.rebalances.labels("assign").inc()
        self._ownership.add(numbers)

    def revoked(self, numbers: Sequence[int]) -> None:
        """Commit what is under way, so that the successor need not embed it again; then let go."""
        reached("revoking")
        try:
            self._finish_batches(frozenset(numbers))
        finally:
            self._parts.metrics.rebalances.labels("revoke").inc()
            self._ownership.release(numbers)

    def lost(self, numbers: Sequence[int]) -> None:
        """Let go at once."""
        self._parts.metrics.rebalances.labels("lost").inc()
        self._ownership.release(numbers)

    def _finish_batches(self, partitions: frozenset[int] | None = None) -> None:
        """Commit what is in preparation, or leave it, under one deadline for all of that.

        With `partitions`, up to the last batch that holds records of them.
        """
        seconds = self._revoke_seconds
        deadline = min(self._now() + seconds, self._ends)
        while partitions is None or self._batches.touches(partitions):
            if not self._batches.wait(max(deadline - self._now(), 0.0)):
                logger.info("a batch is not prepared in %g s: it will be read again", seconds)
                return
            if (ready := self._batches.take()) is None:
                return
            self._apply(ready, deadline)

    # --- the end ----------------------------------------------------------------------------

    def _finish(self) -> None:
        """Commit the batches in preparation; what is only collected will be read again."""
        logger.info("stopping: finishing the batches under way")
        self._finish_batches()
        self._finish_rebalance()
        if self._parts.checkpointer is not None:
            # So that the next start under this name has next to nothing to read.
            self._parts.checkpointer.save_all()
        self._ended_well = True

    def _finish_rebalance(self) -> None:
        """Take part in the second round of a rebalance under way: `orphans` says why."""
        self._assignment.pause()
        self._consume(1, _POLL_SECONDS)
        ends = self._ends + _SECOND_ROUND_SECONDS
        while self._membership.giving_up and self._now() < ends:
            self._consume(1, _POLL_SECONDS)

    def _close(self) -> None:
        self._parts.health.ready = False
        # Leaving the group calls `revoked`: by now there is nothing left to commit.
        self._batches.close()
        self._restorer.close()
        self._membership.close()
        self._parts.transactions.close()
        if self._parts.checkpointer is not None:
            left = self._ends + _CHECKPOINT_SECONDS - self._now()
            self._parts.checkpointer.close(max(left, 0) if self._ended_well else 0)
        self._parts.pulse.close()
        self._parts.topic_watch.close()
        if self._parts.orphans is not None:
            self._parts.orphans.close()
        logger.info("left the group")


def _place_of(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0
