"""The least that a loop can be: consume, produce records of the same sizes, commit, exactly once.

    python bare.py '{"servers": ..., "group": ..., "input": ..., "batch": ..., "out": [...]}'

It looks at nothing of what it reads. `batch` is how many records a transaction takes at most. Each
of `out` is a topic, the number of records for each that is read, bytes of a value, and names and
bytes of its headers. The clients are configured as the worker's are.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

_POOL = 1 << 20


def run(given: dict[str, Any]) -> None:
    """Copy until SIGTERM."""
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    producer = Producer(
        {
            "bootstrap.servers": given["servers"],
            "transactional.id": given["group"],
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "max.in.flight.requests.per.connection": 1,
        }
    )
    producer.init_transactions(30)
    consumer = Consumer(
        {
            "bootstrap.servers": given["servers"],
            "group.id": given["group"],
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 16_384,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    consumer.subscribe([given["input"]])
    noise = os.urandom(_POOL)
    out = [
        (topic, share, size, [(name, noise[:length]) for name, length in headers])
        for topic, share, size, headers in given["out"]
    ]
    due = [0.0 for _ in out]
    place = 0
    while not stopping:
        batch = _poll(consumer, given["batch"], given["wait"])
        if not batch:
            continue
        producer.begin_transaction()
        for message in batch:
            key = message.key()
            for number, (topic, share, size, headers) in enumerate(out):
                due[number] += share
                while due[number] >= 1:
                    due[number] -= 1
                    place = (place + 4099) % (_POOL - size)
                    value = noise[place : place + size]
                    if headers:
                        producer.produce(topic, value, key, headers=headers)
                    else:
                        producer.produce(topic, value, key)
        last = batch[-1]
        where = TopicPartition(last.topic(), last.partition(), last.offset() + 1)
        producer.send_offsets_to_transaction([where], consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
    consumer.close()


def _poll(consumer: Consumer, most: int, wait: float) -> list[Any]:
    deadline = time.monotonic() + wait
    batch: list[Any] = []
    while len(batch) < most and (left := deadline - time.monotonic()) > 0:
        batch += [each for each in consumer.consume(most - len(batch), left) if not each.error()]
    return batch


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
