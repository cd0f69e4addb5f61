"""Labels of users: what is read, and why a record is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.changes import SegmentChange
from schemas.dead_letters import RefusalReason
from schemas.intake import RefusedError
from schemas.label_model import LabelModelRecord
from schemas.profiles import ProfileRecord, ProfileSample
from schemas.user_labels import LabelGiven
from tests.schemas.intakes import a_label_intake

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def record(**changes: Any) -> bytes:
    values = {"user_id": "u-1", "label": "beer", "labelled_at": "2026-01-01T00:00:00Z"} | changes
    return json.dumps({name: value for name, value in values.items() if value != "gone"}).encode()


def read(value: bytes | None, key: bytes | None = b"u-1") -> LabelGiven:
    return a_label_intake().read(value, key, NOW)


def test_a_label_is_read() -> None:
    assert read(record()) == LabelGiven("u-1", "beer")
    assert read(record(label="飲料 & more", other=1)) == LabelGiven("u-1", "飲料 & more")


def test_null_and_a_record_without_a_value_withdraw_a_label() -> None:
    assert read(record(label=None)) == LabelGiven("u-1", None)
    assert read(None) == LabelGiven("u-1", None)


@pytest.mark.parametrize(
    ("value", "key", "reason", "field"),
    [
        (record(user_id="gone"), b"u-1", RefusalReason.MISSING_FIELD, "user_id"),
        (record(label="gone"), b"u-1", RefusalReason.MISSING_FIELD, "label"),
        (record(labelled_at="gone"), b"u-1", RefusalReason.MISSING_FIELD, "labelled_at"),
        (record(label=""), b"u-1", RefusalReason.INVALID_FIELD, "label"),
        (record(label=" beer"), b"u-1", RefusalReason.INVALID_FIELD, "label"),
        (record(label="a\nb"), b"u-1", RefusalReason.INVALID_FIELD, "label"),
        (record(label="x" * 65), b"u-1", RefusalReason.INVALID_FIELD, "label"),
        (record(label=3), b"u-1", RefusalReason.INVALID_FIELD, "label"),
        (record(labelled_at="2026-01-01"), b"u-1", RefusalReason.INVALID_FIELD, "labelled_at"),
        (record(labelled_at="2027-01-01T00:00:00Z"), b"u-1", RefusalReason.TIME_IN_FUTURE,
         "labelled_at"),
        (record(), None, RefusalReason.MISSING_KEY, "key"),
        (record(), b"u-2", RefusalReason.KEY_MISMATCH, "key"),
        (None, None, RefusalReason.MISSING_KEY, "key"),
        (None, b"\xff", RefusalReason.INVALID_FIELD, "key"),
        (b"{", b"u-1", RefusalReason.INVALID_JSON, None),
        (b"[]", b"u-1", RefusalReason.INVALID_JSON, None),
        (b"\xff", b"u-1", RefusalReason.INVALID_UTF8, None),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_used_is_refused_with_a_reason(
    value: bytes | None, key: bytes | None, reason: RefusalReason, field: str | None
) -> None:
    with pytest.raises(RefusedError) as caught:
        read(value, key)
    refusal = caught.value.refusal
    assert (refusal.reason, refusal.field) == (reason, field)
    assert len(refusal.detail) > 10


def test_a_byte_order_mark_and_nan_in_a_field_that_nobody_reads_cost_no_label() -> None:
    assert read(b"\xef\xbb\xbf" + record()) == LabelGiven("u-1", "beer")
    assert read(record(score=float("nan"))) == LabelGiven("u-1", "beer")
    with pytest.raises(RefusedError, match="label: is NaN"):
        read(record(label=float("nan")))
    with pytest.raises(RefusedError, match="UTF-16"):
        read(record().decode().encode("utf-16"))


@pytest.mark.parametrize("user", [104.0, 7.6e16, 104, True])
def test_a_user_of_a_label_is_a_string(user: object) -> None:
    with pytest.raises(RefusedError, match="user_id"):
        read(record(user_id=user), b"104")


def test_the_skew_that_is_allowed_can_be_set() -> None:
    wide = a_label_intake(timedelta(days=365))
    assert wide.read(record(labelled_at="2027-01-01T00:00:00Z"), b"u-1", NOW).label == "beer"


# --- records that other processes read ----------------------------------------------------------

PROFILE: dict[str, Any] = {
    "user_id": "u-1", "embedding": "ab" * 32, "vector": "", "weight": 1.0,
    "reference_time": "2026-01-01T00:00:00Z", "events": 1, "repeats": 0, "recent_events": "",
    "terms": {}, "segment": None, "segment_label": None, "segment_since_event": 0, "sequence": 0,
}  # fmt: skip


def test_without_labels_profiles_and_samples_are_written_as_ever() -> None:
    assert "labels" not in ProfileRecord(**PROFILE).model_dump_json()
    sample = ProfileSample(
        user_id="u", embedding="ab" * 32, vector="", weight=1, terms={}, updated_at=NOW
    )
    assert not {"label", "sampled"} & json.loads(sample.model_dump_json()).keys()
    assert sample.sampled


def test_labels_of_a_profile_come_back() -> None:
    labels = {"given": "beer", "predicted": "tea", "since_event": 3, "model_version": 2}
    text = ProfileRecord(**PROFILE, labels=labels).model_dump_json()
    assert ProfileRecord.model_validate_json(text).labels.model_dump() == labels


CHANGE: dict[str, Any] = {
    "user_id": "u-1", "sequence": 2, "status": "labelled",
    "segment": {"id": 1, "label": "a"}, "previous_segment": {"id": 1, "label": "a"},
    "reason": "label_changed", "changed_at": NOW, "occurred_at": None, "distance": 0.5,
    "previous_distance": 0.5, "margin": None, "confidence": None,
    "profile": {"events": 1, "weight": 1.0, "updated_at": NOW},
    "model": {"embedding": "ab" * 32, "version": 1}, "source": None,
    "label": {"name": "beer", "probability": 0.9, "previous": None, "version": 4},
}  # fmt: skip


def test_a_change_of_the_label_alone_is_a_change() -> None:
    change = SegmentChange(**CHANGE)
    assert SegmentChange.model_validate_json(change.model_dump_json()) == change
    nowhere = {"segment": None, "previous_segment": None}
    assert SegmentChange(**CHANGE | nowhere).status == "labelled"


def test_its_id_follows_from_the_label_model() -> None:
    change = SegmentChange(**CHANGE)
    other = SegmentChange(**CHANGE | {"model": {"embedding": "ab" * 32, "version": 9}})
    assert other.id == change.id
    assert SegmentChange(**CHANGE | {"label": CHANGE["label"] | {"version": 5}}).id != change.id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"previous_segment": {"id": 2, "label": "b"}}, "two different segments"),
        ({"label": None}, "needs a label that differs"),
        ({"label": CHANGE["label"] | {"previous": "beer"}}, "needs a label that differs"),
        ({"reason": "behaviour"}, "does not fit the reason"),
        ({"status": "switched"}, "does not fit the reason"),
    ],
)
def test_a_change_that_contradicts_itself_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SegmentChange(**CHANGE | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confusion": [[1]]}, "confusion is not 2 by 2"),
        ({"labels": [{"name": "a", "examples": 1, "intercept": 0, "weights": ""}] * 2}, "twice"),
    ],
)
def test_a_label_model_that_contradicts_itself_is_refused(changes: dict, message: str) -> None:
    label = {"examples": 1, "intercept": 0.0, "weights": ""}
    given = {
        "version": 1, "embedding": "ab" * 32, "dimensions": 1, "classifier": "svm",
        "labels": [label | {"name": "a"}, label | {"name": "b"}], "examples": 2, "left_out": 0,
        "confusion": [[0, 0], [0, 0]], "learned_up_to": 0, "seed": 0,
    }  # fmt: skip
    LabelModelRecord(**given)
    with pytest.raises(ValidationError, match=message):
        LabelModelRecord(**given | changes)
