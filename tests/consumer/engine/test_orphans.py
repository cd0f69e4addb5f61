"""Partitions without an owner, by a script of what the cluster answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, Producer, TopicPartition

from consumer.engine.orphans import OrphanWatch
from consumer.kafka.cluster import Cluster
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import settings_for

TOPIC = "user-events"
NOBODYS = 2


def watch_of(
    cluster: Cluster, topic: str, partitions: int, rebalance: Callable[[], None]
) -> OrphanWatch:
    return OrphanWatch(cluster, "g", topic, partitions, every_seconds=1000, share_out=rebalance)


class Script(Cluster):
    """Committed offsets and ends, look by look."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {0: 5, 1: 5, NOBODYS: 5}
        self.ends: dict[int, int] = {0: 9, 1: 9, NOBODYS: 9}
        self.rebalances = 0
        self.watch = watch_of(self, TOPIC, len(self.offsets), self._rebalance)

    def committed(self, *_: Any, **_how: Any) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, n, offset) for n, offset in self.offsets.items()]

    def watermarks(self, _topic: str, number: int) -> tuple[int, int]:
        return 0, self.ends[number]

    def read(self, _topic: str, _number: int, target: int, *, start: int = 0, **_: Any) -> Any:
        yield from range(start, target)

    def _rebalance(self) -> None:
        self.rebalances += 1

    def look(self, times: int, own: Sequence[int] = (0,), moving: Sequence[int] = (1,)) -> None:
        for _ in range(times):
            self.watch._own = frozenset(own)
            self.watch.look()
            for number in moving:
                self.offsets[number] += 1
                self.ends[number] += 1


@pytest.fixture
def script() -> Script:
    return Script()


def test_a_partition_that_stands_still_with_records_waiting_makes_the_group_rebalance(
    script: Script,
) -> None:
    script.look(3)
    assert script.rebalances == 0
    script.look(1)
    assert script.rebalances == 1


def test_a_partition_that_has_never_been_committed_is_found_too(script: Script) -> None:
    script.offsets[NOBODYS] = OFFSET_INVALID
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
    watch = watch_of(Cluster(settings.kafka), topic, 1, lambda: None)
    assert watch._waits(TopicPartition(topic, 0, OFFSET_INVALID))
    assert watch._waits(TopicPartition(topic, 0, 0))
    assert not watch._waits(TopicPartition(topic, 0, 1))
    assert not watch._waits(TopicPartition(topic, 0, 2))
