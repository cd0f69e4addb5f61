"""A deployment of its own for one test on the shared broker, and loops that run in threads."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from prometheus_client import CollectorRegistry

from consumer.app import transactional_id
from consumer.health import Health
from consumer.loop import Loop
from consumer.metrics import LoopMetrics
from consumer.reader import read_topic
from consumer.records import Output, Record
from consumer.replay import Replay
from consumer.settings import BatchSettings, KafkaSettings, Settings, TopicSettings
from consumer.topics import create_topics
from consumer.verify import TopicNames, VerifyResult, verify_topics
from consumer.verify.oracle import differences
from models.segments import SegmentModel
from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord
from schemas.segment_model import SEGMENT_MODEL_KEY
from tests.stubs import HashingEmbedder

if TYPE_CHECKING:
    from consumer.broker import EmbeddedKafka
    from consumer.stage import Stage
    from models.embedding import Embedder, Vectors

WITHIN_S = 60.0
PARTITIONS = 4

VOCABULARIES = (
    "hops malt yeast barley kettle mash lager stout brewing bottle",
    "lens tripod shutter aperture portrait exposure zoom flash camera print",
    "chain saddle pedal brake gear helmet tyre frame wheel ride",
)


def until(
    condition: Callable[[], bool],
    what: str,
    *,
    alive: Iterable[Any] = (),
    seconds: float = WITHIN_S,
) -> None:
    """Wait for a condition; the `alive` are asked whether they still are, so errors show at once."""
    deadline = time.monotonic() + seconds
    watched = tuple(alive)
    while not condition():
        for process in watched:
            process.check()
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.02)


# --- input ----------------------------------------------------------------------------------


def make_events(users: int, each: int, *, first: int = 0, seed: int = 0) -> list[dict[str, Any]]:
    """Make events by time; each user takes another interest up half-way through `each`.

    `first` is the number of the first event, so that a later call goes on where one ended.
    """
    dice = random.Random(f"{seed}/{first}")
    start = datetime(2025, 1, 1, tzinfo=UTC)
    made = []
    for number in range(first, first + each):
        for user in range(users):
            interest = (user + (number - first >= each / 2)) % len(VOCABULARIES)
            words = dice.sample(VOCABULARIES[interest].split(), 5)
            time = start + timedelta(minutes=number * users + user)
            made.append(
                {
                    "event_id": f"u{user}-{number}",
                    "user_id": f"u{user}",
                    "type": "review",
                    "text": " ".join(words),
                    "language": "en",
                    "occurred_at": time.isoformat(),
                }
            )
    return made


def repeated(events: Sequence[dict[str, Any]], every: int = 17) -> list[dict[str, Any]]:
    """Send some events twice, as a producer that had to retry."""
    made = []
    for number, event in enumerate(events):
        made.append(event)
        if number % every == 0:
            made.append(event)
    return made


def make_model(embedder: Embedder, *, version: int = 1, turned: int = 0) -> SegmentModel:
    """Make a model with one segment a vocabulary; `turned` gives the segments other centres."""
    centres = np.roll(embedder.embed(VOCABULARIES), turned, axis=0)
    count = len(VOCABULARIES)
    return SegmentModel(
        version=version,
        embedding=embedder.identity,
        ids=np.arange(count),
        centres=centres,
        radii=np.full(count, 0.5),
        sizes=np.full(count, 10),
        labels=tuple(f"segment {number}" for number in range(count)),
        words=tuple(() for _ in range(count)),
        since=(1,) * count,
        next_id=count,
        sample_threshold=1.0,
        samples=0,
        seed=0,
    )


class Tap:
    """An embedder that lets so many batches through, and the others when it is opened."""

    def __init__(self, batches: int) -> None:
        embedder = HashingEmbedder()
        self.identity, self.dimensions, self._embed = (
            embedder.identity,
            embedder.dimensions,
            embedder.embed,
        )
        self._permits = threading.Semaphore(batches)
        self._opened = threading.Event()
        self.blocked = threading.Event()

    def open(self) -> None:
        self._opened.set()

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not self._permits.acquire(blocking=False):
            self.blocked.set()
            assert self._opened.wait(WITHIN_S)
        return self._embed(texts)


# --- a deployment ---------------------------------------------------------------------------


@dataclass
class Deployment:
    """Topics and groups of one test, the hand that produces, and the eye that reads."""

    settings: Settings
    _producer: Producer = field(init=False)
    _group: Consumer = field(init=False)

    @classmethod
    def on(cls, broker: EmbeddedKafka, **sections: Any) -> Self:
        """Create topics with names of their own; `sections` are further sections of settings."""
        name = f"loop-{uuid4().hex[:12]}"
        kafka = {
            "bootstrap_servers": broker.bootstrap_servers,
            "group_id": name,
            "session_timeout_seconds": 6,
            **sections.pop("kafka", {}),
        }
        topics = {topic: f"{name}.{topic}" for topic in _TOPICS}
        batch = {"max_records": 100, "max_wait_seconds": 0.05, **sections.pop("batch", {})}
        settings = Settings(
            kafka=KafkaSettings(**kafka),
            topics=TopicSettings(**topics, partitions=PARTITIONS),
            batch=BatchSettings(**batch),
            **sections,
        )
        create_topics(settings)
        return cls(settings)

    def __post_init__(self) -> None:
        client = self.settings.kafka.client()
        self._producer = Producer({**client, "message.max.bytes": 15_000_000, "linger.ms": 5})
        self._group = Consumer({**client, "group.id": self.settings.kafka.group_id})

    def named(self, instance_id: str) -> Settings:
        """Give the settings of a process whose name outlives a restart."""
        kafka = self.settings.kafka.model_copy(update={"instance_id": instance_id})
        return self.settings.model_copy(update={"kafka": kafka})

    # --- writing ------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        records: Iterable[tuple[bytes | None, bytes | None]],
        *,
        timestamp: int = 0,
        **more: int,
    ) -> list[tuple[int, int]]:
        """Send records and wait for them; give partition and offset of each."""
        places: dict[int, tuple[int, int]] = {}

        def delivered(number: int) -> Callable[[object, Message], None]:
            def report(error: object, message: Message) -> None:
                assert error is None, error
                places[number] = (message.partition() or 0, message.offset() or 0)

            return report

        count = 0
        for key, value in records:
            self._producer.produce(
                topic, value, key, on_delivery=delivered(count), timestamp=timestamp, **more
            )
            count += 1
        assert self._producer.flush(WITHIN_S) == 0
        return [places[number] for number in range(count)]

    def send_events(self, events: Iterable[dict[str, Any]]) -> int:
        """Send events as JSON; give their number."""
        records = [(e["user_id"].encode(), json.dumps(e).encode()) for e in events]
        return len(self.send(self.settings.topics.events, records))

    def publish(self, model: SegmentModel) -> None:
        """Publish a segment model as a trainer does."""
        value = model.to_record().model_dump_json().encode()
        self.send(self.settings.topics.models, [(SEGMENT_MODEL_KEY, value)], partition=0)

    # --- reading ------------------------------------------------------------------------

    def read(self, topic: str) -> list[Record]:
        """Read all committed records of a topic."""
        return list(read_topic(self.settings, topic))

    def committed(self) -> int:
        """Give the number of input records whose offsets are committed.

        No transaction writes to the input, so offsets count its records.
        """
        topic = self.settings.topics.events
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum(max(place.offset, 0) for place in self._group.committed(places, timeout=30))

    def ends(self) -> int:
        """Give the number of input records."""
        topic = self.settings.topics.events
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return sum(self._group.get_watermark_offsets(place, timeout=30)[1] for place in places)

    def changes(self) -> list[SegmentChange]:
        """Give all changes published."""
        records = self.read(self.settings.topics.changes)
        return [SegmentChange.model_validate_json(record.value or b"") for record in records]

    def memberships(self) -> dict[str, SegmentChange]:
        """Give each user's latest change on the compacted topic."""
        records = self.read(self.settings.topics.memberships)
        latest = (SegmentChange.model_validate_json(record.value or b"") for record in records)
        return {change.user_id: change for change in latest}

    def profiles(self) -> dict[str, ProfileRecord]:
        """Give each user's state on the changelog."""
        records = self.read(self.settings.topics.profiles)
        latest = (ProfileRecord.model_validate_json(record.value or b"") for record in records)
        return {profile.user_id: profile for profile in latest}

    # --- judging ------------------------------------------------------------------------

    def verify(self) -> VerifyResult:
        """Audit the topics."""
        names = self.settings.topics.model_dump(
            include={"events", "dead_letters", "changes", "memberships", "profiles", "models"}
        )
        kafka = self.settings.kafka
        return verify_topics(kafka.client(), kafka.group_id, TopicNames(**names))

    def assert_sound(self) -> VerifyResult:
        """Assert that the audit finds nothing and leaves nothing unchecked."""
        result = self.verify()
        assert result.ok, result.render()
        assert result.unchecked == (), result.render()
        return result

    def assert_equals_replay(self, embedder: Embedder, model: SegmentModel) -> None:
        """Assert that all topics hold just what a replay of the input gives, and are sound.

        Changes, memberships and profiles: nothing lost, nothing twice, the same numbers.
        """
        result = self.assert_sound()
        topics = self.settings.topics
        replay = Replay(self.settings, embedder, model)
        written: list[Output] = []
        replay.run(
            (
                replace(record, partition=0, offset=offset)
                for offset, record in enumerate(self.read(topics.events))
            ),
            written.append,
        )

        def expected(topic: str) -> list[SegmentChange]:
            values = [output.value for output in written if output.topic == topic]
            return [SegmentChange.model_validate_json(value or b"") for value in values]

        assert expected(topics.changes), "a test without changes shows nothing"
        assert list(differences(expected(topics.changes), self.changes())) == []
        members = {change.user_id: change for change in expected(topics.memberships)}
        assert list(differences(members.values(), self.memberships().values())) == []
        table = replay.segmentation.tables[0]
        assert self.profiles() == {
            user: table.gather([user]).to_record(0, embedder.identity) for user in table.users
        }
        refused = [output for output in written if output.topic == topics.dead_letters]
        assert result.counts.refused == len(refused)
        assert result.counts.lag == 0


