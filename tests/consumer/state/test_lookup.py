"""`segmenter profile`: a user's latest record, whatever form it has, or why there is none."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from consumer.cli import main as cli
from consumer.kafka.cluster import Cluster
from consumer.kafka.topics import TopicError
from consumer.settings import Settings
from consumer.state.lookup import find_profile
from consumer.tryout.broker import EmbeddedKafka
from models.profiles.codec import encode
from models.profiles.table import ProfileRows
from schemas.profiles import ProfileRecord
from tests.consumer.kafka_runs import settings_for

IDENTITY = "ab" * 32
Shown = Callable[..., tuple[int, str, str]]


def rows_of(user: str, events: int = 1, extra: bytes = b"") -> ProfileRows:
    rows = ProfileRows.empty([user], 2, 4)
    rows.sums[0], rows.weights[0], rows.events[0], rows.extra[0] = [0.1, 0.5], 1, events, extra
    return rows


def binary(user: str, events: int = 1, extra: bytes = b"") -> bytes:
    return encode(rows_of(user, events, extra), IDENTITY)[0]


def former(user: str, events: int = 1) -> bytes:
    return rows_of(user, events).to_record(0, IDENTITY).model_dump_json().encode()


@pytest.fixture
def settings(broker: EmbeddedKafka) -> Settings:
    return settings_for(broker.bootstrap_servers)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """Run the command; give exit code, standard output and standard error."""

    def run(user: str, *more: object, settings: Settings | None = None) -> tuple[int, str, str]:
        flags = [str(each) for each in more]
        if settings is not None:
            flags += ["--bootstrap-servers", settings.kafka.bootstrap_servers]
            flags += ["--topics.profiles", settings.topics.profiles]
        return cli.main(["profile", user, *flags]), *capsys.readouterr()

    return run


def write(
    settings: Settings, records: Sequence[tuple[str, bytes | None]], partitioner: str = "murmur2"
) -> None:
    names = {"murmur2": "murmur2_random", "crc32": "consistent_random"}
    producer = Producer({**settings.kafka.client(), "partitioner": names[partitioner]})
    for user, value in records:
        producer.produce(settings.topics.profiles, value, user)
    assert producer.flush(30) == 0


def test_the_latest_record_of_a_user_is_shown_whatever_form_it_has(settings, shown):
    crowd = [(f"u{number}", binary(f"u{number}")) for number in range(40)]
    write(settings, [*crowd, ("ann", former("ann", 1)), ("ann", binary("ann", 2))])
    write(settings, [("bob", binary("bob", 5)), ("bob", former("bob", 6))])
    code, out, err = shown("ann", settings=settings)
    assert (code, json.loads(out)) == (0, json.loads(former("ann", 2)))
    assert err.startswith(f"{settings.topics.profiles}[")
    assert "binary, float32" in err
    code, out, err = shown("bob", settings=settings)
    assert (code, ProfileRecord.model_validate_json(out).events) == (0, 6)
    assert "JSON" in err


def test_a_user_who_is_not_there_is_one_sentence_and_no_success(settings, shown):
    write(settings, [("ann", binary("ann")), ("gone", binary("gone")), ("gone", None)])
    code, out, err = shown("nobody", settings=settings)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "] has no record of the user 'nobody'; with --events.partitioner any all" in err
    code, _, err = shown("gone", settings=settings)
    assert (code, len(err.splitlines())) == (3, 1)
    assert "the user 'gone' was removed from" in err


def test_a_user_in_another_partition_is_found_with_its_partitioner_or_in_all(settings, shown):
    users = [f"u{number}" for number in range(30)]
    write(settings, [(user, binary(user)) for user in users], "crc32")
    answers = {
        name: [
            shown(user, "--events.partitioner", name, settings=settings)[0] for user in users[:10]
        ]
        for name in ("murmur2", "crc32", "any")
    }
    assert set(answers["crc32"]) == set(answers["any"]) == {0}
    assert 3 in answers["murmur2"]


def test_a_topic_that_is_not_there_is_one_sentence(settings, shown):
    other = settings.model_copy(
        update={"topics": settings.topics.model_copy(update={"profiles": "nowhere"})}
    )
    code, _, err = shown("ann", settings=other)
    assert code == 3
    assert "there is no topic nowhere: check topics.profiles" in err


NOWHERE = Settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
"""Nothing listens there."""


def test_a_cluster_that_is_not_reached_is_told_with_address_and_cause():
    with pytest.raises(TopicError) as told:
        find_profile(NOWHERE, "ann", seconds=3)
    said = str(told.value)
    assert said.startswith("cannot reach Kafka at 127.0.0.1:1: it refuses the connection")
    assert "KafkaError{" not in said


def test_a_topic_that_may_not_be_read_is_one_sentence(monkeypatch):
    refused = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    def end(*_):
        raise refused

    monkeypatch.setattr(Cluster, "topics", lambda *_: {"user-profiles": 3})
    monkeypatch.setattr(Cluster, "end", end)
    with pytest.raises(TopicError) as told:
        find_profile(NOWHERE, "ann")
    words = "topic user-profiles cannot be read: Broker: Topic authorization failed"
    assert str(told.value) == words


# --- files ----------------------------------------------------------------------------------------


def test_a_dumped_record_is_shown_with_sections_that_are_not_known(shown, tmp_path):
    path = tmp_path / "record"
    path.write_bytes(binary("ann", 3, struct.pack("<HHI", 77, 0, 2) + b"hi"))
    code, out, err = shown("ann", "--file", path)
    assert (code, json.loads(out)) == (0, json.loads(former("ann", 3)))
    assert "with sections that this version does not know: 77 (2 bytes)" in err


def test_a_replays_folder_and_a_file_of_lines_are_looked_into(shown, tmp_path):
    path = tmp_path / "profiles.jsonl"
    # The last of several counts, as in a topic that was dumped; a torn line hides nobody else.
    lines = [former("ann"), b"", former("bob", 5), b"{", former("bob", 7), b""]
    path.write_bytes(b"\n".join(lines))
    for given in (tmp_path, path):
        code, out, _ = shown("bob", "--file", given)
        assert (code, json.loads(out)["events"]) == (0, 7)
    code, _, err = shown("cat", "--file", path)
    assert code == 3
    assert "line 4 cannot be read" in err
    path.write_bytes(former("ann"))
    code, _, err = shown("cat", "--file", path)
    assert code == 3
    assert f"{path} has no record of the user 'cat'" in err


@pytest.mark.parametrize("user", ["", "\udcff", "x" * 5_000], ids=["empty", "no UTF-8", "long"])
def test_what_no_event_has_as_its_user_is_refused(shown, tmp_path, user):
    code, out, err = shown(user, "--file", tmp_path / "any")
    assert (code, out) == (2, "")
    assert "USER" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (binary("bob"), "record cannot be read: its checksum does not fit"),
        (b"{}", "line 1 cannot be read: user_id"),
        (b'{"schema_version": 9}', "was written by a newer version (schema 9; this one knows 1)"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(shown, tmp_path, value, sentence):
    path: Path = tmp_path / "record"
    if value is not None:
        path.write_bytes(value)
    code, out, err = shown("ann", "--file", path)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert sentence in err
