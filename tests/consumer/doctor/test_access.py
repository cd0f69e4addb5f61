"""Rights, on a broker that has them: all of them, each one missing, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AclBinding, AclBindingFilter, AdminClient

from consumer.cli import main as cli
from consumer.doctor.access import allowed
from consumer.doctor.brokers import reachable
from consumer.doctor.examine import examine
from consumer.doctor.facts import Finding, Role
from consumer.kafka.cluster import Cluster
from consumer.kafka.rights import Right, rights_of
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from tests.consumer.kafka_runs import until
from tests.consumer.secured import SecuredKafka, bindings, secured_kafka
from tests.stubs import HashingEmbedder

SECONDS = 20.0
ROLES: tuple[Role, ...] = ("worker", "trainer", "intake")
FOREIGN = "reviews"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with the topics, whose users may do nothing yet."""
    with secured_kafka(tmp_path_factory.mktemp("doctor"), ROLES) as kafka:
        plain = {"bootstrap_servers": kafka.bootstrap_servers}
        create_topics(Settings(kafka=plain, topics={"partitions": 2}))
        create_topics(Settings(kafka=plain, topics={"partitions": 2, "events": FOREIGN}))
        yield kafka


def settings_of(kafka: SecuredKafka, user: str, password: str = "x") -> Settings:
    return Settings(
        kafka={
            "bootstrap_servers": kafka.secured_servers,
            "properties": {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": user,
            },
            "secrets": {"sasl.password": password},
        },
        topics={"raw_events": FOREIGN},
    )


class Granted:
    """Rights of a user, for a while."""

    def __init__(self, kafka: SecuredKafka, user: str, rights: Iterable[Right]) -> None:
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        self._bindings = [each for right in rights for each in bindings(user, right)]

    def __enter__(self) -> None:
        for done in self._admin.create_acls(self._bindings).values():
            done.result(SECONDS)

    def __exit__(self, *_: object) -> None:
        filters = [_filter(each) for each in self._bindings]
        for done in self._admin.delete_acls(filters).values():
            done.result(SECONDS)


def _filter(binding: AclBinding) -> AclBindingFilter:
    names = ("restype", "name", "resource_pattern_type", "principal", "host", "operation")
    return AclBindingFilter(*(getattr(binding, name) for name in (*names, "permission_type")))


def settled(kafka: SecuredKafka, role: Role, told: str) -> list[Finding]:
    """Ask until the rights have come to the broker; give what was found last."""
    found: list[Finding] = []

    def so() -> bool:
        found[:] = asked(kafka, role)
        return [told in each.told for each in found] == [True]

    until(so)
    return found


def asked(kafka: SecuredKafka, role: Role) -> list[Finding]:
    settings = settings_of(kafka, role)
    return list(allowed(settings, role, Cluster(settings.kafka), SECONDS))


@pytest.mark.parametrize("role", ROLES)
def test_with_the_rights_of_the_table_and_no_others_all_is_well(kafka: SecuredKafka, role: Role):
    settings = settings_of(kafka, role)
    with Granted(kafka, role, rights_of(role, settings)):
        (found,) = settled(kafka, role, "are allowed")
        assert found.state == "fine"
        report = examine(settings, role, SECONDS, lambda _: HashingEmbedder())
    states = {finding.check: finding.state for finding in report.findings}
    assert report.exit_code == 0, report
    assert (states["rights"], states["topics"]) == ("fine", "fine")
    mine = {each for each in kafka.decisions() if each[0] == role}
    assert {each for each in mine if each[1] == "Denied" and each[4] == "WRITE"} == set()


@pytest.mark.parametrize("role", ROLES)
def test_each_right_that_is_missing_is_named(kafka: SecuredKafka, role: Role):
    rights = rights_of(role, settings_of(kafka, role))
    for number, lacking in enumerate(rights):
        others = [*rights[:number], *rights[number + 1 :]]
        with Granted(kafka, role, others):
            (found,) = settled(kafka, role, f"on {lacking.kind} {lacking.name}")
        assert found.state == "failed"
        assert all(each in found.told for each in lacking.operations)
        assert found.advice


def test_of_a_resource_that_operation_is_named_which_is_missing(kafka: SecuredKafka):
    rights = rights_of("worker", settings_of(kafka, "worker"))
    wanted = next(each for each in rights if {"Read", "Write"} <= {*each.operations})
    less = replace(wanted, operations=tuple(o for o in wanted.operations if o != "Write"))
    with Granted(kafka, "worker", [less if each == wanted else each for each in rights]):
        (found,) = settled(kafka, "worker", "Write on")
    assert found.told == f"a worker may not: Write on topic {wanted.name}"


def test_looking_at_a_right_to_transactions_makes_no_transactional_id(kafka: SecuredKafka):
    settings = settings_of(kafka, "worker")
    with Granted(kafka, "worker", rights_of("worker", settings)):
        settled(kafka, "worker", "are allowed")
    plain = Cluster(Settings(kafka={"bootstrap_servers": kafka.bootstrap_servers}).kafka)
    ends = plain.ends("__transaction_state", range(plain.partitions("__transaction_state")))
    assert set(ends.values()) == {0}


def test_a_wrong_password_is_named_and_never_told(
    kafka: SecuredKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_of(kafka, "worker", password="canary-of-a-password")
    found = reachable(Cluster(settings.kafka), settings.kafka, 3)
    assert found.state == "failed"
    assert "refuses the login" in found.told
    given = settings.kafka.properties
    code = cli.main(
        [
            *("doctor", "--role", "trainer", "--seconds", "3", "--json"),
            *("--bootstrap-servers", kafka.secured_servers),
            *("--kafka.properties", json.dumps(given)),
            *("--kafka.secrets", json.dumps({"sasl.password": "canary-of-a-password"})),
        ]
    )
    said = capsys.readouterr()
    assert code == 1
    assert "canary" not in said.out + said.err


def test_a_port_that_asks_for_a_login_is_told_from_a_broker_that_is_away(kafka: SecuredKafka):
    plain = Settings(kafka={"bootstrap_servers": kafka.secured_servers}).kafka
    found = reachable(Cluster(plain), plain, 3)
    assert (found.state, "closes the connection" in found.told) == ("failed", True)
