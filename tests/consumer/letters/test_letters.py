"""`segmenter dead-letters` on a real Kafka: refused records are looked at and brought back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.cli import main as cli
from consumer.contract.records import Record
from consumer.engine.transactions import FatalKafkaError, Outcome, Transactions
from consumer.kafka.cluster import Cluster, read_topic
from consumer.letters.choice import Choice
from consumer.letters.redrive import Redrive
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import verify_topics
from schemas.dead_letters import original_headers, redrives_of
from tests.consumer.kafka_runs import (
    PARTITIONS,
    committed,
    event,
    produce,
    settings_for,
    until,
    worker,
)
from tests.consumer.status.test_status import flags

SECRET = "words nobody may see"
RECENTLY = int(datetime.now(UTC).timestamp() * 1000) - 60_000
Run = Callable[..., str]


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers, dead_letters={"max_share": 1})


@pytest.fixture
def command(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object, code: int = 0) -> str:
        given = ["dead-letters", str(words[0]), *flags(settings), *map(str, words[1:])]
        assert cli.main(given) == code
        said = capsys.readouterr()
        assert SECRET not in said.err
        return said.err if code else said.out

    return run


def refuse(settings: Settings, rounds: int = 3) -> int:
    """Produce records of three kinds that are refused; give how many there are."""
    client = Producer(settings.kafka.client())
    bad = [
        (b"ada", b'{"' + SECRET.encode(), [("trace", b"\xff\x00")]),
        (None, b"{}", None),
        (b"ada", event("ada", 1, "<p> </p>")[1], [("trace", b"1"), ("trace", b"2")]),
    ]
    for number in range(rounds * len(bad)):
        key, value, headers = bad[number % len(bad)]
        client.produce(
            settings.topics.events,
            value,
            key,
            number % PARTITIONS,
            headers=headers,
            timestamp=RECENTLY + number,
        )
    assert client.flush(30) == 0
    return rounds * len(bad)


def work(settings: Settings, records: int) -> None:
    """Have a worker deal with all that is there."""
    with worker(settings):
        until(lambda: committed(settings) >= records)


def inputs(settings: Settings) -> list[Record]:
    return list(read_topic(settings, settings.topics.events))


def like(record: Record) -> tuple[Any, ...]:
    return record.partition, record.key, record.value, record.timestamp


def test_dead_letters_are_counted_shown_and_brought_back_as_they_were(
    settings: Settings, command: Run
) -> None:
    count = refuse(settings)
    work(settings, count)
    listed = json.loads(command("list", "--json", "--latest", 2))
    assert (listed["letters"], len(listed["latest"])) == (count, 2)
    reasons = {each["reason"]: each for each in listed["reasons"]}
    assert reasons.keys() == {"invalid_json", "missing_field", "no_text"}
    assert all((each["letters"], each["redriven"]) == (3, 0) for each in reasons.values())
    assert f"{count} dead letters on {settings.topics.dead_letters}" in command("list")
    assert SECRET not in command("list")

    secret = next(
        each
        for each in read_topic(settings, settings.topics.dead_letters)
        if dict(each.headers)["dlq_reason"] == b"invalid_json"
    )
    assert secret.value is None
    shown = command("show", secret.partition, secret.offset)
    assert SECRET not in shown
    told = json.loads(shown)
    assert (told["key"], told["dead_letter"]["reason"]) == ("ada", "invalid_json")
    assert (told["headers"], told["value_bytes"]) == ([], len('{"' + SECRET))
    shown = json.loads(command("show", secret.partition, secret.offset, "--value"))
    assert shown["value"] == '{"' + SECRET
    assert shown["headers"] == [{"name": "trace", "value_base64": "/wA="}]
    assert "is not there" in command("show", secret.partition, 10**6, code=3)
    assert f"has {PARTITIONS} partitions" in command("show", PARTITIONS, 0, code=3)

    said = command("redrive", "--reason", "no_text", "--dry-run")
    assert "3 records would be brought back: no_text 3" in said
    assert "nothing is known of an earlier redrive" in said
    assert len(inputs(settings)) == count
    assert "2 records brought back: no_text 2" in command(
        "redrive", "--reason", "no_text", "--limit", 2
    )
    found = json.loads(command("redrive", "--reason", "no_text", "--json"))
    assert (found["back"], found["left"]["others"]) == (
        {"no_text": 1},
        {"invalid_json": 3, "missing_field": 3},
    )
    assert "0 records brought back\n" in command("redrive", "--reason", "no_text")
    assert "redriven" in command("list")
    counted = {e["reason"]: e["redriven"] for e in json.loads(command("list", "--json"))["reasons"]}
    assert counted == {"no_text": 3, "invalid_json": 0, "missing_field": 0}
    said = command("redrive")
    assert "6 records brought back" in said
    assert "earlier redrive" not in said

    records = inputs(settings)
    before, after = records_by_origin(records)
    assert Counter(map(like, after)) == Counter(map(like, before))
    assert len(after) == count
    for record in after:
        assert redrives_of(record.headers) == 1
        (same,) = [each for each in before if like(each) == like(record)]
        assert original_headers(record.headers) == same.headers


def records_by_origin(records: list[Record]) -> tuple[list[Record], list[Record]]:
    back = [each for each in records if redrives_of(each.headers)]
    return [each for each in records if not redrives_of(each.headers)], back


def test_with_values_a_dead_letter_holds_the_record_and_needs_no_input(
    settings: Settings, command: Run
) -> None:
    holding = settings.changed("dead_letters", values=True)
    count = refuse(settings, rounds=1)
    work(holding, count)
    wanted = Counter((*like(each), each.headers) for each in inputs(settings))
    emptied = [TopicPartition(settings.topics.events, number, -1) for number in range(PARTITIONS)]
    admin = AdminClient(settings.kafka.client())
    for future in admin.delete_records(emptied).values():
        future.result(20)
    assert inputs(settings) == []
    # Those that do not hold it, refused at another time, are gone with it.
    assert f"{count} records brought back" in command("redrive")
    back = [
        ((*like(each), original_headers(each.headers)), each.headers) for each in inputs(settings)
    ]
    assert Counter(each for each, _ in back) == wanted
    work_through(settings)
    for future in admin.delete_records(emptied).values():
        future.result(20)
    said = command("redrive")
    assert "0 records brought back" in said
    assert f"{count} records gone from their topic" in said
    (letter, *_) = [
        each for each in read_topic(settings, settings.topics.dead_letters) if each.value is None
    ]
    said = command("show", letter.partition, letter.offset, "--value", code=3)
    assert "is gone from there" in said


def test_a_record_that_fails_again_counts_one_more_until_it_stays(
    settings: Settings, command: Run
) -> None:
    count = refuse(settings, rounds=1)
    work(settings, count)
    for number in (1, 2):
        found = json.loads(command("redrive", "--tries", 2, "--json"))
        assert sum(found["back"].values()) == count
        assert sum(found["left"]["too_often"].values()) == 0
        total = count * (number + 1)
        work_through(settings)
        tries = [
            redrives_of(each.headers) for each in read_topic(settings, settings.topics.dead_letters)
        ]
        assert Counter(tries) == Counter(dict.fromkeys(range(number + 1), count))
        assert len(tries) == total
    found = json.loads(command("redrive", "--tries", 2, "--json"))
    assert found["back"] == {}
    assert sum(found["left"]["too_often"].values()) == count
    assert "3 records left: brought back --tries times before" in command("redrive", "--tries", 2)
    assert sum(json.loads(command("redrive", "--json"))["back"].values()) == count
    again = {e["reason"]: e["again"] for e in json.loads(command("list", "--json"))["reasons"]}
    assert set(again.values()) == {2}
    work_through(settings)
    result = verify_topics(settings)
    assert result.exit_code == 0, result.render()


def work_through(settings: Settings) -> None:
    """Have a worker come to the present end, markers of the redrive's transactions included."""
    cluster, topic = Cluster(settings.kafka), settings.topics.events
    work(settings, sum(cluster.end(topic, number) for number in range(PARTITIONS)))


