"""`segmenter status` on a real Kafka, and what it makes of the answers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from consumer.cli import main as cli
from consumer.kafka.cluster import Cluster
from consumer.kafka.topics import TopicError
from consumer.settings import HttpSettings, Settings
from consumer.status.attention import attention
from consumer.status.endpoints import ask_endpoints
from consumer.status.facts import DriftTest, Endpoint, Frozen, Group, Member, Partition, Status
from consumer.status.gather import REFUSED, Gatherer, seconds_to_go
from consumer.status.render import duration, ranges, render
from consumer.telemetry.health import Health, serving
from consumer.tryout.broker import EmbeddedKafka
from schemas.model_control import ModelControlState, ModelOrder
from tests.consumer.kafka_runs import (
    PARTITIONS,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    stream,
    until,
    worker,
)
from tests.stubs import HashingEmbedder


def flags(settings: Settings) -> list[str]:
    named = [
        word
        for name, value in settings.topics
        if isinstance(value, str)
        for word in (f"--topics.{name.replace('_', '-')}", value)
    ]
    return [
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--kafka.group-id", settings.kafka.group_id, *named),
    ]


def group_of(status: Status, role: str) -> Group:
    (found,) = (group for group in status.groups if group.role == role)
    return found


def test_a_group_is_told_before_it_runs_at_work_and_after_it(broker: EmbeddedKafka):
    settings = settings_for(broker.bootstrap_servers, kafka={"instance_id": "w0"})
    pairs = stream(12, 20)
    produce(settings, [*pairs, (b"u1", b"{"), event("u1", 99, "<p> </p>")])
    gatherer = Gatherer(settings)

    before = gatherer.gather(0.01)
    workers = group_of(before, "worker")
    assert workers.members == []
    assert workers.lag_records == len(pairs) + 2
    assert [each.number for each in workers.partitions] == list(range(PARTITIONS))
    assert all(each.committed is None and each.member is None for each in workers.partitions)
    assert workers.waits_seconds is not None
    assert 0 < workers.waits_seconds < 600
    assert workers.seconds_to_go is None
    assert before.model is None
    assert before.refused == []
    assert any("no worker is running" in line for line in before.attention)

    model = model_of(HashingEmbedder(), version=7)
    produce(
        settings,
        [(b"segments", model.to_record().model_dump_json().encode())],
        settings.topics.models,
    )
    with worker(settings):
        until(lambda: committed(settings) == len(pairs) + 2)
        at_work = gatherer.gather(0.01)
        workers = group_of(at_work, "worker")
        (member,) = workers.members
        assert member.name.endswith("w0")
        assert member.partitions == list(range(PARTITIONS))
        assert all(each.member == member.name for each in workers.partitions)
        assert (workers.state, workers.lag_records, workers.waits_seconds) == ("stable", 0, 0.0)
        assert workers.seconds_to_go == 0.0
        assert at_work.model is not None
        assert (at_work.model.version, at_work.model.segments) == (7, 2)
        assert at_work.model.published_seconds is not None
        assert at_work.model.published_seconds < 600
        reasons = {each.reason: each for each in at_work.refused}
        assert reasons.keys() == {"invalid_json", "no_text"}
        assert all(each.topic == settings.topics.events for each in at_work.refused)
        assert reasons["no_text"].field == "text"
        assert not any("worker" in line for line in at_work.attention)
        text = render(at_work, width=120)
        assert f"worker: group {settings.kafka.group_id}, stable, 1 member" in text
        assert re.search(rf"w0 +\S+ +0-{PARTITIONS - 1} +0\b", text)
        assert "model: version 7, 2 segments" in text
        assert "invalid_json" in text


def test_only_the_last_refusals_are_told_and_none_of_what_was_in_them(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers)
    bad = [(b"k", b'{"secret": "words nobody may see"')] * (REFUSED + 4)
    produce(settings, [*stream(2, 2), *bad])
    with worker(settings):
        until(lambda: committed(settings) == 4 + len(bad))
    command = ["status", *flags(settings), "--seconds", "0.01"]
    assert cli.main([*command, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert len(told["refused"]) == REFUSED
    offsets = [each["offset"] for each in told["refused"]]
    assert offsets == sorted(offsets, reverse=True)
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "nobody may see" not in line + out
    assert "no worker is running" in out


def test_topics_that_are_not_there_are_named(broker: EmbeddedKafka):
    settings = Settings(
        kafka={"bootstrap_servers": broker.bootstrap_servers},
        topics={"events": "there-is-none", "samples": "nor-this"},
    )
    with pytest.raises(TopicError, match=r"there-is-none, nor-this: .*topics create"):
        Gatherer(settings).gather(0.01)


def test_each_group_is_looked_at_twice_by_one_client(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_for(broker.bootstrap_servers)
    made: Counter[str] = Counter()
    reader = Cluster._reader

    def counted(self: Cluster, **properties: Any) -> Any:
        made[properties.get("group_id", "none")] += 1
        return reader(self, **properties)

    monkeypatch.setattr(Cluster, "_reader", counted)
    found = Gatherer(settings).gather(0.01)
    assert {each.group_id: made[each.group_id] for each in found.groups} == {
        settings.kafka.group_id: 1,
        f"{settings.kafka.group_id}-trainer": 1,
    }


def test_processes_that_are_named_are_asked(broker: EmbeddedKafka):
    health = Health(60, facts=lambda: {"restoring": 3, "restore_share": 0.25})
    with serving(HttpSettings(host="127.0.0.1", port=0), health, _registry()) as port:
        found = ask_endpoints([f"127.0.0.1:{port}", "127.0.0.1:1", "no port"])
    asked, refused, unread = found
    assert (asked.role, asked.ready, asked.problem) == ("trainer", False, None)
    assert asked.told["restoring"] == 3
    assert asked.drift_alarms == ["mmd"]
    assert asked.drift == {
        "mean_cosine": DriftTest(threshold=0.5),
        "mmd": DriftTest(statistic=0.25, threshold=0.125, alarm=True),
    }
    assert refused.ready is None
    assert refused.problem
    assert unread.problem
    assert "25% done" in render(_status(endpoints=found), width=120)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("segmenter_process_info", "", ["role"], registry=registry).labels("trainer").set(1)
    alarm = Gauge("segmenter_drift_alarm", "", ["test"], registry=registry)
    alarm.labels("mmd").set(1)
    alarm.labels("mean_cosine").set(0)
    statistic = Gauge("segmenter_drift_statistic", "", ["test"], registry=registry)
    statistic.labels("mmd").set(0.25)
    statistic.labels("mean_cosine").set(math.nan)
    threshold = Gauge("segmenter_drift_threshold", "", ["test"], registry=registry)
    threshold.labels("mmd").set(0.125)
    threshold.labels("mean_cosine").set(0.5)
    return registry


def _group(**changes: Any) -> Group:
    values: dict[str, Any] = {
        "role": "worker",
        "group_id": "g",
        "state": "stable",
        "topic": "events",
        "members": [Member(name="w0", host="h", partitions=[0, 1])],
        "partitions": [_partition(0), _partition(1)],
        "records_per_second": 10.0,
        "written_per_second": 10.0,
        "lag_records": 0,
        "waits_seconds": 0.0,
        "seconds_to_go": 0.0,
    }
    return Group(**{**values, **changes})


def _partition(number: int, **changes: Any) -> Partition:
    values = {"member": "w0", "committed": 5, "end": 5, "lag_records": 0, "waits_seconds": 0.0}
    return Partition(number=number, **{**values, **changes})


def _status(**changes: Any) -> Status:
    values: dict[str, Any] = {
        "at": "2026-01-01T00:00:00+00:00",
        "cluster_id": "c",
        "groups": [],
        "model": {"version": 1, "segments": 2, "published_seconds": 5},
        "refused": [],
        "drift": None,
        "endpoints": [],
        "attention": [],
    }
    return Status(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"members": []}, ["no worker is running"]),
        ({"state": "preparing_rebalance"}, ["group g is preparing rebalance"]),
        ({"partitions": [_partition(0), _partition(1, member=None)]}, ["nobody has 1 partition"]),
        (
            {
                "partitions": [_partition(0), _partition(1, lag_records=9, waits_seconds=61.0)],
                "records_per_second": 0.0,
                "lag_records": 9,
                "seconds_to_go": None,
            },
            ["1 partition of events stands still: 1"],
        ),
        (
            {
                "lag_records": 9,
                "seconds_to_go": None,
                "written_per_second": 20.0,
                "waits_seconds": 11.0,
            },
            ["events is written faster than it is read"],
        ),
        ({"lag_records": 9, "seconds_to_go": None, "written_per_second": 20.0}, []),
    ],
)
def test_what_asks_for_somebody_is_told(changes: dict[str, Any], words: list[str]):
    found = attention(_status(groups=[_group(**changes)]))
    assert len(found) == len(words)
    assert all(wanted in line for wanted, line in zip(words, found, strict=True))
    text = render(_status(groups=[_group(**changes)], attention=found), width=200)
    assert ("nothing asks for somebody" in text) == (not words)


def test_a_group_that_has_read_and_has_no_model_asks_for_somebody():
    (line,) = attention(_status(groups=[_group()], model=None))
    assert "no segment model" in line
    unread = [_partition(0, committed=None), _partition(1, committed=None)]
    assert attention(_status(groups=[_group(partitions=unread)], model=None)) == []


def test_a_frozen_model_is_told_with_its_time_and_asks_for_somebody(broker: EmbeddedKafka):
    settings = settings_for(broker.bootstrap_servers)
    gatherer = Gatherer(settings)
    assert gatherer.gather(0.01).frozen == Frozen(frozen=False)
    since = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    state = ModelControlState(frozen=True, since=since, cause="rollback").model_dump_json()
    given = ModelOrder(action="unfreeze", at=since).model_dump_json()
    topic = settings.topics.model_control
    model = replace(model_of(HashingEmbedder(), version=7), rollback_of=3).to_record()
    produce(settings, [(b"segments", model.model_dump_json().encode())], settings.topics.models)
    produce(settings, [(b"state", state.encode()), (b"an order", given.encode())], topic)
    status = gatherer.gather(0.01)
    assert status.frozen == Frozen(frozen=True, since=since, cause="rollback")
    assert any("the segment model is frozen" in line for line in status.attention)
    told = "a rollback to version 3, frozen since 2026-03-04T05:06:07+00:00 by rollback"
    assert told in render(status, width=200)


def test_of_processes_those_ask_for_somebody_that_are_silent_or_not_ready_or_in_alarm():
    endpoints = [
        Endpoint(address="a:1", problem="refused"),
        Endpoint(address="b:1", ready=False),
        Endpoint(address="c:1", ready=True, drift_alarms=["mmd"]),
        Endpoint(address="d:1", ready=True),
    ]
    found = attention(_status(endpoints=endpoints))
    assert found == [
        "a:1 does not answer: refused",
        "b:1 is not ready",
        "drift: mmd is in alarm at c:1",
    ]


@pytest.mark.parametrize(
    ("lag", "read", "written", "seconds"),
    [
        (0, None, None, 0.0),
        (100, 20.0, 10.0, 10.0),
        (100, 10.0, 10.0, None),
        (100, None, 1.0, None),
        (100, 0.0, 0.0, None),
    ],
)
def test_the_time_to_go_is_what_waits_over_what_is_gained(lag, read, written, seconds):
    assert seconds_to_go(lag, read, written) == seconds


def test_times_and_ranges_are_told_in_few_words():
    told = [duration(s) for s in (0.4, 119, 120, 7199, 7260, 90_000, 200_000)]
    assert told == ["0 s", "119 s", "2 min", "2 h", "2 h 1 min", "25 h", "2 d 7 h"]
    assert ranges([]) == ""
    assert ranges([3, 1, 2, 7, 9, 10]) == "1-3, 7, 9-10"
