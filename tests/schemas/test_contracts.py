"""The contracts: generated files, ids of changes, CloudEvents, and that nothing is half filled."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.arrays import decode_array, encode_array
from schemas.base import Base64
from schemas.changes import (
    ChangeCause,
    ChangeReason,
    ChangeStatus,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    SourceRef,
    cause_of,
    cloudevents_headers,
    structured_cloudevent,
)
from schemas.generate import CONTRACTS, FOLDER, render
from schemas.lifecycle import (
    LifecycleEvent,
    TransitionType,
    lifecycle_headers,
    structured_lifecycle_event,
)

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def change(**changes: object) -> SegmentChange:
    values: dict[str, object] = {
        "user_id": "u1",
        "sequence": 1,
        "status": ChangeStatus.ENTERED,
        "segment": SegmentRef(id=3, label="hops, malt"),
        "previous_segment": None,
        "reason": ChangeReason.BEHAVIOUR,
        "changed_at": TIME,
        "occurred_at": TIME,
        "distance": 0.5,
        "previous_distance": None,
        "margin": None,
        "profile": ProfileSummary(events=1, weight=1.0, updated_at=TIME),
        "model": ModelRef(embedding="a" * 64, version=1),
        "source": SourceRef(topic="user-events", partition=0, offset=7, event_id="e1"),
    }
    return SegmentChange.model_validate({**values, **changes})


def test_a_change_from_before_there_was_a_confidence_is_read_without_one() -> None:
    old = change(confidence=0.5).model_dump(mode="json")
    del old["confidence"]
    assert SegmentChange.model_validate(old).confidence is None


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_confidence_is_a_share(value: float) -> None:
    with pytest.raises(ValidationError, match="confidence"):
        change(confidence=value)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_checked_in_schema_is_the_generated_one(name: str) -> None:
    written = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert written == render(name), "run: python -m schemas.generate"


def test_no_schema_file_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{n}.schema.json" for n in CONTRACTS}


def test_a_retry_elsewhere_gives_the_same_id() -> None:
    moved = SourceRef(topic="copy", partition=5, offset=99, event_id="e1")
    assert change().id == change(source=moved, changed_at=TIME.replace(year=2027)).id
    name = "u1\nevent:e1\n1"
    assert change().id == str(uuid.uuid5(uuid.UUID("6b0d8f4e-3b0c-4f0e-9a55-0f1f4c1d7f52"), name))


def test_another_cause_user_or_turn_gives_another_id() -> None:
    other_event = SourceRef(topic="user-events", partition=0, offset=7, event_id="e2")
    ids = {
        change().id,
        change(source=other_event).id,
        change(user_id="u2").id,
        change(sequence=2).id,
        change(source=None).id,
        change(source=None, model=ModelRef(embedding="a" * 64, version=2)).id,
    }
    assert len(ids) == 6


@pytest.mark.parametrize(
    ("status", "segment", "previous"),
    [
        (ChangeStatus.SWITCHED, True, False),
        (ChangeStatus.ENTERED, True, True),
        (ChangeStatus.EXITED, False, False),
        (ChangeStatus.EXITED, True, True),
    ],
)
def test_a_status_that_contradicts_the_segments_is_refused(status, segment, previous) -> None:
    ref = SegmentRef(id=1, label="x")
    with pytest.raises(ValidationError, match="does not fit"):
        change(
            status=status,
            segment=ref if segment else None,
            previous_segment=ref if previous else None,
        )


def let_go(**changes: object) -> SegmentChange:
    values = {"status": ChangeStatus.EXITED, "reason": ChangeReason.INACTIVE, "segment": None}
    return change(**{**values, "source": None, "occurred_at": None, "distance": None, **changes})


@pytest.mark.parametrize("previous", [None, SegmentRef(id=1, label="x")])
def test_a_user_is_let_go_from_a_segment_or_from_none(previous: SegmentRef | None) -> None:
    assert let_go(previous_segment=previous).segment is None


@pytest.mark.parametrize(
    "changes",
    [{"segment": SegmentRef(id=1, label="x")}, {"status": ChangeStatus.SWITCHED}],
    ids=["into a segment", "by another status"],
)
def test_a_user_who_is_let_go_is_nowhere(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="does not fit the reason inactive"):
        let_go(**changes)


def test_a_change_says_whose_doing_it_is_and_not_another_ones() -> None:
    assert change(cause=ChangeCause.USER).cause == "user"
    for cause in (ChangeCause.MODEL, ChangeCause.OPERATOR):
        with pytest.raises(ValidationError, match=f"cause {cause} does not fit the reason beh"):
            change(cause=cause)
    assert cause_of(ChangeReason.LABEL_CHANGED, by_event=True) is ChangeCause.USER
    assert cause_of(ChangeReason.LABEL_CHANGED, by_event=False) is ChangeCause.MODEL


def test_every_reason_has_a_cause() -> None:
    found = {reason: cause_of(reason, by_event=False) for reason in ChangeReason}
    assert {reason for reason, cause in found.items() if cause is ChangeCause.USER} == {
        ChangeReason.BEHAVIOUR,
        ChangeReason.FIRST_ASSIGNMENT,
        ChangeReason.INACTIVE,
    }


def test_a_change_from_before_there_were_causes_keeps_its_bytes_and_headers() -> None:
    value = change().model_dump_json()
    assert "cause" not in value
    assert SegmentChange.model_validate_json(value).model_dump_json() == value
    assert "ce_cause" not in dict(cloudevents_headers(change(), "shop"))
    assert dict(cloudevents_headers(change(cause="user"), "shop"))["ce_cause"] == b"user"
    assert structured_cloudevent(change(cause="user"), "shop")["cause"] == "user"


def test_a_change_whose_cause_is_of_a_later_version_is_read_and_not_known() -> None:
    later = change(cause="weather")
    assert (later.cause, later.is_known) == ("weather", False)


def test_a_user_who_falls_silent_twice_is_let_go_under_two_ids() -> None:
    later = ProfileSummary(events=1, weight=1.0, updated_at=TIME.replace(year=2027))
    assert let_go().id != let_go(profile=later).id
    assert let_go().id == let_go(changed_at=TIME.replace(year=2028)).id


def test_a_change_survives_json() -> None:
    assert SegmentChange.model_validate_json(change().model_dump_json()) == change()


def test_headers_are_cloudevents_in_binary_mode() -> None:
    headers = dict(cloudevents_headers(change(), "shop"))
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"].decode() == change().id
    assert headers["ce_source"] == b"shop"
    assert headers["ce_subject"] == b"u1"
    assert headers["ce_time"] == b"2026-01-01T00:00:00Z"
    assert headers["content-type"] == b"application/json"


def test_the_structured_form_carries_the_same() -> None:
    event = structured_cloudevent(change(), "shop")
    assert event["id"] == change().id
    assert event["datacontenttype"] == "application/json"
    assert SegmentChange.model_validate(event["data"]) == change()


def lifecycle_event(**changes: object) -> LifecycleEvent:
    values: dict[str, object] = {
        "type": TransitionType.SPLIT,
        "segment": 3,
        "label": "hops, malt",
        "parents": [],
        "children": [3, 8],
        "successor": None,
        "size_before": 10,
        "size": 6,
        "flows": [],
        "version": 4,
        "at": TIME,
    }
    return LifecycleEvent.model_validate({**values, **changes})


def test_a_lifecycle_event_is_known_by_version_segment_and_type_alone() -> None:
    event = lifecycle_event()
    assert event.id == lifecycle_event(at=TIME.replace(year=2027), label="x", size=1).id
    assert uuid.UUID(event.id).version == 5
    others = {"version": 5, "segment": 8, "type": TransitionType.RETIRED}
    ids = {lifecycle_event(**{name: value}).id for name, value in others.items()}
    assert len({event.id, *ids}) == 4
    assert LifecycleEvent.model_validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize("kind", TransitionType)
def test_a_lifecycle_event_is_a_cloudevent_of_its_type(kind: TransitionType) -> None:
    event = lifecycle_event(type=kind)
    headers = dict(lifecycle_headers(event, "shop"))
    assert headers["ce_type"].decode() == f"segmenter.segment.{kind}.v1"
    assert headers["ce_id"].decode() == event.id
    assert (headers["ce_subject"], headers["ce_time"]) == (b"3", b"2026-01-01T00:00:00Z")
    told = structured_lifecycle_event(event, "shop")
    assert (told["type"], told["subject"]) == (headers["ce_type"].decode(), "3")
    assert LifecycleEvent.model_validate(told["data"]) == event


def test_arrays_survive_base64_bit_for_bit() -> None:
    values = np.array([0.1, -0.0, 1e-45], np.float32)
    assert decode_array(encode_array(values, "<f4"), "<f4").tobytes() == values.tobytes()


def test_what_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own message
        decode_array("not base64!", "<f4")


@given(st.one_of(st.binary(max_size=20).map(base64.b64encode), st.text("Az+/=09", max_size=9)))
def test_the_pattern_of_base64_takes_what_the_strict_decoder_takes(given_text) -> None:
    text = given_text.decode() if isinstance(given_text, bytes) else given_text
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        canonical = False
    else:
        # The decoder lets too much padding pass, which nobody writes.
        canonical = len(base64.b64encode(decoded)) == len(text)
    adapter = TypeAdapter(Base64)
    if canonical:
        assert adapter.validate_python(text) == text
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(text)
