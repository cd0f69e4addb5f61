"""Partitions without an owner, by a script of what the cluster answers."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from confluent_kafka import OFFSET_INVALID, Producer, TopicPartition

from consumer.engine.orphans import OrphanWatch
from consumer.settings import KafkaSettings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import settings_for

TOPIC = "user-events"
NOBODYS = 2


class Script:
    """Committed offsets and ends, look by look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.committed: dict[int, int] = {0: 5, 1: 5, NOBODYS: 5}
        self.ends: dict[int, int] = {0: 9, 1: 9, NOBODYS: 9}
        self.rebalances = 0
        monkeypatch.setattr("consumer.engine.orphans.committed_offsets", self._offsets)
        monkeypatch.setattr("consumer.engine.orphans.watermarks", self._marks)
        monkeypatch.setattr("consumer.engine.orphans.read_partition", self._records)
        monkeypatch.setattr(OrphanWatch, "_make_rebalance", self._rebalance)
        self.watch = OrphanWatch(KafkaSettings(), "g", TOPIC, len(self.committed), 1000)

    def _offsets(self, *_: object, stable: bool) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, n, offset) for n, offset in self.committed.items()]

    def _marks(self, _kafka: object, _topic: str, number: int) -> tuple[int, int]:
        return 0, self.ends[number]

    def _records(
        self, _kafka: object, _topic: str, _number: int, target: int, *, start: int, **_: object
    ) -> Generator[object, None, None]:
        yield from range(start, target)

    def _rebalance(self, *_: object) -> None:
        self.rebalances += 1

    def look(self, times: int, own: Sequence[int] = (0,), moving: Sequence[int] = (1,)) -> None:
        for _ in range(times):
            self.watch.look(frozenset(own))
            for number in moving:
                self.committed[number] += 1
                self.ends[number] += 1


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def test_a_partition_that_stands_still_with_records_waiting_makes_the_group_rebalance(
    script: Script,
) -> None:
    script.look(3)
    assert script.rebalances == 0
    script.look(1)
    assert script.rebalances == 1


def test_a_partition_that_has_never_been_committed_is_found_too(script: Script) -> None:
    script.committed[NOBODYS] = OFFSET_INVALID
    script.look(4)
    assert script.rebalances == 1


def test_after_a_rebalance_the_count_begins_anew(script: Script) -> None:
    script.look(6)
    assert script.rebalances == 1


@pytest.mark.parametrize("what", ["own", "moving", "read up"])
def test_partitions_that_are_in_order_make_none(script: Script, what: str) -> None:
    if what == "own":
        script.look(8, own=(0, NOBODYS))
    elif what == "moving":
        script.look(8, moving=(1, NOBODYS))
    else:
        script.ends[NOBODYS] = 5
        script.look(8)
    assert script.rebalances == 0


def test_the_marker_of_a_transaction_is_no_record_that_waits(broker: EmbeddedKafka) -> None:
    """Else an idle group whose input is written in transactions would rebalance for ever."""
    settings = settings_for(broker.bootstrap_servers)
    topic = settings.topics.events
    producer = Producer({**settings.kafka.client(), "transactional.id": topic})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"{}", b"u", partition=0)
    producer.commit_transaction(20)
    watch = OrphanWatch(settings.kafka, settings.kafka.group_id, topic, 1, 1000)
    assert watch._waits(TopicPartition(topic, 0, OFFSET_INVALID))
    assert watch._waits(TopicPartition(topic, 0, 0))
    assert not watch._waits(TopicPartition(topic, 0, 1))
    assert not watch._waits(TopicPartition(topic, 0, 2))
