"""`segmenter topics check`: what is not as the product needs it, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from consumer.cli import main as cli
from consumer.doctor.examine import examine
from consumer.doctor.facts import Finding
from consumer.doctor.topics import TopicsReport, check, ill_made, render_topics
from consumer.kafka.cluster import Cluster, Layout, Layouts
from consumer.kafka.topic_limits import LEAST_LETTER_BYTES, fit_topics
from consumer.kafka.topics import TopicError, name_of, new_topics, own_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import PARTITIONS, committed, produce, settings_for, stream, until
from tests.consumer.kafka_runs import worker as running
from tests.consumer.status.test_status import flags
from tests.stubs import HashingEmbedder


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers, labels={"enabled": True})


@pytest.fixture
def alter(settings: Settings) -> Callable[..., None]:
    cluster = Cluster(settings.kafka)
    admin = cluster.admin

    def change(topic: str, **properties: str) -> None:
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in properties.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin.incremental_alter_configs([resource])[resource].result(30)
        wanted = {name.replace("_", "."): value for name, value in properties.items()}
        # The broker hears of it a moment later.
        until(lambda: wanted.items() <= cluster.properties(ResourceType.TOPIC, topic).items())

    return change


def wrong(report: TopicsReport) -> dict[str, Finding]:
    return {each.check: each for each in report.findings if each.state != "fine"}


def test_topics_as_they_are_made_will_do(settings: Settings, capsys: pytest.CaptureFixture[str]):
    report = check(settings)
    assert (wrong(report), report.exit_code) == ({}, 0)
    assert len(report.findings) == len(own_topics(settings))
    command = ["topics", "check", *flags(settings), "--labels.enabled", "true"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "the topics will do; 0 warnings" in out
    assert f"{PARTITIONS} partitions, 1 replica, compacted" in out
    assert cli.main([*command, "--json", "--topics.changes", "no-such-topic"]) == 1
    told = {each["check"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert told["no-such-topic"]["state"] == "failed"
    assert "segmenter topics create" in told["no-such-topic"]["advice"]


def test_how_records_are_kept_is_held_against_what_is_needed(settings: Settings, alter):
    topics = settings.topics
    alter(topics.profiles, cleanup_policy="compact,delete")
    alter(topics.changes, cleanup_policy="compact")
    alter(topics.lifecycle, retention_ms="3600000")
    alter(topics.memberships, min_cleanable_dirty_ratio="0.9", segment_bytes="1073741824")
    alter(topics.models, max_message_bytes="1000000")
    alter(topics.events, retention_ms="1000")  # whoever makes it decides
    report = check(settings)
    found = wrong(report)
    assert {name: each.state for name, each in found.items()} == {
        topics.profiles: "failed",
        topics.changes: "failed",
        topics.lifecycle: "warning",
        topics.memberships: "warning",
        topics.models: "warning",
    }
    assert report.exit_code == 1
    assert "cleanup.policy is compact,delete" in found[topics.profiles].told
    assert "keeps records for 1 h, topics.retention_hours says for ever" in (
        found[topics.lifecycle].told
    )
    assert "min.cleanable.dirty.ratio is 0.9, not 0.2" in found[topics.memberships].told
    assert "1,000,000 bytes" in found[topics.models].told
    servers = settings.kafka.bootstrap_servers
    # What is advised mends it.
    for name, finding in found.items():
        words = (finding.advice or "").split()
        assert words[:3] == ["kafka-configs.sh", "--bootstrap-server", servers]
        assert words[words.index("--entity-name") + 1] == name
        given = dict(each.split("=") for each in words[-1].split(","))
        alter(name, **{key.replace(".", "_"): value for key, value in given.items()})
    assert wrong(check(settings)) == {}


@pytest.mark.parametrize("setting", ["dead_letters", "label_dead_letters"])
def test_a_topic_that_takes_no_dead_letter_lets_no_worker_start(setting: str):
    settings = Settings(labels={"enabled": True})
    cluster: Any = _Cluster(settings, ((1, 1), (1, 1)), 1)
    name = getattr(settings.topics, setting)
    for bytes_, state in ((LEAST_LETTER_BYTES, "warning"), (LEAST_LETTER_BYTES - 1, "failed")):
        cluster.config[name]["max.message.bytes"] = str(bytes_)
        (found,) = wrong(check(settings, cluster)).values()
        assert (found.check, found.state) == (name, state)
        assert f"takes records of {bytes_:,} bytes" in found.told
        if state == "failed":
            with pytest.raises(TopicError):
                fit_topics(settings, {name: bytes_})
        else:
            fit_topics(settings, {name: bytes_})


def test_a_checkpoint_that_outlives_tombstones_is_told(settings: Settings, alter):
    alter(settings.topics.profiles, delete_retention_ms=str(11 * 3_600_000))
    (finding,) = wrong(check(settings.changed("restore", checkpoint_max_age_hours=11))).values()
    assert finding.state == "failed"
    assert "restore.checkpoint_max_age_hours 11" in finding.told
    assert wrong(check(settings.changed("restore", checkpoint_max_age_hours=10))) == {}


def test_partitions_that_do_not_fit_are_told(settings: Settings):
    topics = settings.topics
    produce(settings, stream(2, 2))
    with running(settings):
        until(lambda: committed(settings) == 4)
    admin = AdminClient(settings.kafka.client())
    other = {"models": 2, "profiles": PARTITIONS + 1}
    names = {name: f"other-{getattr(topics, name)}" for name in other}
    made = [
        NewTopic(names[name], count, 1, config={"cleanup.policy": "compact"})
        for name, count in other.items()
    ]
    for done in admin.create_topics(made).values():
        done.result(30)
    changed = settings.changed("topics", models=names["models"], profiles=names["profiles"])
    told = [each.told for each in check(changed).findings if each.state == "failed"]
    assert told == [
        f"it has {PARTITIONS + 1} partitions, {topics.events} has {PARTITIONS}: partition n of the "
        "one belongs to partition n of the other",
        "it has 2 partitions and must have one",
    ]
    admin.create_partitions([NewPartitions(topics.events, PARTITIONS + 2)])[topics.events].result(
        30
    )
    # Brokers hear of it from the controller, which has answered already.
    cluster = Cluster(settings.kafka)
    until(lambda: cluster.partitions(topics.events) == PARTITIONS + 2)
    told = [each.told for each in check(settings).findings if each.check == topics.events]
    assert f"this group's state was made with {PARTITIONS}" in told[0]
    raw = wrong(check(settings.changed("topics", raw_events="no-such-input")))
    assert "its producers have to make it" in (raw["no-such-input"].advice or "")


class _Cluster:
    """Topics as they are made, on brokers of which there are several."""

    def __init__(self, settings: Settings, layout: Layout, brokers: int, **config: str) -> None:
        names = {name_of(each, settings): each for each in own_topics(settings)}
        self.config = {
            each.topic: {"min.insync.replicas": "1", **(each.config or {}), **config}
            for each in new_topics(settings)
        }
        layouts = {name: layout[:1] if each.single else layout for name, each in names.items()}
        self._layouts = Layouts("c", brokers, layouts)

    def layouts(self) -> Layouts:
        return self._layouts

    def properties(self, kind: Any, name: str) -> dict[str, str]:
        return self.config[name]

    def committed(self, *_: Any, **__: Any) -> list[Any]:
        return []


@pytest.mark.parametrize(
    ("layout", "brokers", "in_sync", "told"),
    [
        (((1, 1), (1, 1)), 1, "1", None),
        (((3, 3), (3, 3)), 3, "2", None),
        (((1, 1), (1, 1)), 3, "1", "it has one replica"),
        (((3, 3), (3, 2)), 3, "2", "replicas that lag behind"),
        (((3, 3), (3, 3)), 3, "1", "min.insync.replicas is 1 of 3 replicas"),
        (((2, 2), (2, 2)), 3, "2", "nothing is written while one broker is away"),
    ],
)
def test_replicas_are_held_against_the_brokers(layout, brokers, in_sync, told):
    settings = Settings()
    cluster: Any = _Cluster(settings, layout, brokers, **{"min.insync.replicas": in_sync})
    report = check(settings, cluster)
    assert report.exit_code == 0
    found = wrong(report)
    assert (settings.topics.profiles in found) == (told is not None)
    if told is not None:
        assert told in found[settings.topics.profiles].told
        assert found[settings.topics.profiles].state == "warning"
        assert f"{len(found)} warnings" in render_topics(report, 200)


def test_what_is_not_told_is_no_pass():
    settings = Settings()
    cluster: Any = _Cluster(settings, ((3, 3),), 3)
    cluster.config = {name: {} for name in cluster.config}
    report = check(settings, cluster)
    assert {each.state for each in report.findings} == {"skipped"}
    assert report.exit_code == 1
    assert "give this client DescribeConfigs" in render_topics(report, 200)


def test_no_answer_is_told():
    settings = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    cluster: Any = _Cluster(settings, ((1, 1),), 1)

    def away() -> Layouts:
        from confluent_kafka import KafkaError, KafkaException  # noqa: PLC0415

        raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))

    cluster.layouts = away
    report = check(settings, cluster)
    assert report.exit_code == 1
    assert "127.0.0.1:1" in report.findings[0].told
    (told,) = ill_made(settings, "worker", cluster)
    assert told.state == report.findings[0].state
    assert "127.0.0.1:1" in told.told


def test_a_process_is_told_of_the_topics_that_it_writes_and_of_no_others(
    settings: Settings, alter: Callable[..., None]
):
    cluster = Cluster(settings.kafka)
    assert list(ill_made(settings, "worker", cluster)) == []
    alter(settings.topics.profiles, cleanup_policy="delete")
    alter(settings.topics.models, cleanup_policy="delete")
    report = examine(settings, "worker", 20, lambda _: HashingEmbedder())
    (found,) = (each for each in report.findings if each.state == "failed")
    assert found.check == "topics"
    assert found.told.startswith(f"{settings.topics.profiles}: cleanup.policy is delete")
    assert "cleanup.policy=compact" in (found.advice or "")
    (of_trainer,) = ill_made(settings, "trainer", cluster)
    assert of_trainer.told.startswith(settings.topics.models)
