"""Live events at a steady rate, and how long each takes from produce to being seen committed."""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

_TURN_SECONDS = 0.005
_TAIL_SECONDS = 10.0
Pair = tuple[bytes, bytes]


class Seen:
    """Reads an output, committed records only, and notes when each user's came.

    An event is seen when the first record of its user's key is there that came after it was
    produced. Where a user has several events under way at once, that may be an earlier one's.
    """

    def __init__(self, servers: str, topic: str, partitions: int) -> None:
        self.latencies: list[tuple[float, float]] = []
        """By event that was seen: when it was produced, by the clock, and the seconds it took."""
        self._waiting: defaultdict[bytes, deque[float]] = defaultdict(deque)
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"seen-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 5,
            }
        )
        places = [TopicPartition(topic, number) for number in range(partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=30)[1]
        self._consumer.assign(places)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def expect(self, key: bytes) -> None:
        """Note that an event of this key is produced now."""
        self._waiting[key].append(time.monotonic())

    @property
    def left(self) -> int:
        """Events that have not been seen; those that are refused never are."""
        return sum(map(len, list(self._waiting.values())))

    def _run(self) -> None:
        while not self._stopping.is_set():
            # The first one wakes it: a poll for more waits until they are there, or time is up.
            if messages := self._consumer.consume(1, 0.05):
                messages += self._consumer.consume(2000, 0)
            now = time.monotonic()
            for message in messages:
                if message.error():
                    continue
                waiting = self._waiting.get(message.key())
                while waiting:
                    produced = waiting.popleft()
                    self.latencies.append((produced, now - produced))


def drive(  # noqa: PLR0917 - also the target of a thread
    servers: str,
    topic: str,
    pairs: Iterable[Pair],
    rate: float,
    seen: Seen,
    stopping: threading.Event | None = None,
) -> tuple[float, float]:
    """Produce events at a rate, and wait until they have been seen; give begin and end.

    It ends with the last event, or when it is told to stop.
    """
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 2,
            "compression.type": "lz4",
        }
    )
    begun, sent, left, over = time.monotonic(), 0, iter(pairs), False
    while not over and not (stopping and stopping.is_set()):
        due = max(int((time.monotonic() - begun) * rate) - sent, 0)
        some = list(islice(left, due))
        over = len(some) < due
        for key, value in some:
            seen.expect(key)
            producer.produce(topic, value, key)
        sent += due
        producer.poll(0)
        time.sleep(_TURN_SECONDS)
    ended = time.monotonic()
    if producer.flush(30):
        raise RuntimeError("the brokers did not take all events")
    deadline, before = time.monotonic() + _TAIL_SECONDS, -1
    # Refused events are never seen: it is over when nothing more comes.
    while time.monotonic() < deadline and seen.left != before:
        before = seen.left
        time.sleep(1.5)
    return begun, ended


def quantiles(latencies: Sequence[float]) -> dict[str, float]:
    """Give the median and the 99th percentile in milliseconds, rounded."""
    if not latencies:
        return {"p50_ms": float("nan"), "p99_ms": float("nan")}
    p50, p99 = np.quantile(np.array(latencies) * 1000, (0.5, 0.99))
    return {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)}
