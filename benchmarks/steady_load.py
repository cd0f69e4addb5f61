"""A light, steady load of events of users who have profiles."""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from benchmarks.changelog import user_name
from consumer.settings import Settings

_TURN_SECONDS = 0.02
_FLUSH_SECONDS = 30


class SteadyLoad:
    """Produces events at a steady rate while its `with` block lasts.

    Parameters
    ----------
    settings
        Where to.
    users
        How many users there are to choose from.
    rate
        Events a second.
    name
        Begins the event ids: another one for each load on the same topic.
    """

    def __init__(self, settings: Settings, users: int, rate: float, name: str) -> None:
        self.sent = 0
        self.failed: list[str] = []
        self._topic, self._users, self._rate, self._name = settings.topics.events, users, rate, name
        # Replaced as a whole: an event belongs to the mark that was the latest when it was made.
        self._since_mark: dict[int, int] = {}
        self._draw = random.Random(name)
        self._stopping = threading.Event()
        self._producer = Producer(
            {
                **settings.kafka.client(),
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._stopping.set()
        self._thread.join()
        left = self._producer.flush(_FLUSH_SECONDS)
        if error is None and (left or self.failed):
            raise RuntimeError(f"{left} events were not delivered; refused: {self.failed[:3]}")

    def mark(self) -> None:
        """Begin anew to note the first events."""
        self._since_mark = {}

    @property
    def first_ends(self) -> dict[int, int]:
        """By partition, the offset behind the first event that was produced after `mark`."""
        return dict(self._since_mark)

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stopping.wait(_TURN_SECONDS):
            due = int((time.monotonic() - begun) * self._rate)
            while self.sent < due:
                self._produce()
            self._producer.poll(0)

    def _produce(self) -> None:
        told = partial(self._delivered, self._since_mark)
        user = user_name(self._draw.randrange(self._users))
        value = {
            "event_id": f"{self._name}-{self.sent}",
            "user_id": user,
            "type": "comment",
            "text": f"a comment on word{self._draw.randrange(1000)} and on other things",
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        self._producer.produce(self._topic, json.dumps(value), user, on_delivery=told)
        self.sent += 1

    def _delivered(self, noted: dict[int, int], error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(error.str())
            return
        # An idempotent producer's events are delivered in order: the first is the lowest.
        noted.setdefault(message.partition() or 0, (message.offset() or 0) + 1)
