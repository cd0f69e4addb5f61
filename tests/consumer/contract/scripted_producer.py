"""Stand-ins for the transactional producer and the group's member."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

Answer = BaseException | Callable[[], None] | None


@dataclass
class Message:
    topic_: str
    partition_: int
    offset_: int | None

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int | None:
        return self.offset_


@dataclass
class Client:
    """What the stand-ins for producer and consumer share: the script and what was called."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    always: dict[str, Callable[[], KafkaException]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    timeouts: dict[str, list[float]] = field(default_factory=dict)
    produced: list[dict[str, Any]] = field(default_factory=list)
    sent: list[tuple[list[TopicPartition], object]] = field(default_factory=list)
    producers: list[weakref.ref[Any]] = field(default_factory=list)
    unreported: list[Callable[[KafkaError | None, Message], None] | None] = field(
        default_factory=list
    )
    member: str = "member-1"
    generation: int = 0

    def call(self, name: str, timeout: float | None = None) -> None:
        self.calls.append(name)
        if timeout is not None:
            self.timeouts.setdefault(name, []).append(timeout)
        if name in self.always:
            raise self.always[name]()
        answers = self.answers.get(name)
        answer = answers.pop(0) if answers else None
        if isinstance(answer, BaseException):
            try:
                raise answer
            finally:
                del answer  # the error would hold this frame, which holds the error
        if answer is not None:
            answer()

    def count(self, name: str) -> int:
        return self.calls.count(name)

    # --- the group's member -----------------------------------------------------------------

    def consumer_group_metadata(self) -> object:
        self.calls.append("metadata")
        self.generation += 1
        return ("generation", self.generation)

    def memberid(self) -> str:
        return self.member

    # --- delivery reports -------------------------------------------------------------------

    def deliver(self, *places: tuple[str, int, int]) -> Callable[[], None]:
        """Report records of these topics, partitions and offsets as written, within a call."""

        def report() -> None:
            for place in places:
                self.report(None, Message(*place))

        return report

    def refuse(self, topic: str, why: KafkaException) -> None:
        self.report(why.args[0], Message(topic, 0, None))

    def report(self, why: KafkaError | None, message: Message) -> None:
        """Give the oldest record without a report its own, if one was asked for."""
        if (callback := self.unreported.pop(0)) is not None:
            callback(why, message)

    def drop_all(self) -> None:
        """Report what is left as dropped, as an abort does."""
        while self.unreported:
            self.report(KafkaError(KafkaError._PURGE_QUEUE), Message("changes", 0, None))


class ScriptedProducer:
    """A stand-in for confluent_kafka.Producer that answers by the client's script."""

    def __init__(self, config: dict[str, Any], client: Client) -> None:
        assert all(former() is None for former in client.producers), "two at the same time"
        self.client = client
        self.client.calls.append("new producer")
        self.client.producers.append(weakref.ref(self))
        self.config = config

    def init_transactions(self, timeout: float) -> None:
        self.client.call("init", timeout)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        callback: Any = None,
        on_delivery: None = None,
        timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        assert headers is None or type(headers) is list, "the client takes lists only"
        self.client.call("produce")
        given = {"value": value, "key": key, "timestamp": timestamp, "headers": headers}
        self.client.produced.append({"topic": topic, "partition": partition, **given})
        self.client.unreported.append(callback)

    def poll(self, timeout: float) -> None:
        self.client.call("poll")

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], metadata: object, timeout: float
    ) -> None:
        self.client.sent.append((offsets, metadata))
        self.client.call("send_offsets", timeout)

    def commit_transaction(self, timeout: float) -> None:
        self.client.call("commit", timeout)

    def begin_transaction(self) -> None:
        self.client.unreported.clear()
        self.client.call("begin")

    def abort_transaction(self, timeout: float) -> None:
        self.client.call("abort", timeout)
        self.client.drop_all()

    def purge(self, **_how: bool) -> None:
        self.client.call("purge")
