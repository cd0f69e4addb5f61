"""What can be read of attributes and related users stays; no event is lost by the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.events import UserEvent
from schemas.mapping import EventMapping
from tests.schemas.intakes import an_intake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = {
    "event_id": "e1",
    "user_id": "u1",
    "type": "review",
    "text": "Fits well.",
    "occurred_at": "2025-06-01T12:00:00Z",
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=140),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=70), inner),
    max_leaves=50,
)


def read(mapping: EventMapping | None = None, **fields: Any) -> tuple[UserEvent, tuple[str, ...]]:
    return an_intake(mapping).judge(json.dumps({**EVENT, **fields}).encode(), b"u1", NOW)


@given(ANY_JSON, ANY_JSON)
@example({str(number): "x" for number in range(17)}, [str(number) for number in range(33)])
@example({"a": "x" * 129, "b" * 65: "x", "c": 1e999, "d": {}}, ["x" * 257, 7.5, True, {}])
@example({"n": 10**300}, 10**300)
def test_whatever_they_hold_the_event_counts_and_what_is_kept_is_within_the_contract(
    attributes: Any, related: Any
) -> None:
    value = json.dumps({**EVENT, "attributes": attributes, "related_users": related})
    event, left_out = an_intake().judge(value.encode("utf-8", "replace"), b"u1", NOW)
    assert UserEvent.model_validate(event.model_dump()) == event
    assert {*left_out} <= {"attributes", "related_users"}
    # What is counted as whole has every entry that says something.
    if "attributes" not in left_out:
        said = {name for name, each in (attributes or {}).items() if each not in (None, "")}
        assert {*(event.attributes or {})} >= said
    if "related_users" not in left_out:
        several = related if isinstance(related, list) else [related]
        assert len(event.related_users or []) == len([each for each in several if each is not None])


def test_what_is_good_among_them_stays_and_the_field_is_counted_once() -> None:
    attributes = {"country": "DE", "age": 41, "member": True, "score": 0.5, "tags": ["a"], "": "x"}
    event, left_out = read(attributes=attributes, related_users=["u2", 7, 7.5, None, "u3"])
    assert event.attributes == {"country": "DE", "age": "41", "member": "true", "score": "0.5"}
    assert event.related_users == ["u2", "7", "u3"]
    assert left_out == ("attributes", "related_users")


def test_what_is_read_without_loss_is_not_counted() -> None:
    event, left_out = read(attributes={"age": 41, "city": None, "plan": ""}, related_users="u2")
    assert (event.attributes, event.related_users, left_out) == ({"age": "41"}, ["u2"], ())


@pytest.mark.parametrize("absent", [{}, {"attributes": None, "related_users": None}])
def test_an_event_without_them_has_none(absent: dict[str, None]) -> None:
    event, left_out = read(**absent)
    assert (event.attributes, event.related_users, left_out) == (None, None, ())


def test_a_mapping_finds_each_attribute_and_all_related_users() -> None:
    mapping = EventMapping(
        fields={"related_users": ["friends", "replied_to"]},
        attributes={"country": "author.country", "channel": "via", "plan": "plan"},
        null_values=["unknown"],
    )
    event, left_out = read(
        mapping,
        author={"country": "DE"},
        via="app",
        plan="unknown",
        friends=["u2", "u3"],
        replied_to=9,
        attributes={"own": "is not asked for"},
    )
    assert event.attributes == {"country": "DE", "channel": "app"}
    assert (event.related_users, left_out) == (["u2", "u3", "9"], ())


def test_a_mapping_may_name_objects_that_hold_attributes() -> None:
    event, _ = read(
        EventMapping(fields={"attributes": ["author", "shop"]}),
        author={"country": "DE"},
        shop={"channel": "web"},
    )
    assert event.attributes == {"country": "DE", "channel": "web"}


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"fields": {"attributes": "a"}, "attributes": {"b": "b"}}, "fields.attributes"),
        ({"constants": {"related_users": "u1"}}, "related_users a constant"),
        ({"attributes": {str(number): "a" for number in range(17)}}, "names 17 attributes"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EventMapping(**mapping)
