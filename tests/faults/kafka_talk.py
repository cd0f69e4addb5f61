"""A Kafka client for the far end of a wire: says what it wrote and what it read back.

`python -m tests.faults.kafka_talk SERVERS TOPIC` writes 0, 1, 2, ... to partition 0 of a topic and
reads them, until it is ended. On standard output, a line `wrote N` for each record that the broker
has confirmed, and `read N` for each that came back.
"""

from __future__ import annotations

import sys

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)

_POLL_S = 0.05


def _say(word: str, message: Message) -> None:
    sys.stdout.write(f"{word} {(message.value() or b'').decode()}\n")
    sys.stdout.flush()


def _say_written(error: KafkaError | None, message: Message) -> None:
    if error is not None:
        raise AssertionError(error)
    _say("wrote", message)


def main(servers: str, topic: str) -> None:
    """Write and read until ended."""
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0})
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    number = 0
    while True:
        producer.produce(topic, str(number).encode(), partition=0, on_delivery=_say_written)
        number += 1
        producer.poll(0)
        message = consumer.poll(_POLL_S)
        if message is not None and message.error() is None:
            _say("read", message)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
