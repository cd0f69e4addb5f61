"""The stage of `segmenter intake`: which user a record is of, and what it becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from consumer.contract.records import Output, Record
from consumer.settings import Settings
from consumer.stages.intake import IntakeStage
from consumer.stages.shared.dead_letters import DeadLetterLimitError, dead_letter_output
from schemas.dead_letters import Refusal, RefusalReason, redrive_headers
from schemas.origins import Origin, origin_headers, origin_of
from schemas.partitioner import partition_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
ALL = frozenset(range(12))


def record(value: object = None, key: bytes | None = None, **fields: Any) -> Record:
    given = {"user_id": "u1", "text": "SECRET"} if value is None else value
    data = given if isinstance(given, bytes) else json.dumps(given).encode()
    whole = Record("raw", 2, 7, NOW_MS - 5, key, data)
    return replace(whole, **fields)


def stage_of(partitions: int = 12, **sections: dict[str, Any]) -> IntakeStage:
    limits = {"max_share": 1, **sections.pop("dead_letters", {})}
    settings = Settings(dead_letters=limits, **sections)
    return IntakeStage(settings, "raw", partitions, clock=lambda: NOW)


def run(stage: IntakeStage, *records: Record) -> list[Output]:
    outputs = stage.apply(stage.prepare(records), ALL)
    stage.committed()
    return outputs


def test_a_record_goes_as_it_is_to_the_partition_of_its_user() -> None:
    source = record(key=b"anything", headers=(("trace", b"1"), ("intake_topic", b"forged")))
    (output,) = run(stage_of(), source)
    assert (output.topic, output.key, output.value) == ("user-events", b"u1", source.value)
    assert output.partition == partition_of(b"u1", 12)
    assert output.timestamp == source.timestamp
    assert output.headers == (
        ("trace", b"1"),
        *origin_headers(Origin("raw", 2, 7, source.timestamp)),
    )
    assert origin_of(output.headers) == Origin("raw", 2, 7, source.timestamp)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", RefusalReason.INVALID_JSON),
        (b"\xff", RefusalReason.INVALID_UTF8),
        (b"[]", RefusalReason.INVALID_JSON),
        ({"text": "SECRET"}, RefusalReason.MISSING_FIELD),
        ({"user_id": None}, RefusalReason.INVALID_FIELD),
        ({"user_id": ""}, RefusalReason.INVALID_FIELD),
        ({"user_id": "u" * 257}, RefusalReason.INVALID_FIELD),
        ({"user_id": ["u1"]}, RefusalReason.INVALID_FIELD),
    ],
)
def test_what_has_no_user_is_a_dead_letter_that_names_its_place(
    value: object, reason: RefusalReason
) -> None:
    stage = stage_of()
    (letter,) = run(stage, record(value, key=b"k"))
    headers = {name: text.decode() for name, text in letter.headers}
    assert (letter.topic, letter.key) == ("user-events.dlq", b"k")
    assert headers["dlq_reason"] == reason
    assert [headers[f"dlq_{name}"] for name in ("topic", "partition", "offset")] == [
        "raw",
        "2",
        "7",
    ]
    assert "SECRET" not in headers["dlq_detail"]
    assert stage.stats.refused == {reason: 1}


def test_a_record_without_a_value_is_a_dead_letter() -> None:
    (letter,) = run(stage_of(), replace(record(key=b"u1"), value=None))
    assert (letter.topic, dict(letter.headers)["dlq_reason"]) == (
        "user-events.dlq",
        b"missing_value",
    )


def test_what_else_may_be_wrong_with_a_record_is_the_workers_to_judge() -> None:
    mapping = {
        "fields": {"user_id": ["author.id"], "occurred_at": ["posted"]},
        "time_format": "epoch-seconds",
        "event_id_from": ["gone"],
    }
    value = {"author": {"id": 17}, "posted": "not a time", "type": 3}
    (output,) = run(stage_of(events={"mapping": mapping}), record(value))
    assert output.key == b"17"


def test_a_user_in_a_schema_registry_s_framing_is_found_and_the_frame_is_kept() -> None:
    framed = b"\x00\x00\x00\x00\x2a" + b'{"user_id": "u1"}'
    (output,) = run(stage_of(), record(framed))
    assert (output.key, output.value) == (b"u1", framed)


def test_keys_and_partitions_are_those_that_the_workers_ask_for() -> None:
    (output,) = run(stage_of(5, events={"key": "json", "partitioner": "crc32"}), record())
    assert output.key == b'"u1"'
    assert output.partition == partition_of(b'"u1"', 5, "crc32")
    (output,) = run(stage_of(5, events={"partitioner": "any"}), record())
    assert output.partition == partition_of(b"u1", 5)


@pytest.mark.parametrize("timestamp", [-1, NOW_MS + 1, 10**15])
def test_a_timestamp_that_a_broker_would_refuse_is_kept_in_the_header_alone(
    timestamp: int,
) -> None:
    (output,) = run(stage_of(), record(timestamp=timestamp))
    assert output.timestamp is None
    assert origin_of(output.headers) == Origin("raw", 2, 7, timestamp)


def test_a_timestamp_that_retention_would_soon_remove_is_kept_in_the_header_alone() -> None:
    stage = IntakeStage(Settings(), "raw", 12, clock=lambda: NOW, retention_ms=7 * 24 * 3_600_000)
    days = [0, 3, 4, 700]
    outputs = run(stage, *[record(timestamp=NOW_MS - day * 24 * 3_600_000) for day in days])
    assert [output.timestamp is None for output in outputs] == [False, False, True, True]
    for output, day in zip(outputs, days, strict=True):
        origin = origin_of(output.headers)
        assert origin is not None
        assert origin.timestamp == NOW_MS - day * 24 * 3_600_000


def test_only_what_is_committed_is_counted_and_other_partitions_are_left_alone() -> None:
    stage = stage_of()
    batch = stage.prepare([record(), record(key=b"u1"), record(key=b"x"), record(b"{}")])
    assert stage.apply(batch, frozenset({3})) == []
    assert len(stage.apply(batch, ALL)) == 4
    stage.aborted()
    assert not stage.stats.rekeyed
    stage.apply(batch, ALL)
    stage.committed()
    assert stage.stats.rekeyed == {"missing": 1, "kept": 1, "changed": 1}
    told = dict(stage.stats.figures())
    assert told["intake_records"] == {"kept": 1, "changed": 1, "missing": 1}
    assert sum(told["intake_dead_letters"].values()) == 1


def test_too_large_a_share_of_refused_records_stops_it_and_names_its_input() -> None:
    stage = stage_of(dead_letters={"max_share": 0.5, "min_records": 10})
    with pytest.raises(DeadLetterLimitError, match=r"topics\.raw_events"):
        run(stage, *[record(b"{}")] * 10)


def test_a_record_that_the_events_topic_does_not_take_is_refused_and_not_tried() -> None:
    stage = IntakeStage(Settings(dead_letters={"max_share": 1}), "raw", 3, max_record_bytes=200_000)
    long = json.dumps({"user_id": "ada", "text": "x" * 199_500}).encode()
    outputs = run(stage, record(long), record())
    assert [output.topic for output in outputs] == ["user-events.dlq", "user-events"]
    fitting = json.dumps({"user_id": "ada", "text": "x" * 197_000}).encode()
    assert [output.topic for output in run(stage, record(fitting))] == ["user-events"]
    trace = (("trace", b"t" * 3_000),)
    assert [o.topic for o in run(stage, record(fitting, headers=trace))] == ["user-events.dlq"]
    headers = dict(outputs[0].headers)
    assert headers["dlq_reason"] == b"record_too_large"
    assert b"topic user-events takes records of 200,000" in headers["dlq_detail"]


def test_a_dead_letter_of_a_worker_keeps_where_intake_had_the_record_from() -> None:
    origin = Origin("raw", 2, 7, 123)
    refused = record(headers=(("trace", b"1"), *origin_headers(origin)))
    letter = dead_letter_output(
        "dlq", refused, Refusal(reason=RefusalReason.NO_TEXT, detail="no"), 1024
    )
    assert origin_of(letter.headers) == origin
    assert dict(letter.headers)["trace"] == b"1"


def test_a_dead_letter_without_values_keeps_of_headers_only_where_the_record_is_from() -> None:
    origin = Origin("raw", 2, 7, 123)
    refused = record(headers=(("trace", b"said"), *origin_headers(origin)))
    no_text = Refusal(reason=RefusalReason.NO_TEXT, detail="no")
    letter = dead_letter_output("dlq", refused, no_text, None)
    assert (letter.key, letter.value, origin_of(letter.headers)) == (refused.key, None, origin)
    assert "trace" not in dict(letter.headers)
    assert dict(letter.headers)["dlq_value_bytes"] == b"%d" % len(refused.value or b"")
    plain = dead_letter_output("dlq", record(headers=(("trace", b"said"),)), no_text, None)
    assert all(name.startswith("dlq_") for name, _ in plain.headers)


def test_of_long_headers_a_dead_letter_keeps_only_where_the_record_is_from() -> None:
    origin = Origin("raw", 2, 7, 123)
    refused = record(headers=(("trace", b"t" * 16_384), *origin_headers(origin)))
    letter = dead_letter_output(
        "dlq", refused, Refusal(reason=RefusalReason.NO_TEXT, detail="no"), 1024
    )
    assert origin_of(letter.headers) == origin
    assert "trace" not in dict(letter.headers)
    assert dict(letter.headers)["dlq_headers_dropped"] == b"5"


def test_a_record_that_was_brought_back_counts_its_tries_and_towards_no_limit() -> None:
    settings = Settings(dead_letters={"min_records": 2, "max_share": 0.5})
    stage = IntakeStage(settings, "raw", 3)
    back = replace(record(headers=tuple(redrive_headers(2, "raw"))), value=b"{")
    letters = run(stage, *[back] * 9)
    assert {dict(letter.headers)["dlq_redrives"] for letter in letters} == {b"2"}
    assert not {"dlq_redriven_into"} & {name for name, _ in letters[0].headers}
    assert stage.stats.refused.total() == 9
    (rekeyed,) = run(stage, record(headers=tuple(redrive_headers(2, "raw"))))
    assert dict(rekeyed.headers)["dlq_redrives"] == b"2"
    with pytest.raises(DeadLetterLimitError):
        run(stage, *[replace(record(), value=b"{")] * 9)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("intake_topic", b"raw"),),
        (("intake_topic", b"\xff"), ("intake_partition", b"1")),
        # Of no topic that there can be; a dead letter would carry it along.
        origin_headers(Origin("r" * 250, 2, 7, 123)),
        origin_headers(Origin("raw", 2, 10**20, 123)),
    ],
)
def test_headers_that_do_not_tell_an_origin_are_none(headers: Any) -> None:
    assert origin_of(headers) is None


def test_the_input_must_be_a_topic_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"raw_events is 'user-events', which is topics\.events"):
        Settings(topics={"raw_events": "user-events"})
