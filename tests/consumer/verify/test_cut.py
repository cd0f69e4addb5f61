"""How the audit reads topics one after the other, on a scripted client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.settings import Settings
from consumer.verify.cut import Span, TopicReader
from consumer.verify.report import VerifyError


class Client:
    """Notes what is asked of it; each partition is at its end at once."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.error: KafkaException | None = None
        self._assigned: list[TopicPartition] = []

    def list_topics(self, topic: str, timeout: float) -> None:
        self.calls.append(f"metadata of {topic}")
        assert timeout > 0
        if self.error is not None:
            raise self.error

    def assign(self, places: list[TopicPartition]) -> None:
        self._assigned = places
        self.calls.extend(f"assign {place.topic}" for place in places)

    def incremental_unassign(self, _: list[TopicPartition]) -> None:
        pass

    def consume(self, _: int, __: float) -> list[Any]:
        return []

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, 5) for place in places]

    def close(self) -> None:
        pass


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def reader(client: Client) -> Iterator[TopicReader]:
    with closing(TopicReader(Settings(), "g", stall_seconds=0.0)) as reader:
        reader.consumer.close()
        reader.consumer = client
        yield reader


def test_the_client_knows_a_topics_leaders_before_it_is_assigned(
    reader: TopicReader, client: Client
) -> None:
    """Else librdkafka looks for them once a second: a second for each topic of an audit."""
    for topic in ("changes", "profiles"):
        assert list(reader.read(topic, {0: Span(0, 5)})) == []
    assert client.calls == [
        *("metadata of changes", "assign changes"),
        *("metadata of profiles", "assign profiles"),
    ]


def test_an_empty_topic_is_not_asked_for(reader: TopicReader, client: Client) -> None:
    assert list(reader.read("changes", {0: Span(5, 5)})) == []
    assert client.calls == []


def test_leaders_that_cannot_be_had_are_an_error_of_the_audit(
    reader: TopicReader, client: Client
) -> None:
    client.error = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(VerifyError, match="the leaders of changes cannot be read"):
        list(reader.read("changes", {0: Span(0, 5)}))
