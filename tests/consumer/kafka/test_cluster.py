"""Questions to a cluster whose brokers answer by a script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from consumer.kafka.cluster import Cluster
from consumer.settings import KafkaSettings
from tests.consumer.contract.scripted_clock import Clock


def cluster(*told: set[str]) -> tuple[Cluster, list[set[str]]]:
    """Give one whose brokers know these topics, one answer after the other, the last for good."""
    answers = list(told)

    class Admin:
        def list_topics(self, timeout: float) -> Any:
            names = answers.pop(0) if len(answers) > 1 else answers[0]
            topics = {name: SimpleNamespace(partitions={0: None, 1: None}) for name in names}
            return SimpleNamespace(topics=topics)

        def poll(self, _timeout: float) -> None:
            pass

    made = Cluster(KafkaSettings(), Clock())
    made.admin = Admin()  # type: ignore[assignment]
    return made, answers


def test_topics_that_spread_among_the_brokers_are_waited_for() -> None:
    asked, left = cluster(set(), {"events"}, {"events", "changes"}, {"never asked for"})
    assert asked.topics(["events", "changes"]) == {"events": 2, "changes": 2}
    assert left == [{"never asked for"}]


def test_topics_that_are_there_are_asked_for_once() -> None:
    asked, left = cluster({"events"}, set())
    assert asked.topics(["events"]) == {"events": 2}
    assert left == [set()]


def test_a_topic_that_does_not_come_is_missing_in_the_answer() -> None:
    asked, _ = cluster({"events"})
    assert asked.topics(["events", "evnets"]) == {"events": 2}


def test_who_asks_for_few_records_of_a_backlog_is_not_sent_all_that_a_client_takes() -> None:
    asked: list[dict[str, Any]] = []

    class Reader:
        def assign(self, _places: object) -> None:
            pass

        def consume(self, _count: int, _seconds: float) -> list[Any]:
            return []

    @contextmanager
    def reader(**properties: Any) -> Iterator[Reader]:
        asked.append(properties)
        yield Reader()

    made, _ = cluster({"events"})
    made._reader = reader  # type: ignore[method-assign, assignment]
    made.peek("events", {0: 5}, 1, 0.0)
    made.peek("events", {0: 5}, None, 0.0)
    assert asked[0]["fetch_message_max_bytes"] <= 100_000
    assert asked[0]["queued_max_messages_kbytes"] <= 100
    assert "fetch_message_max_bytes" not in asked[1]
