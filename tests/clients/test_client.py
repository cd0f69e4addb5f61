"""clients/python reads what the workers write, and the examples do in their languages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from pydantic import BaseModel
from segmenter_client import (
    Change,
    Changes,
    ItemForUser,
    ListUsed,
    Memberships,
    SegmentName,
    Segments,
    Shares,
    UserItems,
    UserRecommendations,
)

from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.broker.jars import kafka_jars
from schemas import recommendations
from schemas.changes import MarginShares, SegmentChange
from schemas.segments import SegmentState
from tests.consumer.kafka_runs import (
    changes_of,
    committed,
    produce,
    settings_for,
    stream,
    until,
    worker,
)

CLIENT = Path(__file__).parents[2] / "clients" / "python"
USERS = 12


@pytest.fixture(scope="module")
def written(broker: EmbeddedKafka) -> Settings:
    """Topics on which a worker has published changes."""
    settings = settings_for(
        broker.bootstrap_servers,
        profile={"half_life_days": 0.002},
        assignment={"dwell_events": 1},
    )
    pairs = stream(USERS, 20)
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
    return settings


def group() -> str:
    return f"client-{uuid.uuid4().hex[:8]}"


def read(changes: Changes, many: int, polls: int = 120) -> list[Change]:
    found: list[Change] = []
    for _ in range(polls):
        change = changes.poll(0.5)
        if change is not None:
            found.append(change)
            if len(found) == many:
                break
    return found


def test_all_changes_come_and_each_users_in_order(written: Settings):
    expected = changes_of(written)
    with Changes(written.kafka.bootstrap_servers, group(), topic=written.topics.changes) as changes:
        found = read(changes, len(expected))
        assert changes.poll(0.5) is None
    assert len(found) == len(expected) > USERS
    for user in {change.user_id for change in found}:
        numbers = [change.sequence for change in found if change.user_id == user]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_group_goes_on_with_the_change_that_it_was_at(written: Settings):
    name, topic = group(), written.topics.changes
    servers = written.kafka.bootstrap_servers
    many = len(changes_of(written))
    first = Changes(servers, name, topic=topic)
    found = read(first, 5)
    first.close()  # it dies amid the fifth
    with Changes(servers, name, topic=topic) as second:
        rest = read(second, many - 4)
    seen = [(change.user_id, change.sequence) for change in found + rest]
    assert len(seen) == many + 1
    assert len(set(seen)) == many
    at = (found[4].user_id, found[4].sequence)
    assert seen.count(at) == 2
    with Changes(servers, name, topic=topic) as third:
        assert third.poll(3) is None  # the last one was handled when the block ended


def test_only_the_causes_asked_for_are_given(written: Settings):
    servers, topic = written.kafka.bootstrap_servers, written.topics.changes
    many = len(changes_of(written))
    assert {change.cause for change in changes_of(written)} == {"user"}
    with Changes(servers, group(), topic=topic, causes={"user"}) as changes:
        assert len(read(changes, many)) == many
    with Changes(servers, group(), topic=topic, causes={"model"}) as changes:
        assert read(changes, 1, polls=many + 10) == []


def test_a_record_that_is_no_change_is_told_and_stays_the_next_one(broker: EmbeddedKafka):
    servers, name = broker.bootstrap_servers, group()
    topic = settings_for(servers).topics.changes
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(topic, b"{}", b"u1")
    assert producer.flush(30) == 0
    for _ in range(2):
        with (
            Changes(servers, name, topic=topic) as changes,
            pytest.raises(ValueError, match="user_id"),
        ):
            read(changes, 1)


def test_the_table_of_memberships_is_each_users_latest_change(written: Settings):
    latest = {change.user_id: change for change in changes_of(written)}
    servers = written.kafka.bootstrap_servers
    with Memberships(servers, topic=written.topics.memberships) as memberships:
        assert len(memberships) == len(latest) == USERS
        for user, change in latest.items():
            assert memberships.segment_of(user) == (change.segment and change.segment.id)
            found = memberships.get(user)
            assert found is not None
            assert found.sequence == change.sequence
        by_segment = {
            segment: set(memberships.users(segment))
            for segment in {change.segment.id for change in latest.values() if change.segment}
        }
        assert sum(map(len, by_segment.values())) == USERS
        assert memberships.segment_of("nobody") is None
        assert memberships.refresh() == 0

        producer = Producer({"bootstrap.servers": servers})
        producer.produce(written.topics.memberships, None, b"u1")  # erased
        assert producer.flush(30) == 0
        assert memberships.refresh() == 1
        assert memberships.get("u1") is None
        assert {change.user_id for change in memberships} == latest.keys() - {"u1"}


def test_names_are_those_of_today_and_retired_segments_are_gone(broker: EmbeddedKafka):
    settings = settings_for(broker.bootstrap_servers)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})

    def publish(segment: int, name: str | None) -> None:
        state = name and SegmentState(
            id=segment, name=name, words=[name], users=3, since=1, version=2
        )
        value = state.model_dump_json().encode() if state else None
        producer.produce(settings.topics.segments, value, str(segment).encode())
        assert producer.flush(30) == 0

    publish(0, "coffee")
    publish(1, "shoes")
    with Segments(broker.bootstrap_servers, topic=settings.topics.segments) as segments:
        assert {each.id: each.name for each in segments} == {0: "coffee", 1: "shoes"}
        publish(0, "espresso")
        publish(1, None)
        assert segments.refresh() == 2
        assert segments.name(0) == "espresso"
        assert segments.get(1) is None


def test_items_for_users_are_those_of_the_latest_record(broker: EmbeddedKafka):
    settings = settings_for(
        broker.bootstrap_servers, recommendations={"enabled": True, "users": True}
    )
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    topic = settings.topics.user_recommendations

    def publish(user: str, *items: str) -> None:
        told = recommendations.UserRecommendations(
            user_id=user,
            segment=None,
            used="global",
            events=1,
            profile_at=datetime(2026, 1, 1, tzinfo=UTC),
            lists=[],
            items=[
                recommendations.ItemForUser(item_id=item, score=0.5, reason="popular")
                for item in items
            ],
        )
        producer.produce(topic, told.model_dump_json().encode() if items else None, user.encode())
        assert producer.flush(30) == 0

    publish("u1", "a", "b")
    publish("u2", "c")
    with UserRecommendations(broker.bootstrap_servers, topic=topic) as table:
        assert {each.user_id for each in table} == {"u1", "u2"}
        assert (table.items("u1"), table.items("nobody")) == (["a", "b"], [])
        publish("u1", "d")
        publish("u2")
        assert table.refresh() == 2
        assert (table.items("u1"), table.get("u2")) == (["d"], None)


def test_a_topic_that_is_not_there_is_told(broker: EmbeddedKafka):
    with (
        Changes(broker.bootstrap_servers, group(), topic="there-is-none") as changes,
        pytest.raises(KafkaException, match="there-is-none"),
    ):
        read(changes, 1)
    with pytest.raises(KafkaException):
        Memberships(
            broker.bootstrap_servers,
            topic="there-is-none",
            properties={"allow.auto.create.topics": "false"},
            seconds=10,
        )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SegmentChange, Change),
        (SegmentState, SegmentName),
        (MarginShares, Shares),
        (recommendations.UserRecommendations, UserItems),
        (recommendations.ItemForUser, ItemForUser),
        (recommendations.ListUsed, ListUsed),
    ],
)
def test_the_clients_records_have_every_field_that_is_published(
    ours: type[BaseModel], theirs: type[BaseModel]
):
    assert theirs.model_fields.keys() == ours.model_fields.keys()


def lines_of(command: list[str], many: int, folder: Path) -> list[str]:
    """Run an example until it has printed so many lines."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    ends = threading.Timer(120, process.kill)
    ends.start()
    try:
        assert process.stdout is not None
        found = [line for _, line in zip(range(many), process.stdout, strict=False)]
    finally:
        process.kill()
        _, said = process.communicate()
        ends.cancel()
    assert len(found) == many, said
    return found


def examples() -> Iterator[str]:
    yield from ("changes.py", "SegmentChanges.java", "changes.sh")


@pytest.mark.parametrize("example", list(examples()))
def test_an_example_prints_the_changes(written: Settings, example: str, tmp_path: Path):
    servers, topic = written.kafka.bootstrap_servers, written.topics.changes
    path = str(CLIENT / "examples" / example)
    if example.endswith(".py"):
        command = ["env", f"PYTHONPATH={CLIENT}", sys.executable, path, servers, group(), topic]
    elif example.endswith(".java"):
        if shutil.which("javac") is None or (java := shutil.which("java")) is None:
            pytest.skip("there is no JDK to run Java's source with")
        jars = ":".join(str(jar) for jar in kafka_jars())
        command = [java, "-cp", jars, path, servers, group(), topic]
    else:
        if shutil.which("kcat") is None:
            pytest.skip("kcat is not installed")
        command = ["sh", path, servers, topic]
    expected = changes_of(written)
    found = lines_of(command, len(expected), tmp_path)
    assert {change.user_id for change in expected} <= {
        user for line in found for user in (f"u{n}" for n in range(USERS)) if user in line
    }
    assert "entered" in "".join(found)