_TOPICS = ("events", "dead_letters", "changes", "memberships", "profiles", "samples", "models")


# --- loops ----------------------------------------------------------------------------------


class LoopThread:
    """A loop in a thread of its own, stopped at the end of the `with`; errors are raised there."""

    def __init__(
        self,
        stage: Stage[Any, Any],
        settings: Settings,
        *,
        role: str = "worker",
        idle_seconds: float = 0.3,
    ) -> None:
        suffix = "" if role == "worker" else f"-{role}"
        self.stage = stage
        self.health = Health(live_seconds=60)
        self.registry = CollectorRegistry()
        self.loop: Loop[Any] = Loop(
            stage,
            settings,
            group_id=settings.kafka.group_id + suffix,
            transactional_id=transactional_id(settings.kafka, role),
            metrics=LoopMetrics(self.registry),
            health=self.health,
            idle_seconds=idle_seconds,
        )
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=role)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.loop.stop()
        self._thread.join(WITHIN_S)
        if kind is None:
            self.check()
            assert not self._thread.is_alive(), "the loop does not stop"

    @property
    def assigned(self) -> list[int]:
        """Partitions that the loop says it has."""
        return list(self.health.detail.get("assigned", []))

    @property
    def settled_down(self) -> bool:
        """Whether it has partitions, all restored, and nothing to do."""
        idle = self.registry.get_sample_value("segmenter_idle")
        return bool(idle and self.health.ready and self.assigned)

    def transactions(self, outcome: str) -> int:
        """Count the transactions that ended this way."""
        labels = {"outcome": outcome}
        return int(self.registry.get_sample_value("segmenter_transactions_total", labels) or 0)

    def check(self) -> None:
        """Raise what the loop has raised."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop it now and wait for its end."""
        self.__exit__(None)

    def failure(self) -> BaseException:
        """Wait until the loop fails by itself; give the error, which the `with` then lets be."""
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive(), "the loop does not fail"
        assert self._error is not None, "the loop ended without an error"
        error, self._error = self._error, None
        return error

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self._error = error
