"""Clients that cannot be made: the fault is in the settings, and no broker is blamed."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from consumer.engine.membership import Membership
from consumer.engine.transactions import Transactions
from consumer.kafka.clients import (
    ClientSettingsError,
    admin_config,
    made,
    producer_config,
    reader_config,
    sender_config,
)
from consumer.offline.produce import producer
from consumer.settings import KafkaSettings, Settings

NOWHERE = "127.0.0.1:1"


def kafka(**properties: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=NOWHERE, **properties)


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        ({"nonsense": "1"}, 'No such configuration property: "nonsense"'),
        ({"socket.timeout.ms": "x"}, '"socket.timeout.ms"'),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}, "ssl.ca.location"),
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "FOO"}, "FOO"),
    ],
)
def test_a_property_that_librdkafka_refuses_is_told_as_a_setting(
    properties: dict[str, str], sentence: str
) -> None:
    settings = kafka(properties=properties)
    for make, config in (
        (AdminClient, admin_config(settings)),
        (Consumer, reader_config(settings)),
        (Producer, sender_config(settings)),
    ):
        with pytest.raises(ClientSettingsError, match=r"look at kafka\.properties") as caught:
            made(make, config)
        assert sentence in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_property_of_one_kind_of_client_is_told_where_that_is_made() -> None:
    consumes = kafka(consumer_properties={"fetch.min.bytes": "x"})
    with pytest.raises(ClientSettingsError, match=r"fetch\.min\.bytes"):
        Membership(consumes, "group", "topic")
    produces = kafka(producer_properties={"batch.size": "x"})
    with pytest.raises(ClientSettingsError, match=r"batch\.size"):
        Transactions(producer_config(produces, "id"), 60, 60)
    with pytest.raises(ClientSettingsError, match=r"batch\.size"):
        producer(Settings(kafka=produces))
