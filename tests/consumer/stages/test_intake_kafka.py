"""`segmenter intake` on a real Kafka: a foreign input, re-keyed once, in its users' partitions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.cli import main as cli
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.groups import intake_group
from consumer.kafka.topic_limits import retention_ms
from consumer.kafka.topics import TopicError, check_intake_topics
from consumer.letters.choice import Choice
from consumer.letters.redrive import Redrive
from consumer.settings import Settings
from consumer.stages.intake import IntakeStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.demo.processes import environment
from consumer.verify import VerifyResult, ViolationKind, verify_topics
from consumer.wiring.shell import transactional_id
from schemas.dead_letters import redrives_of
from schemas.origins import origin_of
from schemas.partitioner import partition_of
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    Running,
    event,
    produce,
    settings_for,
    until,
    worker,
)

SOURCE_PARTITIONS = 3
USERS = 24
# Of a time at which no broker's clock stands.
TIMESTAMP = 1_700_000_000_000


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Iterator[Settings]:
    """Settings with a foreign input that has another number of partitions."""
    made = settings_for(broker.bootstrap_servers, dead_letters={"max_share": 1})
    raw = f"raw-{made.topics.events}"
    topics = made.topics.model_copy(update={"raw_events": raw})
    admin = AdminClient(made.kafka.client())
    admin.create_topics([NewTopic(raw, SOURCE_PARTITIONS, 1)])[raw].result(30)
    yield made.model_copy(update={"topics": topics})
    admin.delete_topics([raw])[raw].result(30)


def produce_foreign(settings: Settings, rounds: int = 3) -> int:
    """Write events as producers do who agree on nothing; give how many records that made."""
    producers = [
        Producer({**settings.kafka.client(), "partitioner": partitioner})
        for partitioner in ("murmur2_random", "consistent_random")
    ]
    count = 0
    for number in range(rounds):
        for user in range(USERS):
            _, value = event(f"u{user}", number, "beer hops malt")
            key = (None, f"u{user}".encode(), json.dumps(f"u{user}").encode(), b"x")[count % 4]
            producers[count % 2].produce(
                str(settings.topics.raw_events), value, key, timestamp=TIMESTAMP + count
            )
            count += 1
    producers[0].produce(str(settings.topics.raw_events), b"{}", b"x")
    assert all(producer.flush(30) == 0 for producer in producers)
    return count + 1


def read_up(settings: Settings) -> int:
    """Count what intake's group has committed, markers of no transaction being in its input."""
    topic, group = str(settings.topics.raw_events), intake_group(settings.kafka)
    places = Cluster(settings.kafka).committed(group, topic, range(SOURCE_PARTITIONS))
    return sum(max(place.offset, 0) for place in places)


def intake(settings: Settings, name: str) -> Running:
    source, partitions = check_intake_topics(settings)
    stage = IntakeStage(settings, source, partitions)
    return Running(settings, stage, name, intake_group(settings.kafka))


def test_each_record_of_a_foreign_input_comes_once_to_its_user_s_partition(
    settings: Settings,
) -> None:
    first = produce_foreign(settings)
    running = [intake(settings, f"i{number}") for number in range(2)]
    with worker(settings) as (_, stage):
        until(lambda: read_up(settings) == first)
        running.pop().stop()  # the other one takes over
        total = first + produce_foreign(settings)
        until(lambda: read_up(settings) == total)
        until(lambda: stage.stats.accepted.total() + stage.stats.repeated == total - 2)
        running.pop().stop()
        assert stage.placement is None or not stage.placement.misplaced
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    assert not any(str(settings.topics.raw_events) in each for each in result.unchecked)
    assert f"intake is done with {total:,} records of {settings.topics.raw_events}" in result.notes
    assert result.counts.records == total - 2
    origins: Counter[tuple[int, int]] = Counter()
    partitions: dict[bytes, set[int]] = defaultdict(set)
    for record in read_topic(settings, settings.topics.events):
        origin = origin_of(record.headers)
        assert origin is not None
        assert origin.topic == settings.topics.raw_events
        assert record.timestamp == origin.timestamp
        assert record.key == json.loads(record.value or b"")["user_id"].encode()
        origins[origin.partition, origin.offset] += 1
        partitions[record.key].add(record.partition)
    for letter in read_topic(settings, settings.topics.dead_letters):
        headers = dict(letter.headers)
        assert headers["dlq_reason"] == b"missing_field"
        origins[int(headers["dlq_partition"]), int(headers["dlq_offset"])] += 1
    assert set(origins.values()) == {1}
    assert len(origins) == total
    assert partitions == {
        f"u{user}".encode(): {partition_of(f"u{user}".encode(), PARTITIONS)}
        for user in range(USERS)
    }


