"""`segmenter topics` on a real Kafka."""

from __future__ import annotations

import uuid

import pytest
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
