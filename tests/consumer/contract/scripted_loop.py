"""Stand-ins for Kafka in the loop: polls by a script, transactions that end as they are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from typing import Any

from confluent_kafka import KafkaError, TopicPartition
from prometheus_client import CollectorRegistry

from consumer.contract.records import Output, Record
from consumer.engine.batches import Batches
from consumer.engine.loop import Loop
from consumer.engine.membership import Membership
from consumer.engine.partitions import Assignment
from consumer.engine.parts import Parts
from consumer.engine.pulse import Pulse
from consumer.engine.transactions import Outcome
from consumer.kafka.cluster import TopicIdentity
from consumer.settings import KafkaSettings, Settings
from consumer.state.positions import Position
from consumer.state.restored import Restored, RestoreProgress
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import LoopMetrics
from tests.consumer.contract.scripted_stage import TOPIC, ScriptedStage

PARTITIONS = 4
START = 10
"""Offset at which every partition goes on."""


class Message:
    """A record, or an error in place of one."""

    def __init__(
        self,
        partition: int,
        offset: int,
        error: KafkaError | None = None,
        topic: str = TOPIC,
        value: bytes = b"{}",
        timestamp: int = -1,
    ) -> None:
        self._place, self._error, self._topic = (partition, offset), error, topic
        self._value, self._timestamp = value, timestamp

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def timestamp(self) -> tuple[int, int]:
        return (0, self._timestamp)

    def key(self) -> bytes:
        return b"u"

    def value(self) -> bytes:
        return self._value

    def headers(self) -> None:
        return None

    def leader_epoch(self) -> int | None:
        return None


def place_of(place: TopicPartition) -> int | tuple[str, int]:
    """A partition of the input by its number, one of a topic beside it by both."""
    return place.partition if place.topic == TOPIC else (place.topic, place.partition)


def named(place: TopicPartition) -> str:
    return f"{place.partition}" if place.topic == TOPIC else f"{place.topic}/{place.partition}"


def failing(code: int, reason: str = "it failed") -> Message:
    return Message(0, -1, KafkaError(code, reason))


Step = Callable[[], Sequence[Message]]


class ScriptedWatch:
    """Gives the identities of topics that it is told, once."""

    def __init__(self) -> None:
        self.identities: dict[str, TopicIdentity] = {}

    def tick(self) -> dict[str, TopicIdentity]:
        given, self.identities = self.identities, {}
        return given

    def close(self) -> None:
        pass


class World:
    """Stands in for Kafka: polls follow a script, transactions end as they are told."""

    def __init__(self) -> None:
        self.stage = ScriptedStage()
        self.loop: Loop[list[Record]]
        self.steps: list[Step] = []
        self.outcomes: list[Outcome] = []
        self.committed: list[tuple[list[str], dict[int | tuple[str, int], int]]] = []
        self.outputs: list[Output] = []
        self.attempts = 0
        self.calls: list[str] = []
        self.callbacks: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}
        self.held: set[int] = set()
        self.pauses: list[float] = []
        self.withins: list[float | None] = []
        self.written: dict[tuple[str, int], int] = {}
        self.tasks: dict[int, object] = {}
        self.config: dict[str, Any] = {}
        self.metrics = LoopMetrics(CollectorRegistry())
        self.membership: Membership
        self.batches: Batches[list[Record]]
        self.now = 0.0
        """The time by which the process is seen to have stood still."""
        self.passed = 0.0
        """Seconds by which the loop's clock is ahead."""
        self.timeouts: list[float] = []
        """Of the polls."""
        self.rooms: list[int] = []
        """How many messages the polls asked for."""
        self.limits: dict[str, float] = {}
        self.member_limits: dict[str, float] = {}
        self.high = -1001
        """Where the client thinks that partitions end; below zero where it does not know."""
        self.watch = ScriptedWatch()
        self.found: dict[int, Position] = {}
        """Where partitions go on, when it is not where they were committed."""
        self.logs: list[tuple[str, int]] = []
        """Changelogs that tell of the inputs."""
        self.asked: list[tuple[int, dict[str, int], frozenset[str]]] = []

    def run(self, *steps: Step, **sections: dict[str, Any]) -> None:
        """Run a loop whose polls are these, and stop it after the last one."""
        batch = {"max_records": 2, "max_wait_seconds": 60, **sections.pop("batch", {})}
        kafka = {"revoke_seconds": 0.2, **sections.pop("kafka", {})}
        settings = Settings(batch=batch, kafka=kafka, **sections)
        self.membership = self.member_of(settings.kafka)
        parts: Parts[list[Record]] = Parts(
            stage=self.stage,
            membership=self.membership,
            assignment=Assignment(self, TOPIC, PARTITIONS, self.stage.inputs[1:]),  # type: ignore[arg-type]
            # One that is not full waits, however little a transaction takes.
            batches=Batches(
                self.stage.prepare, settings.batch, close_seconds=0.01, commits_apart=1e9
            ),
            restorer=self,  # type: ignore[arg-type]
            transactions=self,  # type: ignore[arg-type]
            topic_watch=self.watch,  # type: ignore[arg-type]
            pulse=Pulse(30, lambda: self.now, beat_seconds=3600),
            metrics=self.metrics,
            health=Health(60),
            timer=self,
        )
        self.batches = parts.batches
        self.loop = Loop(
            parts,
            revoke_seconds=settings.kafka.revoke_seconds,
            idle_seconds=0,
            report_seconds=0,
            **self.limits,
        )
        self.steps = list(steps)
        self.loop.run()

    def member_of(self, kafka: KafkaSettings) -> Membership:
        def make(config: dict[str, Any]) -> Any:
            self.config = config
            return self

        return Membership(kafka, "g", TOPIC, make=make, timer=self, **self.member_limits)

    # --- the time: it passes, but for pauses ------------------------------------------------

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    # --- steps ------------------------------------------------------------------------------

    def assign(self, *partitions: int) -> None:
        self.held |= set(partitions)
        self._call("on_assign", partitions)

    def revoke(self, *partitions: int) -> None:
        self._call("on_revoke", partitions)
        self.held -= set(partitions)

    def lose(self, *partitions: int) -> None:
        self._call("on_lost", partitions)
        self.held -= set(partitions)

    def prepared(self) -> list[Message]:
        """Let the batch in preparation become ready; the same turn applies it."""
        assert self.batches.wait(30)
        return []

    def all_prepared(self) -> None:
        """Let all batches in preparation become ready."""
        assert not wait([batch.future for batch in self.batches._preparing], 30).not_done

    def _call(self, name: str, partitions: Sequence[int]) -> None:
        self.callbacks[name](self, [TopicPartition(TOPIC, number) for number in partitions])
        self.calls.append(f"{name} ended")

    # --- the consumer -----------------------------------------------------------------------

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        assert topics == [TOPIC]
        self.callbacks = callbacks

    def consume(self, room: int, timeout: float) -> Sequence[Message]:
        self.timeouts.append(timeout)
        self.rooms.append(room)
        if not self.steps:
            self.loop.stop()
            return []
        return self.steps.pop(0)()

    def seek(self, place: TopicPartition) -> None:
        self.calls.append(f"seek {named(place)}@{place.offset}")

    def pause(self, places: list[TopicPartition]) -> None:
        self.calls += [f"pause {named(place)}" for place in places]

    def resume(self, places: list[TopicPartition]) -> None:
        self.calls += [f"resume {named(place)}" for place in places]

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.calls += [f"assign {named(place)}@{place.offset}" for place in places]

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        self.calls += [f"unassign {named(place)}" for place in places]

    def get_watermark_offsets(self, place: TopicPartition, cached: bool) -> tuple[int, int]:
        return (0, self.high)

    # --- the transactions -------------------------------------------------------------------

    def write(
        self,
        outputs: Sequence[Output],
        offsets: Sequence[TopicPartition],
        consumer: object,
        within: float | None,
    ) -> Outcome:
        assert offsets, "the fence travels with the offsets"
        self.attempts += 1
        self.withins.append(within)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome.COMMITTED
        self.calls.append(outcome.value)
        if outcome is Outcome.COMMITTED:
            keys = [(output.key or b"").decode() for output in outputs]
            self.committed.append((keys, {place_of(place): place.offset for place in offsets}))
            self.outputs += outputs
        return outcome

    def end_by(self, deadline: float) -> None:
        self.calls.append("transactions end")

    def serve(self) -> None:
        pass

    def reopen(self) -> None:
        self.calls.append("reopen")

    # --- the restorer: whatever was begun is finished when it is asked for ------------------

    @property
    def progress(self) -> RestoreProgress:
        return RestoreProgress()

    def start(
        self,
        partition: int,
        unread: Mapping[str, int] | None = None,
        suspects: frozenset[str] = frozenset(),
    ) -> None:
        self.calls.append(f"restore {partition}")
        self.asked.append((partition, dict(unread or {}), suspects))
        self.tasks[partition] = object()

    def cancel(self, partition: int) -> None:
        self.tasks.pop(partition, None)

    def finished(self) -> list[Restored]:
        positions = {n: o for _, offsets in self.committed for n, o in offsets.items()}
        done = [
            Restored(
                n,
                object(),  # type: ignore[arg-type]
                self.found.get(n, Position(positions.get(n, START))),
                0.0,
                beside={
                    name: Position(positions.get((name, n), START))
                    for name in self.stage.inputs[1:]
                },
                logs=self.logs,
            )
            for n in self.tasks
        ]
        self.tasks.clear()
        return done

    # --- all three --------------------------------------------------------------------------

    def close(self) -> None:
        if self.held:  # the consumer comes first, and lets go as the real one does
            self.revoke(*self.held)


def assign(world: World, *partitions: int) -> Step:
    def step() -> list[Message]:
        world.assign(*partitions)
        return []

    return step


def records(*places: tuple[int, int]) -> Step:
    return lambda: [Message(*place) for place in places]


def own_work(pieces: int) -> list[list[Output]]:
    """Pieces of the stage's own work, each of one record named after it."""
    return [[Output("changes", f"piece {n}".encode(), b"{}")] for n in range(pieces)]


def nothing() -> list[Message]:
    return []
