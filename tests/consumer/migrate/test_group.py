"""A migration waits for a stopped group as long as its members' sessions last, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupType
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from consumer.kafka.clients import admin_config, consumer_config
from consumer.kafka.cluster import Cluster
from consumer.migrate import MigrationError
from consumer.migrate.group import Members
from consumer.settings import KafkaSettings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.contract.scripted_clock import Clock
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
    members = Members(kafka)
    assert members.count(kafka.group_id) == 1
    assert members.session_seconds(kafka.group_id) == 3
    members.wait_until_stopped([kafka.group_id], said.append)
    assert members.count(kafka.group_id) == 0
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


@dataclass
class Group(Cluster):
    """What a cluster says of a group, and does not say of its session."""

    type: ConsumerGroupType
    members: tuple[object, ...] = (object(),)

    def group(self, _group_id: str) -> Any:
        return self

    def properties(self, *_: Any) -> dict[str, str]:
        return {}


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
    kind: ConsumerGroupType, protocol: str, seconds: float
) -> None:
    kafka = KafkaSettings.model_validate(
        {"group_protocol": protocol, "session_timeout_seconds": 20}
    )
    assert Members(kafka, Group(kind)).session_seconds("g") == seconds


def test_a_group_at_work_is_refused_when_a_session_is_over() -> None:
    clock = Clock()
    members = Members(KafkaSettings(), Group(ConsumerGroupType.CONSUMER), timer=clock)
    with pytest.raises(MigrationError, match="'g' still has 1 member after 65 s"):
        members.wait_until_stopped(["g"], lambda _: None)
    assert clock.slept == pytest.approx(65, abs=0.5)
