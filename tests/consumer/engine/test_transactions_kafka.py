"""Transactions with a real broker: what its connection loses amid a transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from consumer.contract.records import Output
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.cluster import Cluster
from consumer.settings import KafkaSettings
from consumer.tryout.broker import EmbeddedKafka

_ANSWER_SECONDS = 2.0


class LostAnswer(Iterable[Output]):
    """Outputs whose last one reaches the broker, which cannot say so; then their writer gives up.

    Parameters
    ----------
    kafka, settings, topic
        Where they go.
    """

    def __init__(self, kafka: EmbeddedKafka, settings: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._settings = settings
        self._topic = topic

    def __iter__(self) -> Iterator[Output]:
        yield Output(self._topic, b"u", b"first", partition=0)
        self._until_end(1)  # so that the partition is part of the transaction
        self._kafka.pause(0)
        try:
            yield Output(self._topic, b"u", b"second", partition=0)
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


def test_what_a_broker_took_without_an_answer_does_not_swallow_the_records_after_an_abort(
    broker: EmbeddedKafka,
) -> None:
    # librdkafka gives the next record the sequence number of the one that the abort dropped. With
    # the same epoch the broker, who has that number, says yes and writes nothing.
    settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    topic = f"out-{uuid.uuid4().hex[:8]}"
    admin = AdminClient(settings.client())
    for future in admin.create_topics(
        [NewTopic(name, 1, 1) for name in (topic, f"{topic}-in")]
    ).values():
        future.result(30)
    member = Consumer({**settings.client(), "group.id": topic})
    member.subscribe([f"{topic}-in"])
    while not member.assignment():
        member.poll(0.1)
    transactions = Transactions(
        {
            **settings.client(),
            "transactional.id": topic,
            "linger.ms": 0,
            "socket.timeout.ms": round(1000 * _ANSWER_SECONDS),
            # The record still waits in the client's queue when the abort comes.
            "retry.backoff.ms": 20_000,
            "retry.backoff.max.ms": 20_000,
            "log_level": 0,
        },
        # An end that gets no answer in time is asked for again after that backoff.
        60,
        start_seconds=30,
    )
    try:
        offsets = [TopicPartition(f"{topic}-in", 0, 1)]
        lost = LostAnswer(broker, settings, topic)
        assert transactions.write(lost, offsets, member) is Outcome.ABORTED
        again = [Output(topic, b"u", b"second, again", partition=0)]
        outcome = Outcome.ABORTED
        while outcome is Outcome.ABORTED:  # the pause may have cost the member its place
            member.poll(0.1)
            outcome = transactions.write(again, offsets, member)
        assert outcome is Outcome.COMMITTED
    finally:
        transactions.close()
        member.close()
    records = Cluster(settings).read_all(topic, 30)
    assert [record.value for record in records] == [b"second, again"]
