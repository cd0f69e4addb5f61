"""One Kafka transaction a batch: outputs and input offsets together, or neither.

The fence is the consumer group's generation (KIP-447): it travels with the offsets, fetched just
before. A member that was thrown out of the group finds its transaction refused, whatever its
producer thinks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from consumer.records import Output

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


class FatalKafkaError(Exception):
    """The producer or consumer cannot go on; the process must end and be started again."""


class Outcome(StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    """The answer to the commit never came. Only a new producer, whose start settles what the old
    one left, and a state read back from Kafka tell what happened."""


class Transactions:
    """A transactional producer that sorts every error into what is to be done about it.

    Parameters
    ----------
    config
        Of the producer, with its transactional.id.
    budget_seconds
        How long one call is repeated while its errors are retriable.
    """

    def __init__(self, config: Mapping[str, Any], budget_seconds: float) -> None:
        self._config = dict(config)
        self._budget = budget_seconds
        self._failed: tuple[str, KafkaError] | None = None
        self._producer = self._open()

    def reopen(self) -> None:
        """Replace the producer; the coordinator settles what the old one left open."""
        logger.warning("making a new transactional producer")
        # Dropped without a flush: nothing of it may be sent any more.
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        self._producer = self._open()

    def _open(self) -> Producer:
        producer = Producer(self._config)
        self._repeat("init_transactions", producer.init_transactions)
        return producer

    def write(
        self, outputs: Sequence[Output], offsets: Sequence[TopicPartition], consumer: Consumer
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

        Raises
        ------
        FatalKafkaError
            Where no retry helps: fenced by a successor, a topic missing or not allowed, ...
        """
        self._failed = None
        try:
            self._producer.begin_transaction()
            for output in outputs:
                self._produce(output)
            metadata = consumer.consumer_group_metadata()
            self._repeat(
                "send_offsets_to_transaction",
                lambda left: self._producer.send_offsets_to_transaction(
                    list(offsets), metadata, left
                ),
            )
        except KafkaException as error:
            self._raise_if_fatal(error.args[0])
            logger.warning("transaction aborted: %s", error.args[0].str())
            return self._abort()
        return self._commit()

    def close(self) -> None:
        """Flush nothing, keep nothing: whatever was to be kept is committed."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)

    def _produce(self, output: Output) -> None:
        arguments: dict[str, Any] = {"headers": list(output.headers)} if output.headers else {}
        if output.partition is not None:
            arguments["partition"] = output.partition
        while True:
            try:
                self._producer.produce(
                    output.topic,
                    key=output.key,
                    value=output.value,
                    on_delivery=self._delivered,
                    **arguments,
                )
            except BufferError:
                # The local queue is full: let deliveries through.
                self._producer.poll(0.1)
                continue
            return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = (message.topic() or "", error)

    def _commit(self) -> Outcome:
        try:
            self._repeat("commit_transaction", self._producer.commit_transaction)
        except KafkaException as error:
            reason = error.args[0]
            self._raise_if_fatal(reason)
            if reason.txn_requires_abort():
                logger.warning("transaction aborted: %s", reason.str())
                return self._abort()
            logger.warning("outcome of a commit unknown: %s", reason.str())
            return Outcome.UNKNOWN
        return Outcome.COMMITTED

    def _abort(self) -> Outcome:
        try:
            self._repeat("abort_transaction", self._producer.abort_transaction)
        except KafkaException as error:
            if error.args[0].fatal():
                self._raise_if_fatal(error.args[0])
            logger.warning("outcome of an abort unknown: %s", error.args[0].str())
            return Outcome.UNKNOWN
        if self._failed is not None and self._failed[1].code() in _PERMANENT:
            topic, reason = self._failed
            raise FatalKafkaError(f"cannot write to {topic}: {reason.str()}")
        return Outcome.ABORTED

    def _repeat(self, name: str, call: Callable[[float], None]) -> None:
        """Repeat a call while its error is retriable, within the budget."""
        deadline = time.monotonic() + self._budget
        pause = 0.05
        while True:
            try:
                call(max(deadline - time.monotonic(), 0.1))
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() + pause > deadline:
                    raise
                logger.info("%s again: %s", name, error.args[0].str())
                time.sleep(pause)
                pause = min(2 * pause, 1.0)
                continue
            return

    def _raise_if_fatal(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in _PERMANENT:
            failed = f" while writing to {self._failed[0]}" if self._failed else ""
            raise FatalKafkaError(f"{error.str()}{failed}") from None
