"""The process's membership in its consumer group: joining, rebalances, and the client's errors.

Rebalance callbacks run inside of a poll and nowhere else. What one raised there would lose the
messages of that poll while the client's position moves past them. So it is kept and raised after
the poll, as an error that the client has called back with is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumer.contract.clock import Timer
from consumer.engine.transactions import FatalKafkaError
from consumer.kafka.asking import passes
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import consumer_config, made
from consumer.kafka.connection import Connection
from consumer.settings import KafkaSettings
from consumer.settings.batch import BATCH_BYTES

logger = logging.getLogger(__name__)

# No retry helps against these, but that a topic may be new.
_UNREADABLE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}
_OF_READING = {KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET}


class InstanceHeldError(FatalKafkaError):
    """Another member of the group has this process's instance id, or the group thinks so."""


class Partitioned(Protocol):
    """Who has the partitions; told amid a poll what the group does with them."""

    def assigned(self, numbers: Sequence[int]) -> None:
        """Take new partitions over, if any; the client reads none of them by itself."""
        ...

    def revoked(self, numbers: Sequence[int]) -> None:
        """Finish what is under way of partitions, and let go."""
        ...

    def lost(self, numbers: Sequence[int]) -> None:
        """Let go at once: they are others' already, and nothing may be committed."""
        ...


class Membership:
    """A member of a group that shares out a topic.

    Parameters
    ----------
    kafka
        How to reach the cluster, and as whom to join.
    group_id, topic
        The group, and what its members share out.
    batch_bytes
        What the client may fetch ahead.
    make
        Makes a client.
    held_pause_seconds, held_sessions
        How long to wait before the place of a predecessor is asked for again, and for how many
        sessions in all. The one that counts is the brokers' (group.consumer.session.timeout.ms, 45
        s by default), and this side knows only its own (30 s).
    new_topic_seconds
        The start has seen the topic; a broker that has not heard of it yet says for so long that
        there is none.
    timer
        What time it is.

    Attributes
    ----------
    consumer
        The client.
    connection
        Whether brokers answer it.
    joined
        Whether the group has shared partitions out to it.
    giving_up
        Whether it is between the two rounds of a cooperative rebalance: partitions are given up,
        and not yet shared out.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group_id: str,
        topic: str,
        *,
        batch_bytes: int = BATCH_BYTES,
        make: Callable[[dict[str, Any]], Consumer] = Consumer,
        held_pause_seconds: float = 1.0,
        held_sessions: float = 4,
        new_topic_seconds: float = 30.0,
        timer: Timer = time,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._make = make
        self._held_pause_seconds = held_pause_seconds
        self._held_sessions = held_sessions
        self._new_topic_seconds = new_topic_seconds
        self._timer = timer
        self._began = timer.monotonic()
        self._kept: BaseException | None = None
        self._lost = False
        self.joined = False
        self.giving_up = False
        self.connection = Connection(
            kafka.bootstrap_servers, kafka.session_timeout_seconds, kafka.group_protocol
        )
        self._config = {
            **consumer_config(kafka, group_id, batch_bytes),
            **self.connection.config(),
            "error_cb": self._on_error,
        }
        self.consumer = made(make, self._config)

    @property
    def has_place(self) -> bool:
        """Whether the group counts on it. Without partitions a member is not always called back."""
        return self.connection.steady or (self.joined and not self._lost)

    def join(self, owner: Partitioned) -> None:
        """Ask for a part of the topic; `owner` is told what comes of it, amid polls."""

        def on_assign(consumer: Consumer, places: list[TopicPartition]) -> None:
            self.joined, self._lost, self.giving_up = True, False, False
            # The client reads nothing of them before it is known where from.
            consumer.incremental_assign([])
            owner.assigned(_told("assigned", places))

        def on_revoke(_consumer: Consumer, places: list[TopicPartition]) -> None:
            try:
                owner.revoked(_told("revoke", places))
            finally:
                # Under KIP-848 the brokers see to the rest.
                self.giving_up = self._kafka.group_protocol == "classic"

        def on_lost(_consumer: Consumer, places: list[TopicPartition]) -> None:
            self._lost = True
            owner.lost(_told("lost", places))

        self.consumer.subscribe(
            [self._topic],
            on_assign=self._keeping(on_assign),
            on_revoke=self._keeping(on_revoke),
            on_lost=self._keeping(on_lost),
        )

    def join_again(self, error: InstanceHeldError, owner: Partitioned) -> None:
        """Wait for the place of a predecessor that was killed, with a new client.

        Under KIP-848 the group keeps it until the predecessor's session is over, and refuses
        whoever asks for it earlier with an error that is fatal to the client. Raises it where the
        place was this member's own, or stays taken.
        """
        patience = self._held_sessions * self._kafka.session_timeout_seconds
        if self.joined or self._timer.monotonic() - self._began > patience:
            raise error
        logger.info("waiting until the group gives up the predecessor of this name")
        self.consumer.close()
        self._timer.sleep(self._held_pause_seconds)
        self.consumer = made(self._make, self._config)
        self.join(owner)

    def poll(self, room: int, seconds: float) -> Sequence[Message]:
        """Give records; in place of one, the end of a partition, or that its place is gone.

        Raises
        ------
        FatalKafkaError
            If the membership is over, or the topic cannot be read.
        Exception
            What a callback raised amid the poll.
        """
        messages = self.consumer.consume(room, seconds)
        if (kept := self._kept) is not None:
            self._kept = None
            raise kept
        for message in messages:
            if (error := message.error()) is not None and error.code() not in _OF_READING:
                self._judge(error, message.topic())
        return messages

    def close(self) -> None:
        """Leave the group, which revokes what it has shared out."""
        self.consumer.close()

    def _keeping(
        self, callback: Callable[[Consumer, list[TopicPartition]], None]
    ) -> Callable[[Consumer, list[TopicPartition]], None]:
        def called(consumer: Consumer, places: list[TopicPartition]) -> None:
            try:
                callback(consumer, places)
            except Exception as error:
                self._kept = self._kept or error

        return called

    def _on_error(self, error: KafkaError) -> None:
        if _is_fatal(error):
            self._kept = self._kept or FatalKafkaError(error.str())
        else:
            broker_log.error(error.name(), error.str())

    def _judge(self, error: KafkaError, topic: str | None) -> None:
        """Raise what does not pass, log what does."""
        if _is_fatal(error):
            held = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str() in error.str()
            raise (InstanceHeldError if held else FatalKafkaError)(error.str())
        young = self._timer.monotonic() - self._began < self._new_topic_seconds
        if error.code() in _UNREADABLE and not (young and passes(error)):
            raise FatalKafkaError(f"cannot read {topic}: {error.str()}")
        broker_log.error(error.name(), error.str())


def _told(what: str, places: Sequence[TopicPartition]) -> list[int]:
    """Log what happens to partitions, and give their numbers."""
    if places:
        names = ", ".join(f"{place.topic}[{place.partition}]" for place in places)
        logger.info("%s: %s", what, names)
    return [place.partition for place in places]


def _is_fatal(error: KafkaError) -> bool:
    # A consumer's fatal error comes in place of a message, and without the flag.
    return error.fatal() or error.code() == KafkaError._FATAL
