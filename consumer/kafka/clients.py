"""Configurations of the Kafka clients: what exactly-once needs on top of the user's settings."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from consumer.contract.errors import UsageError
from consumer.kafka.broker_log import librdkafka_logger
from consumer.settings import KafkaSettings
from consumer.settings.batch import BATCH_BYTES

# Room for a dead letter with a text of several MB and for a segment model with many centres.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# Less would be fetched again and again.
_LEAST_AHEAD = 1_000_000


Client = TypeVar("Client")


class ClientSettingsError(UsageError):
    """The Kafka client refuses a property: no broker was asked."""


def made(make: Callable[[dict[str, Any]], Client], config: Mapping[str, Any]) -> Client:
    """Make a client of a configuration of this module.

    Raises
    ------
    ClientSettingsError
        If librdkafka does not know a property, or refuses its value.
    """
    try:
        return make(dict(config))
    except KafkaException as error:
        raise ClientSettingsError(
            f"the Kafka client refuses its settings: {error.args[0].str()}; look at "
            "kafka.properties, kafka.secrets, kafka.consumer_properties and "
            "kafka.producer_properties"
        ) from error


def consumer_config(
    kafka: KafkaSettings, group_id: str, batch_bytes: int = BATCH_BYTES
) -> dict[str, Any]:
    """Configure a member of a consumer group whose offsets go into transactions.

    `batch_bytes` is what is to be fetched ahead at most, and of what one answer may hold packed.
    """
    ahead = max(batch_bytes, _LEAST_AHEAD)
    config: dict[str, Any] = {
        **kafka.client(),
        # What is fetched and waits in the client: a batch's worth, whatever the lag. A broker gives
        # a record that is larger than all of these by itself (KIP-74).
        "queued.max.messages.kbytes": ahead // 1000,
        "fetch.max.bytes": ahead,
        "fetch.message.max.bytes": ahead // 4,
        # Once the queue is full the client looks again after so long, 1 s by default.
        "fetch.queue.backoff.ms": 10,
        **kafka.consumer_properties,
        "group.id": group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # Where a group goes on is decided in `consumer.state.positions` alone.
        "auto.offset.reset": "error",
        # The end of what is there to read comes as an event: markers behind the last record count.
        "enable.partition.eof": True,
        "max.poll.interval.ms": round(kafka.max_poll_interval_seconds * 1000),
        "group.protocol": kafka.group_protocol,
        "logger": librdkafka_logger,
    }
    if kafka.group_protocol == "classic":
        # The KIP-848 protocol has both of these set at the broker.
        config["session.timeout.ms"] = round(kafka.session_timeout_seconds * 1000)
        config["heartbeat.interval.ms"] = round(kafka.session_timeout_seconds * 1000 / 10)
        config["partition.assignment.strategy"] = "cooperative-sticky"
    if kafka.instance_id is not None:
        config["group.instance.id"] = f"{group_id}-{kafka.instance_id}"
    return config


def reader_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Configure a consumer that reads partitions by itself, in no group."""
    return {
        **kafka.client(),
        "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
        # A reader that is faster than the queue in the client fills it again and again; for so long
        # nothing is fetched then, a second by default, however soon it is empty.
        "fetch.queue.backoff.ms": 10,
        **kafka.consumer_properties,
        # librdkafka wants a name; nothing is ever committed under it.
        "group.id": f"{kafka.group_id}-reader-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "logger": librdkafka_logger,
    }


def producer_config(kafka: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Configure a transactional producer."""
    return {
        **kafka.client(),
        # Java's partitioner, so that a key is found in the same partition by whoever looks.
        "partitioner": "murmur2_random",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "compression.type": "lz4",
        # Outputs of a batch are flushed by the commit; waiting for more of them gains nothing.
        "linger.ms": 5,
        # Brokers turn a transaction away that begins while the markers of the one before are still
        # being written. It is asked for again after so long, doubled each time; 100 by default.
        "retry.backoff.ms": 10,
        **kafka.producer_properties,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": round(kafka.transaction_timeout_seconds * 1000),
        "enable.idempotence": True,
        # With a second request under way a record can be lost in silence, where a partition is new
        # or has a new leader: its first batch is turned away, and the leader takes the second, the
        # first that it sees of this producer. To librdkafka the second's success says that the
        # first is there, too. It costs nothing that could be measured (docs/reliability.md).
        "max.in.flight.requests.per.connection": 1,
        "logger": librdkafka_logger,
    }


def sender_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Configure a producer without transactions that loses nothing and repeats nothing."""
    config = producer_config(kafka, "")
    for name in ("transactional.id", "transaction.timeout.ms"):
        del config[name]
    return {**config, "acks": "all"}


def admin_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Configure an admin client."""
    return {**kafka.client(), "logger": librdkafka_logger}
