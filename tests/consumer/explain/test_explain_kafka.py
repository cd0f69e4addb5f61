"""Why a user is in a segment, from the topics of a group at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.cli import main as cli
from consumer.explain.facts import Explanation, Found
from consumer.kafka.clients import admin_config
from consumer.kafka.cluster import Cluster
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.wiring import embedder as wiring
from schemas.model_versions import ModelVersionRecord, VersionOrigin, version_key
from schemas.partitioner import partition_of
from schemas.segment_model import SEGMENT_MODEL_KEY
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    changes_of,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    until,
    worker,
)
from tests.stubs import HashingEmbedder

EMBEDDER = HashingEmbedder()
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def settings(broker: EmbeddedKafka) -> Iterator[Settings]:
    """A group that has read twelve users' events, who all changed their interest early."""
    # So few at once that nobody enters and switches in one batch, at one time.
    made = settings_for(broker.bootstrap_servers, batch={"max_records": 10})
    texts = list(TOPICS.values())
    pairs = [
        event(f"u{user}", number, texts[(user + (number >= 6)) % 2])
        for number in range(24)
        for user in range(12)
    ]
    produce(made, pairs)
    with worker(made) as (_, stage):
        until(lambda: committed(made) == len(pairs))
        assert stage.tables
    publish(made)
    return made


def publish(settings: Settings) -> None:
    """Write what a trainer writes: the version in force, and that it is kept."""
    record = model_of(EMBEDDER).to_record()
    at = min(change.changed_at for change in changes_of(settings))
    kept = ModelVersionRecord(model=record, origin=VersionOrigin.TRAINER, at=at, settings={})
    producer = Producer(settings.kafka.client())
    producer.produce(settings.topics.models, record.model_dump_json(), SEGMENT_MODEL_KEY)
    producer.produce(settings.topics.model_versions, kept.model_dump_json(), version_key(1))
    assert producer.flush(30) == 0


@pytest.fixture
def command(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setattr(wiring, "load_embedder", lambda _: EMBEDDER)

    def run(user: str, *more: object, **topics: str) -> tuple[int, str, str]:
        names = {name: str(value) for name, value in settings.topics.names()} | topics
        flags = [
            flag
            for name, value in names.items()
            for flag in (f"--topics.{name.replace('_', '-')}", value)
        ]
        servers = ("--bootstrap-servers", settings.kafka.bootstrap_servers)
        return cli.main(
            ["explain", user, "--texts", *servers, *flags, *map(str, more)]
        ), *capsys.readouterr()

    return run


def told(command: Run, user: str, *more: object) -> Explanation:
    code, out, err = command(user, "--json", *more)
    assert code == 0, err
    return Explanation.model_validate_json(out)


def test_the_events_of_a_user_are_read_from_the_input_and_add_up(settings, command):
    found = told(command, "u3")
    margin = found.margin
    assert margin is not None
    assert len(found.known) == 8
    assert {each.found for each in found.known} == {Found.READ}
    assert sum(each.share or 0 for each in found.known) == pytest.approx(margin.events)
    total = margin.events + margin.centres + margin.others + margin.rounding
    assert total == pytest.approx(margin.margin, abs=1e-6)
    wanted = [change for change in changes_of(settings) if change.user_id == "u3"]
    assert [each.sequence for each in found.changes] == [each.sequence for each in wanted]
    switched = found.changes[-1]
    assert (switched.status, found.since) == ("switched", switched)
    shares = switched.shares
    assert shares is not None
    assert shares.events
    own = round(sum(each.share for each in shares.events) + shares.others + shares.centres, 6)
    assert own == switched.margin
    # An event takes part in its transaction up to the change, and the one that caused it does.
    assert switched.event_id is not None
    assert {each.event_id.split("-")[0] for each in shares.events} == {"u3"}


def test_what_was_known_at_a_time_is_told_of_changes_and_of_kept_versions(settings, command):
    entered, switched = told(command, "u3").changes
    found = told(command, "u3", "--at", entered.changed_at.isoformat())
    assert found.changes[0] == entered
    assert found.version == 1
    assert not any("version of the segments" in note for note in found.notes)
    # All events were in the input before the first one was read, so that workers were behind.
    assert any(f"as of change {entered.sequence}" in note for note in found.notes)
    assert (found.events, found.margin is None) == (entered.events, False)
    assert found.nearest[0].segment == entered.segment
    assert found.nearest[0].distance == pytest.approx(entered.distance, abs=1e-4)
    assert len(found.known) == entered.events
    later = told(command, "u3", "--at", (switched.changed_at + timedelta(days=1)).isoformat())
    now = told(command, "u3")
    assert later.events == now.events
    assert later.margin is not None
    assert now.margin is not None
    assert later.margin.margin == pytest.approx(now.margin.margin, abs=1e-6)
    before: datetime = entered.changed_at - timedelta(days=1)
    code, out, err = command("u3", "--at", before.isoformat())
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert switched.sequence == 2


def test_events_that_the_input_has_no_more_are_said_to_be_gone(settings, command):
    user = "u5"
    partition = partition_of(user.encode(), PARTITIONS, "murmur2")
    known = sorted(told(command, user).known, key=lambda each: each.offset)
    upto = known[4].offset
    admin = AdminClient(admin_config(settings.kafka))
    place = TopicPartition(settings.topics.events, partition, upto)
    for done in admin.delete_records([place]).values():
        done.result(30)
    found = told(command, user)
    gone = [each.offset for each in found.known if each.found is Found.GONE]
    assert sorted(gone) == [each.offset for each in known[:4]]
    assert found.margin is not None
    left = found.margin
    assert left.events + left.centres + left.others + left.rounding == pytest.approx(left.margin)
    assert any(f"{len(gone)} of the 8 events" in note for note in found.notes)
    low, _ = Cluster(settings.kafka).watermarks(settings.topics.events, partition)
    assert low == upto


@pytest.mark.parametrize(
    ("user", "topics", "sentence"),
    [
        ("nobody", {}, "has no record of the user 'nobody'"),
        ("u3", {"events": "nowhere"}, "there is no topic nowhere, the input"),
        ("u3", {"changes": "nowhere"}, "there is no topic nowhere"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(command, user, topics: Any, sentence):
    code, out, err = command(user, **topics)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert sentence in err


def test_before_the_first_version_that_is_told(settings, command):
    other = settings_for(settings.kafka.bootstrap_servers)
    code, out, err = command("u3", models=other.topics.models)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "there is no segment model yet" in err


def test_events_at_their_places_are_read_by_one_reader(settings, monkeypatch):
    cluster, topic = Cluster(settings.kafka), settings.topics.events
    partition = next(n for n in range(PARTITIONS) if cluster.end(topic, n) > 20)
    low, high = cluster.watermarks(topic, partition)
    made, reader = [], cluster._reader

    def watched(**properties: Any) -> Any:
        made.append(properties)
        return reader(**properties)

    monkeypatch.setattr(cluster, "_reader", watched)
    wanted = [high - 1, low + 3, low, low + 4, high - 7]
    found = cluster.read_at(topic, partition, [*wanted, high + 5], no_progress_seconds=30)
    assert sorted(found) == sorted(wanted)
    assert all(record.offset == offset for offset, record in found.items())
    assert [properties.get("auto_offset_reset") for properties in made] == [None, "error"]
    every = {
        record.offset: record
        for record in cluster.read_all(topic, 30)
        if record.partition == partition
    }
    assert found == {offset: every[offset] for offset in wanted}
