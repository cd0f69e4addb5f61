"""A small group at work: broker, two workers, one of each other role, a stream that goes on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.demo.generate import StreamRecord, StreamSettings, generate_records, truth_of
from consumer.tryout.demo.processes import Child
from consumer.tryout.demo.stream import Feeder

# In half of the stream's time some users change their interest, and drift has something to measure.
STREAM = StreamSettings(users=150, events_per_user=14, bad=0.005, repeated=0.01)
_EVENTS_PER_SECOND = 40
_READY_SECONDS = 180
_STOP_SECONDS = 30


class GroupError(Exception):
    """The group did not get to work."""


def settings_for(servers: str) -> Settings:
    """Give settings with which a small stream makes more than one version of the segments."""
    return Settings(
        kafka={"bootstrap_servers": servers, "group_id": "dashboards"},
        topics={"partitions": 4, "raw_events": "reviews"},
        embedding={"threads": 1},
        training={"warmup_users": 60, "reseed_every": 200, "idle_seconds": 1},
        drift={"users": 110, "min_users": 60, "segment_users": 10, "every": 100},
        labels={"enabled": True, "publish_every": 100},
        batch={"max_records": 128},
        recommendations={"enabled": True, "interval_hours": 0.02, "min_interval_seconds": 5},
        rules={
            "enabled": True,
            "segments": {"busy": 'count("30d") >= 3', "first": "segment == 0"},
        },
    )


def label_records() -> Iterator[tuple[bytes, bytes]]:
    """Give every other user's interest at the end as the label of the user."""
    now = datetime.now(UTC).isoformat()
    for user, interest in sorted(truth_of(STREAM).final.items())[::2]:
        record = {"user_id": user, "label": interest, "labelled_at": now}
        yield user.encode(), json.dumps(record).encode()


def send_labels(settings: Settings) -> None:
    """Send the labels, each to the partition of the user's events."""
    producer = Producer({**settings.kafka.client(), "partitioner": "murmur2_random"})
    for key, value in label_records():
        producer.produce(settings.topics.labels, value, key)
    if producer.flush(_STOP_SECONDS):
        raise GroupError("cannot send the labels")


def paced(
    records: Iterable[StreamRecord], per_second: float, stopped: threading.Event
) -> Iterator[StreamRecord]:
    """Give records no faster than that, until stopped."""
    begun = time.monotonic()
    for number, record in enumerate(records):
        if stopped.wait(max(begun + number / per_second - time.monotonic(), 0)):
            return
        yield record


def make_topics(settings: Settings) -> None:
    """Make the foreign topic, which producers make elsewhere, then all others."""
    topic = NewTopic(str(settings.topics.raw_events), num_partitions=2, replication_factor=1)
    admin = AdminClient(settings.kafka.client())  # ends what it has begun when it is let go
    admin.create_topics([topic])[topic.topic].result()
    create_topics(settings)


class Group:
    """The processes, as long as the `with` block lasts.

    Parameters
    ----------
    folder
        For the broker's data and the logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._children: dict[str, Child] = {}
        self._stopped = threading.Event()
        self._feeder: Feeder | None = None
        self._settings: Settings

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        broker = self._stack.enter_context(EmbeddedKafka(self._folder / "kafka"))
        self._settings = settings = settings_for(broker.bootstrap_servers)
        make_topics(settings)
        for name, arguments in {
            "intake": ["intake"],
            "worker-0": ["worker"],
            "worker-1": ["worker"],
            "trainer": ["trainer"],
            "recommender": ["recommender"],
            "rules": ["rules", "run"],
            "audit": ["verify", "--follow"],
        }.items():
            own = settings.changed("kafka", instance_id=name)
            if name == "worker-1":
                own = own.changed("batch", prepare_processes=1)
            child = Child(name, arguments, own, self._folder)
            self._stack.callback(child.stop)
            self._children[name] = child
        deadline = time.monotonic() + _READY_SECONDS
        while not all(child.ready() for child in self._children.values()):
            self.check()
            if time.monotonic() > deadline:
                raise GroupError(f"not ready after {_READY_SECONDS} s; logs in {self._folder}")
            time.sleep(0.2)

    def feed(self) -> None:
        """Begin to send the stream; to be called when Prometheus is there to see it."""
        send_labels(self._settings)
        records = paced(generate_records(STREAM), _EVENTS_PER_SECOND, self._stopped)
        raw = self._settings.changed("topics", events=self._settings.topics.raw_events)
        self._feeder = Feeder(raw.changed("topics", raw_events=None), records)
        self._stack.callback(self._stop_feeding)
        self._feeder.start()

    @property
    def fed(self) -> bool:
        """Whether the whole stream has been sent."""
        return self._feeder is not None and self._feeder.finished

    def _stop_feeding(self) -> None:
        """Let go of the producer, before the broker goes."""
        self._stopped.set()
        if self._feeder is not None:
            self._feeder.join(_STOP_SECONDS)
        self._feeder = None

    def check(self) -> None:
        """Raise if a process has ended or the stream cannot be sent."""
        for child in self._children.values():
            child.check()
        if self._feeder is not None and self._feeder.error is not None:
            raise GroupError(f"cannot send the stream: {self._feeder.error}")

    @property
    def targets(self) -> dict[str, list[int]]:
        """Ports by job. All but the audit share a job: rules must tell them apart."""
        ports = {name: child.port for name, child in self._children.items()}
        return {
            "segmenter": [port for name, port in ports.items() if name != "audit"],
            "audit": [ports["audit"]],
        }