def test_what_was_refused_by_a_setting_that_is_mended_takes_effect(
    settings: Settings, command: Run
) -> None:
    pairs = [event("ada", number, "hops malt yeast " * 40) for number in range(4)]
    produce(settings, pairs)
    work(settings.changed("events", max_text_chars=20), len(pairs))
    assert "4 records brought back: text_too_long 4" in command("redrive")
    work_through(settings)
    result = verify_topics(settings)
    assert result.exit_code == 0, result.render()
    assert (result.counts.accepted, result.counts.refused) == (4, 4)


def test_a_time_chooses_by_when_records_were_refused(settings: Settings, command: Run) -> None:
    work(settings, refuse(settings, rounds=1))
    middle = datetime.now(UTC)
    work(settings, refuse(settings, rounds=1) * 2)
    dates = [(middle + timedelta(hours=n)).isoformat() for n in (-1, 0, 1)]

    def listed(*options: str) -> int:
        return int(json.loads(command("list", "--json", *options))["letters"])

    assert listed("--since", dates[0]) == 6
    assert (listed("--until", dates[1]), listed("--since", dates[1])) == (3, 3)
    assert (listed("--until", dates[0]), listed("--since", dates[2])) == (0, 0)
    assert "3 records brought back" in command("redrive", "--since", dates[1])
    assert "3 records brought back" in command("redrive")
    assert "--until" in command("redrive", "--since", dates[1], "--until", dates[0], code=2)


def test_a_second_redrive_fences_the_first_and_each_record_goes_back_once(
    settings: Settings,
) -> None:
    count = refuse(settings)
    work(settings, count)
    second = Redrive(settings, Choice())

    class Overtaken(Transactions):
        def write(self, *arguments: Any, **more: Any) -> Outcome:
            if not second.result.back:
                second.run(dry=False)
            return super().write(*arguments, **more)

    first = Redrive(settings, Choice(), make=Overtaken)
    with pytest.raises(FatalKafkaError):
        first.run(dry=False)
    assert second.result.back.total() == count
    _, back = records_by_origin(inputs(settings))
    assert len(back) == count
    assert Redrive(settings, Choice()).run(dry=True).back.total() == 0


def test_what_is_missing_is_named(settings: Settings, command: Run) -> None:
    missing = ("--topics.dead-letters", "no-such-topic")
    for words in (["redrive"], ["list"], ["show", 0, 0]):
        said = command(*words, *missing, code=3)
        assert "no topic no-such-topic" in said
        assert "is topics.dead_letters right?" in said
    said = command("list", "--of-labels", "--topics.label-dead-letters", "none-such", code=3)
    assert "is topics.label_dead_letters right?" in said
    said = command("redrive", "--topics.events", "no-such-input", code=3)
    assert "is topics.events right?" in said
