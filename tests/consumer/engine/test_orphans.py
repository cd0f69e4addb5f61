"""Partitions without an owner, by a script of what the cluster answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, ConsumerGroupState, Producer, TopicPartition

from consumer.engine.orphans import OrphanWatch
from consumer.kafka.clients import consumer_config
from consumer.kafka.cluster import Cluster
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import settings_for, until

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
        self.given: list[list[int]] = [[0], [1]]
        """What the coordinator has given to each member."""
        self.state = ConsumerGroupState.STABLE
        self.rebalances = 0
        self.watch = watch_of(self, TOPIC, len(self.offsets), self._rebalance)

    def committed(self, *_: Any, **_how: Any) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, n, offset) for n, offset in self.offsets.items()]

    def watermarks(self, _topic: str, number: int) -> tuple[int, int]:
        return 0, self.ends[number]

    def read(self, _topic: str, _number: int, target: int, *, start: int = 0, **_: Any) -> Any:
        yield from range(start, target)

    def group(self, group_id: str) -> Any:
        members = []
        for numbers in self.given:
            places = [TopicPartition(TOPIC, n) for n in numbers]
            places.append(TopicPartition("another topic", NOBODYS))
            members.append(SimpleNamespace(assignment=SimpleNamespace(topic_partitions=places)))
        members.append(SimpleNamespace(assignment=None))  # one that waits for its share
        return SimpleNamespace(state=self.state, members=members)

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


def test_a_partition_that_a_member_has_is_left_alone_however_long_it_stands_still(
    script: Script,
) -> None:
    """Its state is read back: to have it taken away would let that begin anew, each time."""
    script.given = [[0], [1, NOBODYS]]
    script.look(12)
    assert script.rebalances == 0
    script.given = [[0], [1]]
    script.look(1)
    assert script.rebalances == 1


def test_a_group_that_is_sharing_partitions_out_is_not_asked_to(script: Script) -> None:
    script.state = ConsumerGroupState.PREPARING_REBALANCING
    script.look(8)
    assert script.rebalances == 0
    script.state = ConsumerGroupState.STABLE
    script.look(1)
    assert script.rebalances == 1


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


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_real_coordinator_tells_what_its_members_have(
    broker: EmbeddedKafka, protocol: str
) -> None:
    settings = settings_for(broker.bootstrap_servers, kafka={"group_protocol": protocol})
    kafka, topic = settings.kafka, settings.topics.events
    watch = OrphanWatch(
        Cluster(kafka), kafka.group_id, topic, 2, every_seconds=1000, share_out=lambda: None
    )
    with closing(Consumer(consumer_config(kafka, kafka.group_id))) as member:
        member.subscribe([topic])
        until(lambda: (member.consume(1, 0.1), member.assignment())[1] != [])
        until(lambda: watch._given_to_nobody([0, 99]) == [99])
    # Nobody is there who could be given any.
    until(lambda: watch._given_to_nobody([0, 99]) == [])
