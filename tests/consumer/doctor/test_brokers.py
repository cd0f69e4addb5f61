"""Brokers that answer, brokers that do not, and what is made of either."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from consumer.doctor.brokers import NEEDED, WANTED, judged, reachable, told_ranges, versions
from consumer.doctor.examine import examine
from consumer.kafka.cluster import Cluster
from consumer.settings import KafkaSettings, Settings
from consumer.tryout.broker import EmbeddedKafka

SECONDS = 3.0
ALL = {each.request: (0, each.version) for each in NEEDED + WANTED}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose listener takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def looked_at(servers: str, **properties: str) -> tuple[str, str, str]:
    kafka = KafkaSettings(
        bootstrap_servers=servers,
        properties={name.replace("_", "."): value for name, value in properties.items()},
    )
    found = reachable(Cluster(kafka), kafka, SECONDS)
    return found.state, found.told, found.advice or ""


def test_a_broker_that_answers_is_told_with_its_cluster(broker: EmbeddedKafka):
    state, told, _ = looked_at(broker.bootstrap_servers)
    assert state == "fine"
    assert broker.bootstrap_servers.rpartition(":")[2] in told


def test_where_nothing_listens_a_broker_may_come_up_later():
    state, told, advice = looked_at("127.0.0.1:1")
    assert (state, "refuses the connection" in told) == ("later", True)
    assert "kafka.bootstrap_servers" in advice


def test_a_name_that_is_not_known_may_be_known_later():
    state, told, _ = looked_at("there-is-no-such-host.invalid:9092")
    assert (state, "name is not known" in told) == ("later", True)


def test_tls_spoken_to_a_port_without_it_is_named_and_time_mends_nothing(broker: EmbeddedKafka):
    state, told, advice = looked_at(broker.bootstrap_servers, security_protocol="SSL")
    assert (state, "TLS" in told) == ("failed", True)
    assert "security.protocol" in advice


def test_a_login_that_the_port_does_not_ask_for_is_named(broker: EmbeddedKafka):
    kafka = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        properties={
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "ann",
        },
        secrets={"sasl.password": "canary-of-a-password"},
    )
    found = reachable(Cluster(kafka), kafka, SECONDS)
    assert found.state == "failed"
    assert "SASL" in found.told
    assert "canary" not in found.model_dump_json()


def test_a_port_that_says_nothing_is_told_within_the_time(silent_port: int):
    state, told, _ = looked_at(f"127.0.0.1:{silent_port}", socket_timeout_ms="1000")
    assert state == "later"
    assert told.startswith("no answer from")


def test_a_property_that_the_client_does_not_know_is_a_failure_not_an_end():
    state, told, advice = looked_at("127.0.0.1:1", securty_protocol="SSL")
    assert (state, "securty.protocol" in told) == ("failed", True)
    assert "properties" in advice


def test_what_a_real_broker_takes_is_all_that_is_needed(broker: EmbeddedKafka):
    kafka = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers, instance_id="w0", group_protocol="consumer"
    )
    ranges = told_ranges(kafka, 20)
    assert ALL.keys() <= ranges.keys()
    assert all(least <= most for least, most in ranges.values())
    (found,) = versions(kafka)
    assert found.state == "fine"
    assert re.search(r"librdkafka \d+\.\d+", found.told)


def test_a_broker_that_does_not_tell_what_it_takes_is_told_as_that():
    (found,) = versions(KafkaSettings(bootstrap_servers="127.0.0.1:1"), 0.2)
    assert found.state == "skipped"


@pytest.mark.parametrize("needed", NEEDED, ids=lambda each: each.request)
@pytest.mark.parametrize("older", [True, False], ids=["an older version", "none"])
def test_each_request_that_is_needed_and_lacking_is_a_failure(needed, older):
    ranges = dict(ALL)
    del ranges[needed.request]
    if older and needed.version:
        ranges[needed.request] = (0, needed.version - 1)
    kafka = KafkaSettings(instance_id="w0", group_protocol="consumer")
    (found,) = judged(kafka, ranges, "client")
    assert (found.state, needed.request in found.told) == ("failed", True)
    assert needed.since in (found.advice or "")


def test_what_is_needed_under_other_settings_alone_is_not_missed():
    ranges = dict(ALL)
    del ranges["ConsumerGroupHeartbeat"], ranges["JoinGroup"]
    (found,) = judged(KafkaSettings(), ranges, "client")
    assert found.state == "fine"


@pytest.mark.parametrize("wanted", WANTED, ids=lambda each: each.request)
def test_what_helps_and_is_lacking_is_a_warning(wanted):
    ranges = {name: span for name, span in ALL.items() if name != wanted.request}
    (found,) = judged(KafkaSettings(), ranges, "client")
    assert (found.state, wanted.why in found.told) == ("warning", True)


@pytest.mark.parametrize("role", ["trainer", "intake"])
def test_without_a_broker_the_machine_is_looked_at_all_the_same(role):
    report = examine(Settings(kafka={"bootstrap_servers": "127.0.0.1:1"}), role, 1)
    states = {finding.check: finding.state for finding in report.findings}
    assert states["brokers"] == "later"
    assert {states[name] for name in ("versions", "rights", "topics", "clock")} == {"skipped"}
    assert {states[name] for name in ("memory", "files")} == {"fine"}
    assert report.exit_code == 75
