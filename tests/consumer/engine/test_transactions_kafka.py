"""Transactions with a real broker: what its connection loses, and what it refuses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.contract.records import Output
from consumer.engine.transactions import FatalKafkaError, Outcome, Transactions
from consumer.kafka.cluster import Cluster
from consumer.settings import KafkaSettings
from consumer.tryout.broker import EmbeddedKafka

_ANSWER_SECONDS = 2.0


class LostAnswer(Producer):
    """Its second record reaches the broker, which cannot say so; then it gives up. Only once.

    Parameters
    ----------
    config
        Of the client.
    kafka, topic
        Where it writes to.
    lost
        What has been lost, by this one or another.
    """

    def __init__(
        self, config: dict[str, Any], kafka: EmbeddedKafka, topic: str, lost: list[bytes]
    ) -> None:
        super().__init__(config)
        self._kafka = kafka
        self._settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
        self._topic = topic
        self._lost = lost

    def produce(self, topic: str, value: Any = None, *arguments: Any, **named: Any) -> None:
        if value != b"second" or self._lost:
            super().produce(topic, value, *arguments, **named)
            return
        self._lost.append(value)
        self._until_end(1)  # so that the partition is part of the transaction
        self._kafka.pause(0)
        try:
            super().produce(topic, value, *arguments, **named)
            # The request waits in the broker's socket until the client has given up on its answer.
            time.sleep(2 * _ANSWER_SECONDS)
        finally:
            self._kafka.resume(0)
        self._until_end(2)
        raise KafkaException(KafkaError(KafkaError._FAIL, "gave up", txn_requires_abort=True))

    def _until_end(self, offset: int) -> None:
        deadline = time.monotonic() + 30
        while Cluster(self._settings).end(self._topic, 0) < offset:
            assert time.monotonic() < deadline, f"offset {offset} of {self._topic} is not reached"
            time.sleep(0.05)


class Group:
    """A member of a group of its own, and topics of its own to write to."""

    def __init__(self, broker: EmbeddedKafka, **configs: dict[str, str]) -> None:
        self.settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        self.name = uuid.uuid4().hex[:8]
        admin = AdminClient(self.settings.client())
        made = [NewTopic(self.topic(each), 1, 1, config=configs[each]) for each in configs]
        for future in admin.create_topics([NewTopic(self.topic("in"), 1, 1), *made]).values():
            future.result(30)
        self.offsets = [TopicPartition(self.topic("in"), 0, 1)]
        self.member = Consumer({**self.settings.client(), "group.id": self.name})
        self.member.subscribe([self.topic("in")])
        while not self.member.assignment():
            self.member.poll(0.1)

    def topic(self, name: str) -> str:
        return f"{name}-{self.name}"

    def begin(self, make: Callable[[dict[str, Any]], Producer] = Producer, **config: Any) -> Any:
        """Start a producer; an end that gets no answer in time is asked for again."""
        config = {"transactional.id": self.name, "log_level": 0, **config}
        given = {**self.settings.client(), **config}
        return closing(Transactions(given, 60, start_seconds=30, make=make))

    def write(self, transactions: Transactions, outputs: list[Output]) -> Outcome:
        return transactions.write(outputs, self.offsets, self.member)

    def values(self, name: str) -> list[bytes | None]:
        return [each.value for each in Cluster(self.settings).read_all(self.topic(name), 30)]


@pytest.fixture
def group(broker: EmbeddedKafka) -> Iterator[Group]:
    made = Group(broker, out={}, narrow={"max.message.bytes": "1000"})
    with closing(made.member):
        yield made


def test_what_a_broker_took_without_an_answer_does_not_swallow_the_records_after_an_abort(
    broker: EmbeddedKafka, group: Group
) -> None:
    # librdkafka gives the next record the sequence number of the one that the abort dropped. With
    # the same epoch the broker, who has that number, says yes and writes nothing.
    topic, lost = group.topic("out"), list[bytes]()
    config = {
        "linger.ms": 0,
        "socket.timeout.ms": round(1000 * _ANSWER_SECONDS),
        # The record still waits in the client's queue when the abort comes.
        "retry.backoff.ms": 20_000,
        "retry.backoff.max.ms": 20_000,
    }
    make = partial(LostAnswer, kafka=broker, topic=topic, lost=lost)
    with group.begin(make, **config) as transactions:
        both = [Output(topic, b"u", value, partition=0) for value in (b"first", b"second")]
        assert group.write(transactions, both) is Outcome.ABORTED
        again = [Output(topic, b"u", b"second, again", partition=0)]
        outcome = Outcome.ABORTED
        while outcome is Outcome.ABORTED:  # the pause may have cost the member its place
            group.member.poll(0.1)
            outcome = group.write(transactions, again)
        assert outcome is Outcome.COMMITTED
    assert lost == [b"second"]
    assert group.values("out") == [b"second, again"]


@pytest.mark.parametrize("partition", [None, 0])
@pytest.mark.parametrize(
    ("name", "why"), [("narrow", "Message size too large.*max.message.bytes"), ("missing", "topic")]
)
def test_a_record_that_a_topic_does_not_take_is_told_with_the_topic_and_nothing_is_committed(
    group: Group, name: str, why: str, partition: int | None
) -> None:
    fine = Output(group.topic("out"), b"u", b"fine", partition=partition)
    refused = Output(group.topic(name), b"u", bytes(5_000), partition=partition)
    # Neither the last record of all nor, where one is too large, the last of its topic.
    outputs = [fine, refused, replace(refused, value=b"small"), fine]
    config = {"topic.metadata.propagation.max.ms": 1_000}
    with (
        group.begin(**config) as transactions,
        pytest.raises(FatalKafkaError, match=f"(?s){group.topic(name)}.*{why}"),
    ):
        group.write(transactions, outputs)
    assert group.values("out") == []


def test_written_is_what_the_broker_has(group: Group) -> None:
    out, narrow = group.topic("out"), group.topic("narrow")
    with group.begin() as transactions:
        for count in (1, 700):
            outputs = [Output(out, b"u", b"%d" % number, partition=0) for number in range(count)]
            assert group.write(transactions, [*outputs, Output(narrow, b"u", b"")]) is (
                Outcome.COMMITTED
            )
            # A marker is behind what the first transaction wrote.
            assert transactions.written == {(out, 0): 1 if count == 1 else 702}
    assert group.values("out") == [b"0", *(b"%d" % number for number in range(700))]
