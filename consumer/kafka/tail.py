"""Reads topics on and on, in no group: whoever else reads them notices nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.contract.records import Record
from consumer.kafka.asking import passes
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import made, reader_config
from consumer.kafka.messages import as_records
from consumer.settings import KafkaSettings

Place = tuple[str, int]
"""Topic and partition."""

_AT_ONCE = 2000


class Tail:
    """Follows partitions; gives committed records alone, each partition's in their order.

    Brokers that go away are waited for, and `broker_log` tells of them. Where retention has removed
    what was to be read next, it goes on with the first record there is. Not for several threads.

    Parameters
    ----------
    kafka
        How to reach the cluster.
    starts
        For each partition, the offset to begin with.

    Attributes
    ----------
    ended
        Partitions whose end was reached once: the last stable offset, so that an open transaction
        is an end as well.
    """

    def __init__(self, kafka: KafkaSettings, starts: Mapping[Place, int]) -> None:
        self.ended: set[Place] = set()
        self._client = made(
            Consumer,
            {
                **reader_config(kafka),
                # librdkafka's own: of several partitions none is to take the turn of the others,
                # and a larger record comes all the same.
                "fetch.message.max.bytes": 1_048_576,
                "fetch.wait.max.ms": 100,
                # Of each partition so much waits in the client; by default up to 64 MB.
                "queued.max.messages.kbytes": 2_048,
            },
        )
        places = [TopicPartition(*place, offset) for place, offset in starts.items()]
        self._client.assign(places)

    def poll(self, seconds: float) -> list[Record]:
        """Give what has come; wait for so long at most where nothing has.

        Raises
        ------
        KafkaException
            If a broker refuses, or what is read is no more.
        """
        found = []
        for message in self._client.consume(_AT_ONCE, seconds):
            if (error := message.error()) is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ended.add((message.topic() or "", message.partition() or 0))
            elif passes(error):
                broker_log.error(error.name(), error.str())
            else:
                raise KafkaException(error)
        if found:
            broker_log.answered()
        return as_records(found)

    def pause(self, places: Iterable[Place]) -> None:
        """Read no more of some partitions for now."""
        self._client.pause([TopicPartition(*place) for place in places])

    def resume(self, places: Iterable[Place]) -> None:
        """Read on in some partitions."""
        self._client.resume([TopicPartition(*place) for place in places])

    def close(self) -> None:
        """Stop reading."""
        self._client.close()
