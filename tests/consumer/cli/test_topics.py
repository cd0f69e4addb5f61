"""`segmenter topics` on a real Kafka."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.cli import main as cli
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka

MADE_WITH = {"partitions", "replication_factor", "retention_hours", "raw_events"}


def test_a_refusal_makes_nothing_and_a_second_try_with_the_right_number_works(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {field: f"{field}-{uuid.uuid4().hex[:8]}" for field, _ in Settings().topics}
    names = {field: name for field, name in names.items() if field not in MADE_WITH}
    command = ["topics", "create", "--bootstrap-servers", broker.bootstrap_servers]
    for field, name in names.items():
        command += [f"--topics.{field.replace('_', '-')}", name]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(names["events"], 2)])[names["events"]].result(30)

    assert cli.main([*command, "--topics.partitions", "3"]) == 2
    assert f"topic {names['events']} is there with 2 partitions" in capsys.readouterr().err
    there = admin.list_topics(timeout=30).topics
    assert there.keys() & set(names.values()) == {names["events"]}

    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert f"{names['events']}: was there, 2 partitions\n" in out
    assert f"{names['profiles']}: created, 2 partitions\n" in out
    assert f"{names['models']}: created, 1 partition\n" in out

    assert cli.main([*command, "--topics.partitions", "3", "--topics.events", "another"]) == 2
    assert f"{names['profiles']} with 2 partitions in place of 3" in capsys.readouterr().err


def test_topics_and_users_are_written_for_strimzi_as_the_settings_have_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["topics", "strimzi", "--cluster", "events", "--kafka.group-id", "1e3"]
    given = ["--topics.profiles", "User_Profiles", "--topics.partitions", "6"]
    given += ["--topics.replication-factor", "3", "--topics.retention-hours", "48"]
    assert cli.main([*command, *given, "--topics.raw-events", "raw"]) == 0
    made = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {each["metadata"]["labels"]["strimzi.io/cluster"] for each in made} == {"events"}
    topics = {each["spec"]["topicName"]: each for each in made if each["kind"] == "KafkaTopic"}
    profiles = topics["User_Profiles"]
    assert profiles["metadata"]["name"] == "user-profiles"
    assert profiles["spec"]["partitions"] == 6
    assert profiles["spec"]["replicas"] == 3
    assert profiles["spec"]["config"]["cleanup.policy"] == "compact"
    assert topics["segment-changes"]["spec"]["config"] == {"retention.ms": 48 * 3_600_000}
    assert "raw" not in topics  # its makers' business
    assert not {"segment-labels", "label-models"} & topics.keys()
    users = {each["metadata"]["name"]: each for each in made if each["kind"] == "KafkaUser"}
    assert {"segmenter-worker", "segmenter-trainer", "segmenter-intake"} <= users.keys()
    acls = users["segmenter-intake"]["spec"]["authorization"]["acls"]
    rights = {
        (acl["resource"]["type"], acl["resource"]["name"]): (
            acl["resource"]["patternType"],
            acl["operations"],
        )
        for acl in acls
    }
    assert rights["topic", "raw"] == ("literal", ["Read"])
    assert rights["topic", "user-events"] == ("literal", ["Write", "DescribeConfigs"])
    assert rights["group", "1e3-intake"] == ("literal", ["Read"])
    assert rights["transactionalId", "1e3-intake-"] == ("prefix", ["Write"])
    names = {acl["resource"]["name"] for each in users.values() for acl in _acls(each)}
    assert not {"segment-labels", "label-models"} & names

    assert cli.main([*command, "--labels.enabled", "true"]) == 0
    made = list(yaml.safe_load_all(capsys.readouterr().out))
    assert "segmenter-intake" not in {each["metadata"]["name"] for each in made}
    of_labels = {"segment-labels", "segment-labels.dlq", "label-models"}
    assert of_labels <= {each["spec"].get("topicName") for each in made}
    (worker,) = (each for each in made if each["metadata"]["name"] == "segmenter-worker")
    assert of_labels <= {acl["resource"]["name"] for acl in _acls(worker)}


def test_a_second_group_has_resources_and_rights_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def made(*flags: str) -> list[dict[str, Any]]:
        assert cli.main(["topics", "strimzi", "--labels.enabled", "true", *flags]) == 0
        return list(yaml.safe_load_all(capsys.readouterr().out))

    plain, prefixed = made(), made("--topics.prefix", "Blue_")
    assert [each["metadata"]["name"] for each in prefixed] == [
        f"blue-{each['metadata']['name']}" for each in plain
    ]
    for one, other in zip(plain, prefixed, strict=True):
        assert one["spec"].get("config") == other["spec"].get("config")
        if one["kind"] == "KafkaTopic":
            assert other["spec"]["topicName"] == f"Blue_{one['spec']['topicName']}"
            continue
        names = [acl["resource"]["name"] for acl in _acls(one)]
        assert names
        assert [acl["resource"]["name"] for acl in _acls(other)] == [f"Blue_{n}" for n in names]


def _acls(user: dict[str, Any]) -> list[dict[str, Any]]:
    acls: list[dict[str, Any]] = user["spec"]["authorization"]["acls"]
    return acls
