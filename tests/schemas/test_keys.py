"""Keys as the user id or as JSON, and values and keys in a schema registry's framing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import Refusal, RefusalReason
from schemas.framing import unframe
from schemas.intake import OTHER_FORMS, RefusedError
from schemas.keys import KeyForm, decode_key, encode_key
from schemas.user_labels import LabelGiven
from tests.schemas.intakes import a_label_intake, an_intake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FRAME = b"\x00" + (42).to_bytes(4, "big")


def event(user: str = "u1") -> bytes:
    return json.dumps(
        {
            "event_id": "e1",
            "user_id": user,
            "type": "review",
            "text": "SECRET words",
            "occurred_at": "2025-06-01T12:00:00Z",
        }
    ).encode()


def refusal(value: bytes, key: bytes, form: KeyForm = "raw") -> Refusal:
    with pytest.raises(RefusedError) as caught:
        an_intake(key=form).read(value, key, NOW)
    return caught.value.refusal


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("u1", b'"u1"'),
        ("u1", b' "u\\u0031" '),
        ("飲", '"飲"'.encode()),
        ("17", b"17"),
        ("17", b'"17"'),
        ("17", b"17.0"),
        ("-3", b"-3"),
        (str(2**60 + 1), str(2**60 + 1).encode()),
        ("u1", FRAME + b'"u1"'),
        ("u1", b'{"schema": {"type": "string", "optional": false}, "payload": "u1"}'),
    ],
)
def test_a_json_key_is_the_user_id_as_a_string_or_number(user: str, key: bytes) -> None:
    assert an_intake(key="json").read(event(user), key, NOW).user_id == user


@pytest.mark.parametrize(
    "key",
    [b"", b'"u2"', b'"u1', b'["u1"]', b"null", b"true", b"1e300", b"9" * 5000, b"NaN",
     b'{"payload": "u1"}', b"\xff", FRAME, FRAME + b"u1"],
)  # fmt: skip
def test_a_json_key_that_is_not_the_user_is_refused(key: bytes) -> None:
    found = refusal(event(), key, "json")
    assert (found.reason, found.field) == (RefusalReason.KEY_MISMATCH, "key")


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_what_is_written_as_a_key_is_read_as_the_same_user(user: str) -> None:
    assert decode_key(encode_key(user, "json"), "json") == user
    assert decode_key(encode_key(user, "raw"), "raw") == user


@pytest.mark.parametrize(
    ("key", "form", "other"),
    [(b'"u1"', "raw", "json"), (FRAME + b'"u1"', "raw", "json"), (b"u1", "json", "raw")],
)
def test_a_key_of_the_other_form_is_refused_with_the_setting_that_reads_it(
    key: bytes, form: KeyForm, other: KeyForm
) -> None:
    found = refusal(event(), key, form)
    assert found.reason is RefusalReason.KEY_MISMATCH
    assert f"set events.key = {other}" in found.detail
    # So that it may stand in a log.
    assert "u1" not in found.detail
    assert found.detail in OTHER_FORMS


def test_a_record_without_a_key_is_refused_with_what_gives_it_one() -> None:
    with pytest.raises(RefusedError, match="segmenter intake"):
        an_intake().read(event(), None, NOW)
    with pytest.raises(RefusedError, match=r"no key; it must be the user_id$"):
        a_label_intake().read(None, None, NOW)


def test_a_file_s_events_get_the_keys_that_the_settings_say() -> None:
    assert an_intake().key_of(event()) == b"u1"
    assert an_intake(key="json").key_of(event()) == b'"u1"'
    assert an_intake(key="json").key_of(b"{}") is None


def test_labels_have_a_form_of_keys_too() -> None:
    label = json.dumps(
        {"user_id": "u1", "label": "beer", "labelled_at": "2025-01-01T00:00:00Z"}
    ).encode()
    assert a_label_intake(key="json").read(label, b'"u1"', NOW) == LabelGiven("u1", "beer")
    assert a_label_intake(key="json").read(None, b'"u1"', NOW) == LabelGiven("u1", None)
    assert a_label_intake().read(FRAME + label, b"u1", NOW) == LabelGiven("u1", "beer")
    with pytest.raises(RefusedError, match=r"set labels\.key = json"):
        a_label_intake().read(label, b'"u1"', NOW)
    with pytest.raises(RefusedError, match="user_id as JSON"):
        a_label_intake(key="json").read(None, b"u1", NOW)


def test_json_in_a_schema_registry_s_framing_is_read() -> None:
    assert unframe(FRAME + b"{}") == (b"{}", 42)
    assert unframe(b"{}") == (b"{}", None)
    assert unframe(b"\x00\x01") == (b"\x00\x01", None)
    assert an_intake().read(FRAME + event(), b"u1", NOW).user_id == "u1"
    assert an_intake().key_of(FRAME + event()) == b"u1"


@pytest.mark.parametrize(
    "payload", [b"", b"\x02\x0cu1 wrote\x80\xff", b"\x00\x0a\x02u1", b"{ by chance", b"[]"]
)
def test_avro_and_protobuf_are_refused_with_the_id_of_their_schema(payload: bytes) -> None:
    found = refusal(FRAME + payload, b"u1")
    assert found.reason is RefusalReason.INVALID_JSON
    assert "schema id 42" in found.detail
    assert "JSON Schema" in found.detail


def test_no_refusal_of_a_framed_value_quotes_it() -> None:
    assert "SECRET" not in refusal(FRAME + event()[:-1], b"u1").detail
