"""How a mapping makes ids, and how it chooses among forms of record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.dead_letters import Refusal, RefusalReason
from schemas.events import UserEvent
from schemas.intake import RefusedError
from schemas.keys import decode_key
from schemas.mapping import PRESETS, EventMapping
from schemas.picking import MappingError
from tests.schemas.intakes import an_intake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE: dict[str, Any] = {
    "uid": "u1",
    "body": "Fine shoes",
    "review": {"id": "r1"},
    "shop": "s1",
    "type": "review",
    "occurred_at": "2025-06-01T12:00:00Z",
}
PATHS = {"user_id": ["uid"], "text": ["body"]}


def read(mapping: EventMapping, **changes: Any) -> UserEvent:
    source = {k: v for k, v in {**SOURCE, **changes}.items() if v is not ...}
    value = json.dumps(source).encode()
    intake = an_intake(mapping=mapping)
    return intake.read(value, intake.key_of(value) or b"?", NOW)


def refusal(mapping: EventMapping, **changes: Any) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        read(mapping, **changes)
    return caught.value.refusal


@pytest.mark.parametrize("absent", [..., None, ""])
def test_a_path_of_event_id_from_without_a_value_refuses_the_record_by_name(absent: Any) -> None:
    mapping = EventMapping(fields=PATHS, event_id_from=["uid", "order"])
    found = refusal(mapping, order=absent)
    assert (found.reason, found.field) == (RefusalReason.MISSING_FIELD, "order")
    assert "'order'" in found.detail
    assert "event_id_from" in found.detail
    assert "'order?'" in found.detail


def test_a_misspelt_path_never_gives_all_records_one_id() -> None:
    assert refusal(EventMapping(fields=PATHS, event_id_from=["reviewId"])).field == "reviewId"


def test_a_path_that_ends_in_a_question_mark_may_be_absent_but_not_all_of_them() -> None:
    mapping = EventMapping(fields=PATHS, event_id_from=["review.id?", "order?"])
    plain = EventMapping(fields=PATHS, event_id_from=["review.id", "order"])
    assert read(mapping).event_id != read(mapping, review={"id": "r2"}).event_id
    assert read(mapping, order="o").event_id == read(plain, order="o").event_id
    found = refusal(mapping, review=...)
    assert found.reason is RefusalReason.MISSING_FIELD
    assert "'review.id?'" in found.detail
    assert "'order?'" in found.detail


def test_a_field_of_the_source_may_itself_end_in_a_question_mark() -> None:
    fields = {**PATHS, "event_id": ["review.id"], "text": ["What did you like?"]}
    assert read(EventMapping(fields=fields), **{"What did you like?": "all"}).text == "all"


@pytest.mark.parametrize("field", ["event_id", "user_id"])
def test_an_id_joined_of_several_paths_needs_them_all(field: str) -> None:
    fields = {**PATHS, "event_id": ["review.id"]}
    mapping = EventMapping(fields={**fields, field: ["shop", "number"]})
    assert getattr(read(mapping, number=7), field) == "s1:7"
    found = refusal(mapping)
    assert (found.reason, found.field) == (RefusalReason.MISSING_FIELD, "number")
    assert f"fields.{field}" in found.detail
    optional = EventMapping(fields={**fields, field: ["shop", "number?"]})
    assert getattr(read(optional), field) == "s1"
    assert refusal(mapping, shop=..., number=7).field == "shop"
    assert refusal(EventMapping(fields={**fields, field: ["x", "y"]})).field == field


def test_one_event_id_for_all_events_is_no_mapping() -> None:
    with pytest.raises(ValueError, match="only a user's first would count"):
        EventMapping(constants={"event_id": "e"})


@pytest.mark.parametrize("field", ["event_id", "user_id"])
def test_a_whole_float_is_the_number_that_it_stands_for(field: str) -> None:
    fields = {**PATHS, "event_id": ["review.id"], field: ["number"]}
    mapping = EventMapping(fields=fields)
    for number in (104, 104.0, 1.04e2):
        assert getattr(read(mapping, number=number), field) == "104"
    assert getattr(read(mapping, number=2.0**53 - 1), field) == str(2**53 - 1)
    assert getattr(read(mapping, number=2**63 + 1), field) == str(2**63 + 1)
    joined = EventMapping(fields={**fields, field: ["shop", "number"]})
    assert getattr(read(joined, number=104.0), field) == "s1:104"


@pytest.mark.parametrize("number", [7.6e16, 2.0**53, 104.5, float("nan"), float("inf"), True, [1]])
@pytest.mark.parametrize("paths", [["number"], ["shop", "number"]])
@pytest.mark.parametrize("field", ["event_id", "user_id"])
def test_any_other_number_is_no_id(field: str, paths: list[str], number: object) -> None:
    fields = {**PATHS, "event_id": ["review.id"], field: paths}
    found = refusal(EventMapping(fields=fields), number=number)
    assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, field)
    assert field in found.detail
    if number != number:
        assert "NaN" in found.detail


def test_a_hashed_number_is_the_same_as_a_float_and_as_an_integer() -> None:
    mapping = EventMapping(fields=PATHS, event_id_from=["number"])
    assert read(mapping, number=104.0).event_id == read(mapping, number=104).event_id
    assert read(mapping, number="104").event_id == read(mapping, number=104).event_id
    assert read(mapping, number=104.5).event_id != read(mapping, number=104).event_id
    for number in (7.6e16, float("nan")):
        found = refusal(mapping, number=number)
        assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, "number")
        assert "event_id" in found.detail


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_key_and_a_field_give_a_number_one_id(number: int) -> None:
    mapping = EventMapping(fields={**PATHS, "event_id": ["review.id"], "user_id": ["n"]})
    assert read(mapping, n=float(number)).user_id == str(number)
    assert decode_key(json.dumps(float(number)).encode(), "json") == str(number)


def test_texts_are_joined_of_strings_and_numbers_only() -> None:
    mapping = EventMapping(fields={**PATHS, "event_id": ["review.id"], "text": ["title", "body"]})
    assert read(mapping, title=1984).text == "1984\n\nFine shoes"
    assert read(mapping, title=None).text == "Fine shoes"
    for title in (["SECRET"], {"a": "SECRET"}, True):
        found = refusal(mapping, title=title)
        assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, "text")
        assert "'title'" in found.detail
        assert "SECRET" not in found.detail
    assert "NaN" in refusal(mapping, title=float("nan")).detail


def test_a_mapped_time_that_is_no_number_is_named() -> None:
    mapping = EventMapping(
        fields={**PATHS, "event_id": ["review.id"]}, time_format=["epoch-seconds", "iso8601"]
    )
    found = refusal(mapping, occurred_at=float("nan"))
    assert (found.field, "NaN" in found.detail) == ("occurred_at", True)


NAMES = ["event_id", "user_id", "text", "item_id", "rating", "language", "occurred_at", "a", "b.c"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["u1", "", "[x]", "2024-02-01", "2024-02-01T12:00:00Z", "en,de", "5.0"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=5,
)
MAPPINGS = [
    EventMapping(),
    EventMapping(fields={"user_id": ["a", "b.c?"], "text": ["text", "a"]}, event_id_from=["a"]),
    EventMapping(fields={"item_id": ["a", "b.c"]}, time_format=["epoch-seconds", "iso8601"]),
    EventMapping(time_format="pattern", time_pattern="%Y-%m-%d", null_values=["[x]"]),
    *PRESETS.values(),
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON), st.sampled_from(MAPPINGS))
def test_any_object_is_read_or_refused_whatever_the_mapping(
    source: dict[str, Any], mapping: EventMapping
) -> None:
    value = json.dumps({"type": "review", **source}).encode()
    intake = an_intake(mapping=mapping)
    try:
        event, left_out = intake.sift(value, intake.key_of(value) or b"", NOW)
    except RefusedError:
        return
    assert event.user_id
    assert {*left_out} <= {"language", "item_id", "rating"}


class Closer(EventMapping):
    """A mapping that looks closer at every record, which is how all were picked once."""

    def _picked_at_once(self, source: Any) -> None:
        """Pick nothing at once."""


FORMS = [
    *(mapping for mapping in MAPPINGS if not mapping._picks_nothing),
    *(form for mapping in PRESETS.values() for form in mapping.alternatives),
    EventMapping(
        fields={name: ["a", "b.c", "text?"] for name in ("event_id", "item_id", "language")},
        null_values=["[x]", "en,de"],
    ),
]
PLAIN = st.sampled_from(["u1", "", "[x]", "en,de", 104, 104.0, 2**53, 2**70, True, None])


@given(st.sampled_from(FORMS), st.data())
def test_what_is_picked_at_once_is_what_a_closer_look_picks(
    mapping: EventMapping, data: st.DataObject
) -> None:
    mapping = mapping.model_copy(update={"when": [], "alternatives": []})
    closer = Closer(**mapping.model_dump())
    paths = {*mapping.event_id_from, *(path for _, each in mapping._paths for path in each)}
    names = st.sampled_from(sorted(paths | {path.removesuffix("?") for path in paths} | {"b"}))
    source = data.draw(st.dictionaries(names, PLAIN | JSON, max_size=9))
    assert picked(mapping, source) == picked(closer, source)


def picked(mapping: EventMapping, source: dict[str, Any]) -> object:
    try:
        return repr(sorted(mapping.apply(source).items()))
    except MappingError as error:
        return str(error), error.field, error.missing


def test_a_form_that_picks_nothing_is_known_whatever_was_asked_before() -> None:
    asked, unasked = (EventMapping(name="a", when=["event_id"]) for _ in range(2))
    assert not asked.is_identity
    source = {"event_id": 7, "user_id": "u1"}
    assert asked.apply(source) == unasked.apply(source) == source


def test_values_that_stand_for_none_are_none() -> None:
    mapping = EventMapping(
        fields={**PATHS, "event_id": ["review.id"]}, null_values=["[deleted]", "N/A"]
    )
    assert refusal(mapping, uid="[deleted]").reason is RefusalReason.MISSING_FIELD
    assert read(mapping, body="N/A").text is None


def test_one_path_may_stand_without_a_list() -> None:
    alone: dict[str, Any] = {"fields": {"user_id": "uid"}, "event_id_from": "a", "when": "b"}
    listed: dict[str, Any] = {"fields": {"user_id": ["uid"]}, "event_id_from": ["a"], "when": ["b"]}
    assert EventMapping(**alone) == EventMapping(**listed)


def test_a_constant_type_that_is_none_is_refused_at_once_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match=r"the type 'post', which is none; .* review,"):
        EventMapping(constants={"type": "post"})


@pytest.mark.parametrize("time", ["2025-06-01", "2025-06-01T12:00:00Z", "2025-06-01 12:00", 7e8])
def test_several_forms_of_time_may_stand_in_one_input(time: object) -> None:
    fields = {**PATHS, "event_id": ["review.id"]}
    mapping = EventMapping(fields=fields, time_format=["iso8601", "epoch-seconds"])
    assert read(mapping, occurred_at=time).occurred_at.tzinfo is UTC


def test_a_time_without_a_zone_is_refused_with_the_setting_that_reads_it() -> None:
    fields = {**PATHS, "event_id": ["review.id"]}
    for mapping in (
        EventMapping(fields=fields),
        EventMapping(fields=fields, time_format=["epoch-seconds"]),
    ):
        found = refusal(mapping, occurred_at="2025-06-01")
        assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, "occurred_at")
        assert "events.mapping.time_format" in found.detail


def test_a_time_of_year_1_far_in_the_east_is_refused_like_any_other() -> None:
    mapping = EventMapping(
        fields={**PATHS, "event_id": ["review.id"]},
        time_format="pattern",
        time_pattern="%Y-%m-%dT%H:%M:%S%z",
    )
    found = refusal(mapping, occurred_at="0001-01-01T00:00:00+14:00")
    assert (found.reason, found.field) == (RefusalReason.INVALID_FIELD, "occurred_at")


def test_a_record_is_read_by_the_first_form_that_fits_it() -> None:
    mapping = EventMapping(
        fields={**PATHS, "event_id": ["review.id"]},
        when=["uid", "body"],
        alternatives=[
            EventMapping(
                when=["who", "said"],
                fields={"user_id": ["who"], "text": ["said"], "event_id": ["review.id"]},
            )
        ],
    )
    assert read(mapping).text == "Fine shoes"
    assert read(mapping, uid=..., who="w", said="Aha").text == "Aha"
    # Of no form, it is read as the nearest, and says what that misses.
    assert refusal(mapping, uid=...).field == "user_id"


def test_a_line_has_its_key_whatever_else_is_wrong_with_it() -> None:
    intake = an_intake(mapping=EventMapping(fields=PATHS, time_format="epoch-seconds"))
    assert intake.key_of(json.dumps({**SOURCE, "occurred_at": "soon"}).encode()) == b"u1"
    assert intake.key_of(json.dumps({**SOURCE, "uid": None}).encode()) is None


def test_the_user_alone_is_found_in_any_form_whatever_else_is_wrong() -> None:
    find = an_intake(mapping=PRESETS["auto"]).user_finder()
    review = {"reviewerID": "u1", "asin": "B", "unixReviewTime": "never"}
    assert find(json.dumps(review).encode()) == "u1"
    with pytest.raises(RefusedError, match="no form that is known"):
        find(b'{"reviewer": "u1"}')
    mapped = an_intake(
        mapping=EventMapping(fields={"user_id": ["n"], "event_id": ["m"]})
    ).user_finder()
    assert mapped(b'{"n": 104.0, "m": 7.5}') == "104"
    with pytest.raises(RefusedError, match=r"2\^53"):
        mapped(b'{"n": 7.6e16}')
