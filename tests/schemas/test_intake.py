"""What is accepted from `user-events`, and what is refused with which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import RefusalReason
from schemas.events import EventType, UserEvent
from schemas.intake import Intake, RefusedError
from schemas.mapping import PRESETS, EventMapping
from tests.schemas.intakes import an_intake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "event_id": "e1",
    "user_id": "u1",
    "type": "review",
    "text": "SECRET words",
    "occurred_at": "2025-06-01T12:00:00Z",
}


def encode(**changes: Any) -> bytes:
    event = {**GOOD, **changes}
    return json.dumps({k: v for k, v in event.items() if v is not ...}).encode()


def refusal(value: bytes | None, key: bytes | None = b"u1", intake: Intake | None = None):
    with pytest.raises(RefusedError) as caught:
        (intake or an_intake()).read(value, key, NOW)
    return caught.value.refusal


def test_a_good_event_is_read_and_unknown_fields_are_ignored() -> None:
    event = an_intake().read(encode(colour="red", language="en", rating=4), b"u1", NOW)
    assert event.type is EventType.REVIEW
    assert event.rating == 4
    assert event.occurred_at == datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [
        (None, RefusalReason.MISSING_VALUE, None),
        (b"", RefusalReason.INVALID_JSON, None),
        (b"{", RefusalReason.INVALID_JSON, None),
        (b"[]", RefusalReason.INVALID_JSON, None),
        (b"null", RefusalReason.INVALID_JSON, None),
        (b"[" * 100_000, RefusalReason.INVALID_JSON, None),
        (b'{"text": "\xff"}', RefusalReason.INVALID_UTF8, None),
        (b'{"text": "\\ud800"}', RefusalReason.INVALID_JSON, None),
        (encode(text=float("nan")), RefusalReason.INVALID_FIELD, "text"),
        (encode(user_id=float("inf")), RefusalReason.INVALID_FIELD, "user_id"),
        (encode(event_id=...), RefusalReason.MISSING_FIELD, "event_id"),
        (encode(occurred_at=...), RefusalReason.MISSING_FIELD, "occurred_at"),
        (encode(event_id=""), RefusalReason.INVALID_FIELD, "event_id"),
        (encode(event_id=7), RefusalReason.INVALID_FIELD, "event_id"),
        (encode(user_id="u" * 257), RefusalReason.INVALID_FIELD, "user_id"),
        (encode(type="poke"), RefusalReason.INVALID_FIELD, "type"),
        (encode(text=["a"]), RefusalReason.INVALID_FIELD, "text"),
        (encode(occurred_at=""), RefusalReason.INVALID_FIELD, "occurred_at"),
        (encode(occurred_at=1_700_000_000), RefusalReason.INVALID_FIELD, "occurred_at"),
        (encode(occurred_at="2025-06-01T12:00:00"), RefusalReason.INVALID_FIELD, "occurred_at"),
        (encode(occurred_at="2025-02-30T12:00:00Z"), RefusalReason.INVALID_FIELD, "occurred_at"),
        (
            encode(occurred_at="9999-12-31T23:59:59-12:00"),
            RefusalReason.INVALID_FIELD,
            "occurred_at",
        ),
        (encode(occurred_at="9999-01-01T00:00:00Z"), RefusalReason.TIME_IN_FUTURE, "occurred_at"),
        (encode(occurred_at="2026-01-01T01:00:01Z"), RefusalReason.TIME_IN_FUTURE, "occurred_at"),
        (encode(occurred_at="0001-01-01T00:00:00Z"), RefusalReason.TIME_TOO_OLD, "occurred_at"),
        (encode(text="x" * 5_000_000), RefusalReason.TEXT_TOO_LONG, "text"),
        (encode(item_title="x" * 100_001), RefusalReason.TEXT_TOO_LONG, "item_title"),
    ],
)
def test_a_bad_record_is_refused_with_reason_and_field(value, reason, field) -> None:
    found = refusal(value)
    assert (found.reason, found.field) == (reason, field)
    assert field is None or field in found.detail
    assert len(found.detail) < 500


def test_a_time_within_the_skew_is_accepted() -> None:
    an_intake().read(encode(occurred_at="2026-01-01T00:59:59Z"), b"u1", NOW)


@pytest.mark.parametrize(
    "time", ["2025-06-01t12:00:00z", "2025-06-01 14:00:00+02:00", "2025-06-01T12:00:00.123456789Z"]
)
def test_every_form_of_rfc_3339_is_read(time: str) -> None:
    event = an_intake().read(encode(occurred_at=time), b"u1", NOW)
    assert event.occurred_at.replace(microsecond=0) == datetime(2025, 6, 1, 12, tzinfo=UTC)


def test_a_record_without_a_key_is_refused() -> None:
    assert refusal(encode(), None).reason is RefusalReason.MISSING_KEY


@pytest.mark.parametrize("key", [b"", b"u2", b"\xff"])
def test_a_key_that_is_not_the_user_is_refused(key: bytes) -> None:
    found = refusal(encode(), key)
    assert found.reason is RefusalReason.KEY_MISMATCH
    assert "'u1'" in found.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    with pytest.raises(RefusedError):
        an_intake().read(value, b"u1", NOW)


@pytest.mark.parametrize(
    "value",
    [
        encode(text=["SECRET words"]),
        encode(item_title={"title": "SECRET words"}),
        encode(text="SECRET words" * 10_000),
        encode(type="poke"),
        encode(occurred_at="soon"),
        encode()[:-1],
        encode()[:-3] + b"\xff" + encode()[-3:],
    ],
)
def test_no_refusal_quotes_a_text(value: bytes) -> None:
    assert b"SECRET" in value
    assert "SECRET" not in refusal(value).detail


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("rating", "5.0", 5.0),
        ("rating", "4 out of 5", None),
        ("rating", "nan", None),
        ("rating", float("nan"), None),
        ("rating", float("inf"), None),
        ("rating", True, None),
        ("rating", [5], None),
        ("item_id", 7, "7"),
        ("item_id", 7.0, "7"),
        ("item_id", 7.5, None),
        ("item_id", ["a", "b"], None),
        ("item_id", "x" * 257, None),
        ("language", "en-US,en;q=.9", "en-US,en;q=.9"),
        ("language", "*;q=0.1, en-US;q=0.9, en;q=0.8, de-DE;q=0.7", "en-US"),
        ("language", ["pt_BR", "en"], "pt_BR"),
        ("language", "x" * 36, None),
        ("language", 7, None),
        ("language", {"code": "en"}, None),
    ],
)
def test_a_field_that_nothing_rests_on_is_read_or_left_out_and_costs_no_event(
    field: str, value: object, read: object
) -> None:
    event, left_out = an_intake().sift(encode(**{field: value}), b"u1", NOW)
    assert getattr(event, field) == read
    assert left_out == ((field,) if read is None else ())
    assert event.text == "SECRET words"


def test_a_good_event_has_nothing_left_out() -> None:
    assert an_intake().sift(encode(rating=5, item_id="i", language="en"), b"u1", NOW)[1] == ()


def test_a_used_field_is_what_a_record_with_several_faults_is_refused_for() -> None:
    found = refusal(encode(rating=[5], language=7, occurred_at="soon"))
    assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, "occurred_at")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_costs_an_event_only_in_a_field_that_is_used(word: str) -> None:
    def record(field: str) -> bytes:
        return encode(**{field: ...})[:-1] + f', "{field}": {word}}}'.encode()

    assert an_intake().read(record("price"), b"u1", NOW).event_id == "e1"
    assert an_intake().read(record("price")[:-1] + b', "deep": [{"x": NaN}]}', b"u1", NOW)
    for field in ("event_id", "user_id", "type", "text", "item_title", "occurred_at"):
        found = refusal(record(field))
        assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, field)
        assert word in found.detail
        assert field in found.detail


def test_a_byte_order_mark_before_a_value_is_no_part_of_it() -> None:
    marked = b"\xef\xbb\xbf" + encode()
    assert an_intake().read(marked, b"u1", NOW) == an_intake().read(encode(), b"u1", NOW)
    assert an_intake().key_of(marked) == b"u1"
    framed = b"\0\0\0\0\x07" + marked
    assert an_intake().read(framed, b"u1", NOW).event_id == "e1"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_value_in_utf_16_or_32_is_refused_by_name(encoding: str) -> None:
    found = refusal(encode().decode().encode(encoding))
    assert found.reason is RefusalReason.INVALID_UTF8
    assert encoding[:6].upper() in found.detail
    assert "UTF-8" in found.detail


@pytest.mark.parametrize("value", [b"[]", b'"a"', b"1", b"1.5", b"true", b"null"])
def test_what_is_no_object_is_named_as_json_names_it(value: bytes) -> None:
    detail = refusal(value).detail
    assert not {"list", "str", "int", "float", "bool", "NoneType", "dict"} & set(detail.split())


@pytest.mark.parametrize(
    ("time", "setting"),
    [
        ("2025-06-01", "iso8601"),
        ("2025-06-01 12:00", "iso8601"),
        ("2025-06-01T12:00:00", "iso8601"),
        (1_700_000_000, "epoch-seconds"),
    ],
)
def test_the_refusal_of_a_time_names_the_setting_that_reads_it(time: object, setting: str) -> None:
    detail = refusal(encode(occurred_at=time)).detail
    assert "events.mapping.time_format" in detail
    assert setting in detail


def test_the_key_of_a_line_is_its_user() -> None:
    assert an_intake().user_id(encode()) == "u1"
    assert an_intake().user_id(b"{") is None
    assert an_intake().user_id(encode(user_id=3)) is None


def test_amazon_reviews_are_read_as_they_are() -> None:
    review = {
        "rating": 5.0,
        "title": "Good",
        "text": "It works",
        "images": [],
        "asin": "B0",
        "parent_asin": "B1",
        "user_id": "u1",
        "timestamp": 1602133857705,
        "verified_purchase": True,
    }
    intake = an_intake(mapping=PRESETS["amazon-reviews"])
    event = intake.read(json.dumps(review).encode(), b"u1", NOW)
    again = intake.read(json.dumps(review).encode(), b"u1", NOW)
    assert (event.text, event.item_id, event.rating) == ("Good\n\nIt works", "B1", 5.0)
    assert event.occurred_at == datetime(2020, 10, 8, 5, 10, 57, 705000, tzinfo=UTC)
    assert event.event_id == again.event_id
    other = intake.read(json.dumps({**review, "timestamp": 1602133857706}).encode(), b"u1", NOW)
    assert other.event_id != event.event_id


def test_yelp_reviews_are_read_as_they_are() -> None:
    review = {
        "review_id": "r1",
        "user_id": "u1",
        "business_id": "b1",
        "stars": 3.0,
        "date": "2018-07-07 22:09:11",
        "text": "Fine",
    }
    event = an_intake(mapping=PRESETS["yelp-reviews"]).read(json.dumps(review).encode(), b"u1", NOW)
    assert (event.event_id, event.item_id, event.type) == ("r1", "b1", EventType.REVIEW)
    assert event.occurred_at == datetime(2018, 7, 7, 22, 9, 11, tzinfo=UTC)


def test_dotted_paths_reach_into_objects_and_numbers_become_ids() -> None:
    mapping = EventMapping(
        fields={"user_id": ["author.id"], "text": ["body.raw"], "event_id": ["a.b"]},
        constants={"type": "comment"},
    )
    source = {
        "author": {"id": 42},
        "body": {"raw": "hi"},
        "a.b": "dotted",
        "occurred_at": GOOD["occurred_at"],
    }
    event = an_intake(mapping=mapping).read(json.dumps(source).encode(), b"42", NOW)
    assert (event.user_id, event.text, event.event_id) == ("42", "hi", "dotted")


def test_a_mapped_time_that_cannot_be_read_is_refused() -> None:
    mapping = EventMapping(time_format="epoch-seconds")
    for time in ("soon", 1e300, True):
        found = refusal(encode(occurred_at=time), intake=an_intake(mapping=mapping))
        assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, "occurred_at")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fields": {"colour": ["c"]}}, "'colour', which is no field"),
        ({"time_format": "pattern"}, "time_pattern goes with"),
        ({"time_pattern": "%Y"}, "time_pattern goes with"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventMapping(**arguments)


def test_the_limits_are_settings() -> None:
    intake = an_intake(max_text_chars=3, max_future_skew=timedelta(days=4000))
    assert refusal(encode(), intake=intake).reason is RefusalReason.TEXT_TOO_LONG
    event = intake.read(encode(text="abc", occurred_at="2030-01-01T00:00:00Z"), b"u1", NOW)
    assert event.occurred_at.year == 2030


def test_any_skew_may_be_set_without_a_time_that_python_lacks() -> None:
    intake = an_intake(max_future_skew=timedelta.max)
    value = encode(occurred_at="9999-12-31T23:59:59Z")
    assert intake.read(value, b"u1", NOW) == UserEvent(
        **intake.sift(value, b"u1", NOW)[0]._asdict()
    )
