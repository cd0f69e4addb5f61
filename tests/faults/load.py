"""The stream under which faults are injected: made up, deterministic by its seed, never ending.

Users change their interest now and then, events are repeated now and then, and some records are
bad. So every kind of outcome is in it all the time: changes, repeats, dead letters.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from consumer.settings import Settings
from models.embedding.runner_types import Embedder
from models.segments.model import SegmentModel

Pair = tuple[bytes | None, bytes]

INTERESTS = (
    "beer hops malt yeast brew",
    "shoes running pace trail marathon",
    "qubit photon gate entangled physics",
    "espresso grinder beans roast crema",
)
_START = datetime(1991, 1, 1, tzinfo=UTC)
# So small that no user's events come up to the present however long a run takes: 25,000 do not.
_STEP = timedelta(hours=12)
# With such steps and the rig's half-life, a new interest wins after one or two events.
HALF_LIFE_DAYS = 1
# Above any version that a live trainer beside the fixed model publishes.
FIXED_VERSION = 1_000_000
POISONS = tuple(range(6))
"""The ways in which records are spoilt."""
_AHEAD_SECONDS = 10
"""Of the stream may wait to be worked off; then only a tenth of it is produced."""
NOT_A_NUMBER = 2
"""A rating that is none, which the former build refuses, and this one leaves out."""


def fixed_model(embedder: Embedder) -> SegmentModel:
    """Give the segments, one for each interest."""
    centres = embedder.embed(list(INTERESTS)).astype(np.float64)
    n = len(INTERESTS)
    return SegmentModel(
        version=FIXED_VERSION,
        embedding=embedder.identity,
        ids=np.arange(n),
        centres=centres,
        radii=np.zeros(n),
        sizes=np.zeros(n, np.int64),
        labels=tuple(text.split()[0] for text in INTERESTS),
        words=((),) * n,
        since=(1,) * n,
        next_id=n,
        sample_threshold=1.0,
        samples=0,
        seed=0,
    )


def events(seed: int, users: int, poisons: Sequence[int] = POISONS) -> Iterator[Pair]:
    """Give records without end, some of them spoilt in one of these ways."""
    draw = random.Random(seed)
    interest = {user: draw.randrange(len(INTERESTS)) for user in range(users)}
    counts: Counter[int] = Counter()
    while True:
        user = draw.randrange(users)
        if draw.random() < 0.12:
            interest[user] = draw.randrange(len(INTERESTS))
        number = counts[user]
        if number and draw.random() < 0.02:
            number -= 1  # repeated: the same id, text and time again
        else:
            counts[user] += 1
        words = INTERESTS[interest[user]].split()
        name = f"u{user}"
        value = {
            "event_id": f"{name}-{number}",
            "user_id": name,
            "type": "comment",
            "text": " ".join(draw.sample(words, 4)),
            "item_id": f"item-{words[0]}-{number % 7}",
            "occurred_at": (_START + number * _STEP).isoformat(),
        }
        if draw.random() < 0.01:
            kind = poisons[draw.randrange(len(poisons))]
            yield name.encode(), poison(value, kind)
        yield name.encode(), json.dumps(value).encode()


def poison(value: dict[str, str], kind: int) -> bytes:
    """Spoil an event; its good twin follows."""
    good = json.dumps(value).encode()
    if kind == 0:
        return good[:-1]
    if kind == 1:
        return good.replace(b'"text": "', b'"text": "\xff')
    if kind == NOT_A_NUMBER:
        return json.dumps({**value, "rating": float("nan")}).encode()
    if kind == 3:
        return json.dumps({**value, "text": "\ud800"}).encode()
    if kind == 4:
        return json.dumps({**value, "occurred_at": "9999-01-01T00:00:00Z"}).encode()
    return json.dumps({**value, "text": "<p> </p>"}).encode()


class Load:
    """Produces the stream in a thread, at a steady rate, until it is stopped.

    Parameters
    ----------
    settings
        Where to.
    seed, users
        Of the stream.
    rate
        Records a second.
    poisons
        The ways in which some are spoilt.

    Where there is a foreign input it goes there, under keys that are no user ids: a user's records
    are in one partition all the same, so that their order is known.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int,
        users: int,
        rate: float,
        poisons: Sequence[int] = POISONS,
    ) -> None:
        self.pairs: list[Pair] = []
        """All records, in the order in which they were produced."""
        self.ends: dict[int, int] = {}
        """By partition, the offset after the last record that the brokers have taken."""
        self.places: dict[int, tuple[int, int]] = {}
        """Partition and offset of records, by their place in `pairs`."""
        self.failed: list[str] = []
        self.delivered = 0
        self.behind: Callable[[], int] = lambda: 0
        """Gives the records that are produced and not worked off."""
        self._foreign = settings.topics.raw_events is not None
        self._topic = settings.topics.raw_events or settings.topics.events
        self._stream = events(seed, users, poisons)
        self._rate = rate
        self._stopping, self._held, self._rests = (threading.Event() for _ in range(3))
        self._config = {
            **settings.kafka.client(),
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "max.in.flight": 1,  # as in `consumer.kafka.clients`, and for its reason
            "delivery.timeout.ms": 600_000,
            "linger.ms": 5,
            "log_level": 0,
        }
        self._producer = Producer(self._config)
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until the brokers have all of it; may be called again."""
        self._stopping.set()
        self._thread.join()
        left = self._producer.flush(120)
        if left or self.failed or self.delivered != len(self.pairs):
            raise RuntimeError(
                f"{self.delivered} of {len(self.pairs)} records delivered, {left} still queued, "
                f"{self.failed[:3]}"
            )

    def hold(self) -> None:
        """Produce nothing until `go_on`; the brokers have all that was produced."""
        self._held.set()
        assert self._rests.wait(30)
        assert self._producer.flush(120) == 0

    def go_on(self) -> None:
        """Produce again, to a topic that may be another one: its ends are those of now on."""
        self.ends = {}
        # What the former one knows of its sequences is of the former topic.
        self._producer = Producer(self._config)
        self._rests.clear()
        self._held.clear()

    def _run(self) -> None:
        now, due = time.monotonic(), 0.0
        while not self._stopping.is_set():
            before, now = now, time.monotonic()
            if self._held.is_set():
                self._rests.set()
                self._stopping.wait(0.02)
                continue
            due += (now - before) * self._present_rate()
            for _ in range(int(due)):
                key, value = next(self._stream)
                delivered = partial(self._delivered, len(self.pairs))
                self.pairs.append((key, value))
                written = b"user " + (key or b"") if self._foreign else key
                self._producer.produce(self._topic, value, written, on_delivery=delivered)
            due -= int(due)
            self._producer.poll(0)
            self._stopping.wait(0.02)

    def _present_rate(self) -> float:
        """Give the rate, or a tenth of it where much is not worked off.

        A busy machine would have the more to judge at the end the longer it takes, and take longer
        for that. Some records must come all the same: there are scenarios that wait for them while
        no worker runs.
        """
        behind = self.behind() > self._rate * _AHEAD_SECONDS
        return self._rate / 10 if behind else self._rate

    def _delivered(self, index: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(error.str())
            return
        self.delivered += 1
        partition, offset = message.partition() or 0, message.offset() or 0
        self.places[index] = partition, offset
        self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)
