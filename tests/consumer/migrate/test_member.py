"""Being the only member of a group, on a scripted client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from consumer.migrate import MigrationError
from consumer.migrate.group import Members
from consumer.migrate.member import SoleMember
from consumer.settings import KafkaSettings
from tests.consumer.contract.scripted_loop import Message, failing

TOPIC = "user-events"
KAFKA = KafkaSettings(instance_id="w0")
Poll = Callable[["Client"], Sequence[Message]]


class Client:
    """Polls by a script."""

    def __init__(self, *polls: Poll) -> None:
        self.polls = list(polls)
        self.config: dict[str, Any] = {}
        self.callbacks: dict[str, Any] = {}
        self.assigned: list[TopicPartition] = []
        self.closed = False

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        assert topics == [TOPIC]
        self.callbacks = callbacks

    def consume(self, _room: int, _seconds: float) -> Sequence[Message]:
        return self.polls.pop(0)(self) if self.polls else []

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.assigned += places

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        assert places == []

    def close(self) -> None:
        self.closed = True

    def member(self, partitions: int = 2) -> SoleMember:
        def make(config: dict[str, Any]) -> Any:
            self.config = config
            return self

        members = Members(KAFKA, session_seconds=0)
        return SoleMember(KAFKA, "g", TOPIC, partitions, members=members, make=make)


def told(name: str, *numbers: int) -> Poll:
    def poll(client: Client) -> list[Message]:
        client.callbacks[name](client, [TopicPartition(TOPIC, number) for number in numbers])
        return []

    return poll


def fails(code: int, reason: str) -> Poll:
    return lambda _: [failing(code, reason)]


def test_it_joins_without_the_name_of_a_worker_and_reads_nothing() -> None:
    client = Client(told("on_assign", 0), told("on_assign", 1))
    with client.member() as member:
        member.check()
    assert "group.instance.id" not in client.config
    assert client.assigned == []
    assert client.closed


@pytest.mark.parametrize("name", ["on_revoke", "on_lost"])
def test_whoever_comes_is_noticed(name: str) -> None:
    client = Client(told("on_assign", 0, 1), told(name, 1))
    with pytest.raises(MigrationError, match="'g' has another member"), client.member() as member:
        member.check()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        # A consumer's fatal error comes in place of a message, and without the flag.
        (KafkaError._FATAL, "fenced by another member"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "not allowed"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "not allowed"),
    ],
)
def test_an_error_that_ends_a_worker_ends_it_too(code: int, reason: str) -> None:
    client = Client(told("on_assign", 0, 1), fails(code, reason))
    with pytest.raises(MigrationError, match=f"'g': .*{reason}"), client.member() as member:
        member.check()
    assert client.closed


def test_an_error_that_passes_is_logged_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(fails(KafkaError._TRANSPORT, "broker away"), told("on_assign", 0, 1))
    with client.member() as member:
        member.check()
    assert "broker away" in caplog.text
