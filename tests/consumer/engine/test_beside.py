"""A topic beside the input: its partitions go with those of the same number, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from consumer.engine.transactions import FatalKafkaError, Outcome
from consumer.kafka.cluster import Cluster
from consumer.kafka.topics import TopicError, check_topics
from consumer.settings import Settings
from tests.consumer.contract.scripted_loop import (
    TOPIC,
    Message,
    Step,
    World,
    assign,
    nothing,
    records,
)

LABELS = "segment-labels"


@pytest.fixture
def world() -> World:
    world = World()
    world.stage.inputs = (TOPIC, LABELS)
    return world


def labels(*places: tuple[int, int]) -> Step:
    return lambda: [Message(*place, topic=LABELS) for place in places]


def both(*steps: Step) -> Step:
    return lambda: [message for step in steps for message in step()]


def test_its_partition_is_taken_and_read_from_its_own_offset(world: World) -> None:
    world.run(assign(world, 1), nothing)
    assert world.calls[:5] == [
        "restore 1",
        "on_assign ended",
        "assign 1@10",
        f"assign {LABELS}/1@10",
        "resume 1",
    ]
    assert f"resume {LABELS}/1" in world.calls


def test_records_of_both_are_committed_together(world: World) -> None:
    world.run(assign(world, 0), both(records((0, 10)), labels((0, 10))), world.prepared)
    assert world.committed == [
        (["0@10", f"{LABELS}/0@10"], {0: 11, (LABELS, 0): 11}),
    ]


def test_where_one_rests_its_offset_is_committed_as_it_stands(world: World) -> None:
    world.run(assign(world, 0), labels((0, 10), (0, 11)), world.prepared)
    assert world.committed == [
        ([f"{LABELS}/0@10", f"{LABELS}/0@11"], {0: 10, (LABELS, 0): 12}),
    ]


def test_both_go_when_the_partition_is_revoked(world: World) -> None:
    def revoke() -> list[Message]:
        world.revoke(0)
        return []

    world.run(assign(world, 0, 1), nothing, revoke, nothing)
    assert world.calls.index("unassign 0") + 1 == world.calls.index(f"unassign {LABELS}/0")


def test_after_an_abort_both_are_read_again(world: World) -> None:
    world.outcomes = [Outcome.ABORTED]
    step = both(records((0, 10)), labels((0, 10)))
    world.run(assign(world, 0), step, world.prepared, step, world.prepared)
    assert world.calls.count("seek 0@10") == 1
    assert world.calls.count(f"seek {LABELS}/0@10") == 1
    assert len(world.committed) == 1
    assert world.committed[0][1] == {0: 11, (LABELS, 0): 11}


def test_an_error_names_the_topic_that_it_is_of(world: World) -> None:
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not allowed")
    with pytest.raises(FatalKafkaError, match=f"cannot read {LABELS}: not allowed"):
        world.run(assign(world, 0), lambda: [Message(0, -1, refused, LABELS)])


def test_a_record_that_comes_twice_counts_once(world: World) -> None:
    world.run(assign(world, 0), both(labels((0, 10)), labels((0, 10), (0, 11))), world.prepared)
    assert world.committed[0][0] == [f"{LABELS}/0@10", f"{LABELS}/0@11"]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({LABELS: 3}, "topic segment-labels has 3 partitions, user-events has 2"),
        ({"label-models": 2}, "topic label-models has 2 partitions: it must have one"),
        ({LABELS: None}, "topic segment-labels is missing"),
        (
            {LABELS: None, "label-models": None},
            "topics segment-labels, label-models are missing at .* run 'segmenter topics create'",
        ),
    ],
)
def test_topics_of_labels_that_do_not_fit_are_refused(counts: dict[str, Any], message: str) -> None:
    found = dict.fromkeys(("user-events", "user-events.dlq", "segment-changes"), 2)
    found |= dict.fromkeys(("segment-memberships", "user-profiles", LABELS, f"{LABELS}.dlq"), 2)
    found |= dict.fromkeys(
        (
            *("profile-samples", "segment-models", "segment-lifecycle", "drift-reference"),
            *("label-models", "segments", "segment-model-versions", "segment-model-control"),
        ),
        1,
    )
    found = {name: count for name, count in (found | counts).items() if count}

    class Brokers(Cluster):
        def topics(self, expected: Iterable[str] = (), seconds: float = 0) -> dict[str, int]:
            return found

        def committed(self, *_: Any, **__: Any) -> list[TopicPartition]:
            return []

    cluster = Brokers(Settings().kafka)
    with pytest.raises(TopicError, match=message):
        check_topics(Settings(labels={"enabled": True}), cluster)
    check_topics(Settings(), cluster)  # where labels are off, nobody asks
