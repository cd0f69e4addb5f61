from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer.kafka import clients
from consumer.kafka.clients import ask_for_topics


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_SPREADING_SECONDS", 0.1)
    monkeypatch.setattr(clients, "_BETWEEN_SECONDS", 0.001)


def answers(*given: set[str]) -> Iterator[set[str]]:
    yield from given
    while True:
        yield given[-1]


def test_topics_that_spread_among_the_brokers_are_waited_for() -> None:
    told = answers(set(), {"events"}, {"events", "changes"}, {"never asked for"})
    assert ask_for_topics(["events", "changes"], lambda: next(told)) == {"events", "changes"}


def test_topics_that_are_there_are_asked_for_once() -> None:
    told = answers({"events"}, set())
    assert ask_for_topics(["events"], lambda: next(told)) == {"events"}


def test_a_topic_that_does_not_come_is_missing_in_the_answer() -> None:
    told = answers({"events"})
    assert ask_for_topics(["events", "evnets"], lambda: next(told)) == {"events"}
