"""Follows a topic that is read whole by every process, between the turns of its loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from consumer.contract.records import Record
from consumer.kafka.broker_log import broker_log
from consumer.kafka.clients import made, reader_config
from consumer.kafka.cluster import Cluster
from consumer.kafka.messages import as_record
from consumer.settings import Settings

# Such a topic has a record every few minutes at most; asking at each turn would be waste.
_INTERVAL_SECONDS = 0.1


class Follower:
    """Follows a topic of one partition, in no group: every process reads all of it.

    The constructor reads to the topic's end, so that nobody begins by what was in force before.

    Parameters
    ----------
    settings
        How to reach the cluster, and how long to wait.
    topic
        Which.
    begin
        Takes the records that there are, not called where there are none. What it raises is raised.
    """

    def __init__(
        self, settings: Settings, topic: str, begin: Callable[[Iterable[Record]], None]
    ) -> None:
        self.topic = topic
        self._asked = 0.0
        following = OFFSET_BEGINNING
        cluster = Cluster(settings.kafka)
        if (end := cluster.end(topic, 0)) > 0:
            patience = settings.restore.no_progress_seconds
            begin(cluster.read(topic, 0, end, no_progress_seconds=patience))
            following = end
        self._consumer = made(Consumer, reader_config(settings.kafka))
        self._consumer.assign([TopicPartition(topic, 0, following)])

    def came(self) -> Iterator[Record]:
        """Give what has come since, without waiting; nothing where that was asked just now."""
        now = time.monotonic()
        if now - self._asked < _INTERVAL_SECONDS:
            return
        self._asked = now
        for message in self._consumer.consume(100, 0):
            error = message.error()
            if error is None:
                yield as_record(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                broker_log.error(error.name(), f"reading {self.topic}: {error.str()}")

    def close(self) -> None:
        """Stop following."""
        self._consumer.close()
