"""Where the records of a topic end, as readers of committed records see it: markers left out."""

from __future__ import annotations

import threading

from confluent_kafka import Consumer, TopicPartition

from consumer.kafka.clients import reader_config
from consumer.settings import Settings


class Tail:
    """Reads a topic in a thread and notes the offset after the last record of each partition.

    Parameters
    ----------
    settings
        How to reach the cluster.
    topic, partitions
        What to read.
    """

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self.ends: dict[int, int] = {}
        self._places = [TopicPartition(topic, number, 0) for number in range(partitions)]
        # One to read and one to ask: a question waits until its client's reader pauses.
        self._client, self._asked = (
            Consumer({**reader_config(settings.kafka), "log_level": 0}) for _ in range(2)
        )
        self._client.assign(self._places)
        self._read: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self._thread.start()

    def stable_ends(self) -> dict[int, int]:
        """Give the last stable offsets of now."""
        return {
            place.partition: self._asked.get_watermark_offsets(place, timeout=30)[1]
            for place in self._places
        }

    def has_read(self, offsets: dict[int, int]) -> bool:
        """Whether all below these offsets has been read, so that `ends` is of these at least."""
        return all(self._read.get(number, 0) >= offset for number, offset in offsets.items())

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        self._thread.join()
        self._client.close()
        self._asked.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for message in self._client.consume(1000, 0.1):
                number, offset = message.partition() or 0, message.offset() or 0
                if message.error() is None:
                    self.ends[number] = offset = offset + 1
                # In place of a message: the end of what is stable, markers included.
                self._read[number] = max(self._read.get(number, 0), offset)
