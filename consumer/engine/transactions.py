"""One Kafka transaction a batch: outputs and input offsets together, or neither.

The fence is the consumer group's generation (KIP-447): it travels with the offsets, fetched just
before. A member that was thrown out of the group finds its transaction refused, whatever its
producer thinks.

What librdkafka says of an error decides what is done about it, the first that fits:

=================  =================================================================================
fatal              The producer is of no use any more, mostly since a successor has fenced it: raise
retriable          The same call again, within a budget
requires an abort  Abort; the batch is read again
none of these      Before the end: abort, too, since `produce` says so of a transaction that failed
                   already. Of the end itself: raise, nobody knows what state the producer is in
=================  =================================================================================

What stays retriable before the end is aborted, too. Where the cause will not pass (`_PERMANENT`),
the abort is followed by raising.

Only the end of a transaction can stay open: when the budget is over and no answer has come, it may
be committed or not. librdkafka cannot settle that with the same producer (it lacks KIP-890, its
issue 5423 and the Jepsen report on Bufstream tell how torn transactions come of it), so the
producer is destroyed and a new one started, whose start makes the coordinator settle the old one's
transaction.

An abort ends a producer, too. librdkafka drops what it has not delivered, and gives the sequence
numbers of that to the next records under the same epoch. A record that a broker did take, and whose
answer was lost with a connection, was among the undelivered; so the broker takes the next one for a
repetition, says yes, and writes nothing. What an abort drops is not counted, since that takes a
report of each record. So behind every abort of a transaction with a record in it a new producer is
started, with a new epoch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from consumer.contract.clock import Timer
from consumer.contract.errors import ExpectedError
from consumer.contract.records import Output
from consumer.engine.crash_points import reached
from consumer.engine.deliveries import Deliveries
from consumer.engine.timed_calls import HungError, TimedCalls
from consumer.kafka.asking import Pace, ask
from consumer.kafka.clients import made

logger = logging.getLogger(__name__)

# No retry helps against these: the topic is missing, closed to us, or too small for the record.
_PERMANENT = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
}

_HINTS = {
    KafkaError.MSG_SIZE_TOO_LARGE: ": raise max.message.bytes of that topic, or, where it is the "
    "client that refuses, message.max.bytes in kafka.producer_properties",
}

# A call that takes longer than 5 s goes on with the next one; in between it can be given up.
_PACE = Pace(patience=5.0, longest_patience=5.0, pause=0.05, longest_pause=1.0)


class FatalKafkaError(ExpectedError):
    """The producer or consumer cannot go on; the process must end and be started again."""


class Outcome(StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    """The answer to the end never came. Only a new producer, whose start settles what the old one
    left, and a state read back from Kafka tell what happened."""


class EndingError(Exception):
    """The process ends: no producer is started any more."""


class NotAMemberError(Exception):
    """The group has thrown this process out, and it has not joined again."""


class Transactions:
    """A transactional producer that sorts every error into what is to be done about it.

    Parameters
    ----------
    config
        Of the producer, with its transactional.id.
    budget_seconds
        How long one call is repeated while its errors are retriable.
    start_seconds
        The same for the start of a producer, which has to wait until the coordinator is up and has
        settled what the predecessor left open.
    waiting
        Called before each call that may take long: the process waits, it does not hang.
    make
        Makes a producer.
    hang_seconds
        How far beyond its own timeout a call may go before it counts as hung.
    members_only
        Whether offsets are the group's members' alone to commit. Of a group that nobody ever joins
        they are whoever's that has the transactional id, which is the fence then.
    timer
        What time it is.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        budget_seconds: float,
        start_seconds: float,
        waiting: Callable[[], None] = lambda: None,
        *,
        make: Callable[[dict[str, Any]], Producer] = Producer,
        hang_seconds: float = 1.0,
        members_only: bool = True,
        timer: Timer = time,
    ) -> None:
        self._config = dict(config)
        self._waiting = waiting
        self._make = make
        self._hang_seconds = hang_seconds
        self._members_only = members_only
        self._timer = timer
        self._budget = budget_seconds
        self._start_budget = start_seconds
        self._deliveries = Deliveries()
        # Whether the transaction has a record in it, and whether its producer must not go on.
        self._produced = self._spent = False
        self._producer: Producer | None = None
        self._ends = float("inf")
        self._start()

    @property
    def written(self) -> Mapping[tuple[str, int], int]:
        """By topic and partition, the offset after the last record of the latest transaction.

        Of the partitions that records were written to by their number.
        """
        return self._deliveries.written

    def reopen(self) -> None:
        """Replace the producer; the coordinator settles what the old one left open.

        Raises
        ------
        FatalKafkaError
            If no new one can be started.
        EndingError
            If `end_by` was called.
        """
        logger.warning("making a new transactional producer")
        self.close()
        self._start()

    def end_by(self, deadline: float) -> None:
        """Let nothing go on beyond this time of `time.monotonic`; any thread may say so."""
        self._ends = deadline

    def serve(self) -> None:
        """Let the producer say what it has to say; to be called between transactions."""
        if self._producer is not None:
            self._producer.poll(0)

    def close(self) -> None:
        """Destroy the producer; nothing of it may be sent any more.

        Without a flush: whatever was to be kept is committed.
        """
        if self._producer is not None:
            self._calls.close()
            self._producer.purge(in_queue=True, in_flight=True, blocking=False)
            self._producer = None

    def _start(self) -> None:
        producer = made(self._make, self._config)

        def start(seconds: float) -> None:
            if self._ends < float("inf"):
                raise EndingError("no transactional producer is started: the process ends")
            try:
                producer.init_transactions(seconds)
            except KafkaException:
                producer.poll(0)  # its log says why
                raise

        try:
            self._repeat("init_transactions", start, self._start_budget)
        except KafkaException as error:
            raise FatalKafkaError(
                f"no transactional producer could be started: {error.args[0].str()}"
            ) from error
        self._producer = producer
        # One for each producer: the former's may hang in it.
        self._calls = TimedCalls("send-offsets", self._hang_seconds)

    def write(
        self,
        outputs: Sequence[Output],
        offsets: Sequence[TopicPartition],
        consumer: Consumer,
        within: float | None = None,
    ) -> Outcome:
        """Write outputs and offsets in one transaction.

        Parameters
        ----------
        outputs
            In order; order is kept within a partition.
        offsets
            Next offset to read, for each input partition concerned. Never empty: the fence travels
            with them.
        consumer
            The group's member, for its present generation.
        within
            Seconds for each call, where there is less time than the budget.

        Raises
        ------
        FatalKafkaError
            Where no retry helps: fenced by a successor, a topic missing or not allowed, ...
        """
        if self._producer is None:
            raise FatalKafkaError("the transactional producer is closed")
        budget = self._budget if within is None else min(self._budget, within)
        self._deliveries = Deliveries()
        self._produced = self._spent = False
        reached("before_begin")
        outcome = self._transact(self._producer, outputs, offsets, consumer, budget)
        if self._spent and self._ends < float("inf"):
            self.close()
        elif self._spent:
            self.reopen()
        return outcome

    def _transact(
        self,
        producer: Producer,
        outputs: Sequence[Output],
        offsets: Sequence[TopicPartition],
        consumer: Consumer,
        budget: float,
    ) -> Outcome:
        try:
            producer.begin_transaction()
            reached("begun")
            self._produce(producer, outputs)
            reached("produced")
            self._send_offsets(producer, offsets, consumer, budget)
            reached("offsets_sent")
        except KafkaException as error:
            return self._abort(producer, error.args[0])
        except NotAMemberError as error:
            return self._abort(producer, str(error))
        except HungError as error:
            # Its end was never asked for, so the start of the next producer aborts it.
            logger.warning("offsets are not sent, %s: giving the producer up", error)
            self._spent = True
            return Outcome.ABORTED
        return self._commit(producer, budget)

    def _send_offsets(
        self,
        producer: Producer,
        offsets: Sequence[TopicPartition],
        consumer: Consumer,
        budget: float,
    ) -> None:
        metadata = consumer.consumer_group_metadata()
        # A member that was thrown out has no id until it has joined again. Metadata that names no
        # member and no generation are those of a client in no group, and the broker takes such
        # offsets without a look at the group (KIP-447 fences members only). Asked after the
        # metadata: joining again takes a poll, and there is none in between.
        if self._members_only and not consumer.memberid():
            raise NotAMemberError("the group has thrown this member out")

        # librdkafka asks the group's coordinator without a look at the clock, and asks one that has
        # left the cluster until another broker changes its state, which may be never (its issues
        # 5456 and 5511). A broker that is stopped cleanly is enough.
        def send(left: float) -> None:
            self._calls.call(
                lambda: producer.send_offsets_to_transaction(list(offsets), metadata, left), left
            )

        self._repeat("send_offsets_to_transaction", send, budget)

    def _produce(self, producer: Producer, outputs: Sequence[Output]) -> None:
        # By position: names cost as much as the call itself. The client's own values stand for
        # none: a partition of -1, a timestamp of 0.
        reports, produce = self._deliveries.reports(outputs), producer.produce
        for number, output in enumerate(outputs):
            topic, value, key = output.topic, output.value, output.key
            partition, report = output.partition, reports.get(number)
            if partition is None:
                partition = -1
            while True:
                try:
                    if output.headers or output.timestamp is not None:
                        time, headers = output.timestamp or 0, cast("Any", list(output.headers))
                        produce(topic, value, key, partition, report, None, time, headers)
                    else:
                        produce(topic, value, key, partition, report)
                except KafkaException as error:
                    self._deliveries.failed(topic, error.args[0])
                    raise
                except BufferError:
                    # The local queue is full: let deliveries through. Without a deadline of its
                    # own, since a record that cannot be delivered leaves it by its own timeout.
                    producer.poll(0.1)
                    continue
                break
            self._produced = True

    def _commit(self, producer: Producer, budget: float) -> Outcome:
        try:
            self._repeat("commit_transaction", producer.commit_transaction, budget)
        except KafkaException as error:
            reason = error.args[0]
            if reason.txn_requires_abort() and not reason.fatal():
                return self._abort(producer, reason)
            return self._unsettled("commit", reason)
        reached("committed")
        return Outcome.COMMITTED

    def _abort(self, producer: Producer, reason: KafkaError | str) -> Outcome:
        """End a transaction that failed; raise where trying again cannot help.

        What it wrote is taken back first, even then: readers would have to wait for its timeout.
        """
        self._raise_if_fatal(reason)
        text = reason if isinstance(reason, str) else reason.str()
        logger.warning("transaction aborted: %s", text)
        try:
            self._repeat("abort_transaction", producer.abort_transaction, self._budget)
        except KafkaException as error:
            return self._unsettled("abort", error.args[0])
        producer.poll(0)  # for reports of deliveries that are still to be called back
        for cause in (reason, self._deliveries.failure):
            if isinstance(cause, KafkaError) and cause.code() in _PERMANENT:
                hint = _HINTS.get(cause.code(), "")
                raise FatalKafkaError(f"{self._deliveries.place}{cause.str()}{hint}")
        self._spent = self._produced
        return Outcome.ABORTED

    def _unsettled(self, end: str, reason: KafkaError) -> Outcome:
        """Sort the error of an end that neither succeeded nor asks for an abort."""
        self._raise_if_fatal(reason)
        if not reason.retriable():
            raise FatalKafkaError(f"cannot {end} a transaction: {reason.str()}")
        logger.warning("outcome of a transaction's %s unknown: %s", end, reason.str())
        return Outcome.UNKNOWN

    def _repeat(self, name: str, call: Callable[[float], None], budget: float) -> None:
        """Repeat a call while its error is retriable, within the budget (seconds).

        What librdkafka says of the error decides, and nothing else: what passes elsewhere may have
        failed the transaction.
        """

        def attempt(seconds: float) -> None:
            self._waiting()
            call(seconds)

        ask(
            attempt,
            name,
            seconds=budget,
            ends=lambda: self._ends,
            passing=KafkaError.retriable,
            pace=_PACE,
            timer=self._timer,
        )

    def _raise_if_fatal(self, error: KafkaError | str) -> None:
        if isinstance(error, KafkaError) and error.fatal():
            raise FatalKafkaError(f"{self._deliveries.place}{error.str()}")