def test_records_that_are_brought_back_are_no_repeats_to_verify(settings: Settings) -> None:
    _, value = event("u1", 1, "<p> </p>")  # refused by the workers
    produce(settings, [(b"x", value), (b"x", b"{}")], str(settings.topics.raw_events))
    running = intake(settings, "i0")
    with worker(settings) as (_, stage):
        until(lambda: read_up(settings) == 2)
        until(lambda: stage.stats.refused.total() == 1)
        assert Redrive(settings, Choice()).run(dry=False).back.total() == 2
        # One came back behind intake, the other to intake; both are refused again.
        until(lambda: stage.stats.refused.total() == 2)
        until(lambda: len(list(read_topic(settings, settings.topics.dead_letters))) == 4)
        running.stop()
    result = audit(settings)
    assert result.exit_code == 0, result.render()
    assert f"1 records of {settings.topics.events} were brought back" in " ".join(result.notes)
    letters = list(read_topic(settings, settings.topics.dead_letters))
    tries = Counter((dict(e.headers)["dlq_topic"], redrives_of(e.headers)) for e in letters)
    names = settings.topics.events, str(settings.topics.raw_events)
    assert tries == Counter({(name.encode(), n): 1 for name in names for n in (0, 1)})


def audit(settings: Settings) -> VerifyResult:
    return verify_topics(settings, intake=True)


def test_verify_finds_what_is_lost_and_what_came_twice(settings: Settings) -> None:
    total = produce_foreign(settings, rounds=1)
    assert "has committed no offset" in " ".join(audit(settings).unchecked)
    running = intake(settings, "i0")
    until(lambda: read_up(settings) == total)
    running.stop()
    raw = str(settings.topics.raw_events)
    copied, written = next(
        (record, origin)
        for record in read_topic(settings, settings.topics.events)
        if (origin := origin_of(record.headers))
    )
    client = Producer(settings.kafka.client())
    client.produce(
        copied.topic, copied.value, copied.key, copied.partition, headers=list(copied.headers)
    )
    client.produce(copied.topic, copied.value, copied.key, copied.partition)
    ends: list[int] = []
    client.produce(
        raw, b"", partition=2, on_delivery=lambda _, m: ends.append((m.offset() or 0) + 1)
    )
    assert client.flush(30) == 0
    member = Consumer({**settings.kafka.client(), "group.id": intake_group(settings.kafka)})
    member.commit(offsets=[TopicPartition(raw, 2, ends[0])], asynchronous=False)
    member.close()
    result = audit(settings)
    assert result.exit_code == 1
    assert result.violations_by_kind == {
        ViolationKind.INTAKE_REPEATED: 1,
        ViolationKind.INTAKE_LOST: 1,
    }
    places = " ".join(violation.detail for violation in result.violations)
    assert f"{raw}[{written.partition}]@{written.offset} is twice" in places
    assert f"{raw}[2]@{ends[0] - 1} is not in" in places
    assert (
        f"1 records of {settings.topics.events} did not come from {raw} by intake" in result.notes
    )


def test_users_in_several_partitions_are_one_violation_that_names_the_cause(
    settings: Settings,
) -> None:
    topics = settings.topics.model_copy(update={"raw_events": None})
    settings = settings.model_copy(update={"topics": topics})
    texts = list(TOPICS.values())
    for partitioner in ("murmur2_random", "consistent_random"):
        client = Producer({**settings.kafka.client(), "partitioner": partitioner})
        for user in range(USERS):
            for number in range(4):
                key, value = event(f"u{user}", number, texts[number // 2], event_id=partitioner)
                client.produce(settings.topics.events, value, key)
        assert client.flush(30) == 0
    with worker(settings) as (_, stage):
        until(lambda: stage.stats.accepted.total() + stage.stats.repeated == 8 * USERS)
    result = audit(settings)
    assert result.violations_by_kind == {ViolationKind.SPLIT_USERS: 1}, result.render()
    (violation,) = result.violations
    split = sum(
        partition_of(key, PARTITIONS) != partition_of(key, PARTITIONS, "crc32")
        for key in (f"u{user}".encode() for user in range(USERS))
    )
    assert f"of {split} of {USERS} users are in several partitions" in violation.detail
    assert "producers with different partitioners" in violation.detail
    assert "segmenter intake" in violation.detail


def test_how_long_our_topic_keeps_records_is_seen(settings: Settings) -> None:
    assert retention_ms(settings, settings.topics.events) == 7 * 24 * 3_600_000
    assert retention_ms(settings, settings.topics.memberships) is None
    assert retention_ms(settings, "no-such-topic") is None


def test_what_intake_needs_is_named(settings: Settings, monkeypatch, capsys) -> None:
    topics = settings.topics.model_copy(update={"raw_events": "nobody-made-it"})
    missing = settings.model_copy(update={"topics": topics})
    with pytest.raises(TopicError, match=r"nobody-made-it .* its producers have to make it"):
        check_intake_topics(missing)
    unset = settings.model_copy(
        update={"topics": settings.topics.model_copy(update={"raw_events": None})}
    )
    for name, value in environment(unset).items():
        if name.startswith("SEGMENTER_"):
            monkeypatch.setenv(name, value)
    assert cli.main(["intake"]) == 2
    assert "topics.raw_events is not set" in capsys.readouterr().err
    assert transactional_id(settings.kafka, "intake").startswith(intake_group(settings.kafka))
