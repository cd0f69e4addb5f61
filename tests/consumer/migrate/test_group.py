"""A migration waits for a stopped group as long as its members' sessions last, and says so."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from consumer.kafka.clients import admin_config, consumer_config
from consumer.migrate import MigrationError, group
from consumer.migrate.group import members_of, session_seconds, wait_until_stopped
from consumer.settings import KafkaSettings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import settings_for, until


def test_under_kip_848_it_waits_by_the_session_that_the_brokers_have_for_the_group(
    broker: EmbeddedKafka,
) -> None:
    settings = settings_for(
        broker.bootstrap_servers,
        kafka={
            "group_protocol": "consumer",
            "instance_id": "w0",
            "session_timeout_seconds": 1,
        },
    )
    kafka = settings.kafka
    set_session(kafka, 3)
    worker = Consumer(consumer_config(kafka, kafka.group_id))
    worker.subscribe([settings.topics.events])
    until(lambda: worker.poll(0.1) is not None or bool(worker.assignment()))
    worker.close()
    said: list[str] = []
    assert members_of(kafka, kafka.group_id) == 1
    assert session_seconds(kafka, kafka.group_id) == 3
    wait_until_stopped(kafka, [kafka.group_id], said.append)
    assert members_of(kafka, kafka.group_id) == 0
    assert len(said) == 1
    assert f"group {kafka.group_id} has 1 member; waiting up to 8 s" in said[0]


def set_session(kafka: KafkaSettings, seconds: int) -> None:
    entry = ConfigEntry(
        "consumer.session.timeout.ms",
        str(seconds * 1000),
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(
        ConfigResource.Type.GROUP, kafka.group_id, incremental_configs=[entry]
    )
    admin = AdminClient(admin_config(kafka))
    admin.incremental_alter_configs([resource])[resource].result()


class Group:
    """What a cluster says of a group, and does not say of its session."""

    def __init__(self, kind: ConsumerGroupType, members: int = 1) -> None:
        self.type = kind
        self.members = [object()] * members

    def describe_configs(self, resources: list[ConfigResource], **_: Any) -> Any:
        answer: Future[Any] = Future()
        answer.set_exception(KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)))
        return {resources[0]: answer}

    def poll(self, _: float) -> None:
        pass


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    def be(kind: ConsumerGroupType) -> None:
        there = Group(kind)
        monkeypatch.setattr(group, "describe", lambda *_: there)
        monkeypatch.setattr(group, "AdminClient", lambda *_: there)

    return be


@pytest.mark.parametrize(
    ("kind", "protocol", "seconds"),
    [
        (ConsumerGroupType.CLASSIC, "consumer", 20),
        (ConsumerGroupType.UNKNOWN, "classic", 20),
        (ConsumerGroupType.CONSUMER, "classic", 60),
        (ConsumerGroupType.UNKNOWN, "consumer", 60),
    ],
)
def test_the_groups_own_protocol_decides_whose_session_counts_and_60_s_where_none_is_told(
    cluster: Any, kind: ConsumerGroupType, protocol: str, seconds: float
) -> None:
    cluster(kind)
    kafka = KafkaSettings.model_validate(
        {"group_protocol": protocol, "session_timeout_seconds": 20}
    )
    assert session_seconds(kafka, "g") == seconds


def test_a_group_at_work_is_refused_when_a_session_is_over(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(ConsumerGroupType.CONSUMER)
    monkeypatch.setattr("consumer.migrate.group.time.sleep", lambda _: None)
    ticks = itertools.count(0.0, 13.0)
    with pytest.raises(MigrationError, match="'g' still has 1 member after 65 s"):
        wait_until_stopped(KafkaSettings(), ["g"], lambda _: None, clock=lambda: next(ticks))
    assert next(ticks) >= 65
