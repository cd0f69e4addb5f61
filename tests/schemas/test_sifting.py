"""Events read at once are those that the contract makes, and nothing else is read at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.dead_letters import Refusal
from schemas.decoding import MOST_BYTES, MOST_OPENED
from schemas.events import EventType, UserEvent
from schemas.intake import Intake, RefusedError
from schemas.mapping import PRESETS
from schemas.sifting import SiftedColumns, SiftedEvent, sift_all_json, sift_json
from tests.schemas.intakes import an_intake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = {
    "event_id": "e1",
    "user_id": "u1",
    "type": "review",
    "text": "Fits well.",
    "language": "en",
    "item_id": "i1",
    "item_title": "Shoe",
    "rating": 4.5,
    "occurred_at": "2025-06-01T12:00:00.123Z",
    "attributes": {"country": "DE"},
    "related_users": ["u2"],
}
FRAME = b"\0\0\0\0\x07"
BOM = b"\xef\xbb\xbf"


def outcome(read: Callable[..., Any], value: bytes | None, key: bytes | None) -> object:
    """Give all that a reading comes to, so that 4 and 4.0 differ, and two zones of one time."""
    try:
        event, left_out = read(value, key, NOW)
    except RefusedError as error:
        return error.refusal
    if isinstance(event, UserEvent):
        event = SiftedEvent.of(event)
    return repr(event), [type(each) for each in event], left_out


def agree(value: bytes | None, key: bytes | None = b"u1", intake: Intake | None = None) -> None:
    intake = intake or an_intake()
    assert outcome(intake.sift, value, key) == outcome(intake.judge, value, key)
    assert user(intake.user_finder(), value) == user(intake.judge_user, value)


def user(find: Callable[[bytes | None], str], value: bytes | None) -> object:
    try:
        return find(value)
    except RefusedError as error:
        return error.refusal


def agree_at_once(values: list[bytes]) -> int:
    """See that what is read of many at once is what is read of each; give how many are."""
    read = sift_all_json(values)
    for place, number in enumerate(read.numbers):
        event = sift_json(values[number])
        own = {
            "event_ids": event.event_id,
            "users": event.user_id,
            "types": event.type.value,
            "texts": event.text,
            "languages": event.language,
            "titles": event.item_title,
            "times": event.microseconds,
            "items": event.item_id,
            "ratings": event.rating,
            "attributes": event.attributes,
            "related_users": event.related_users,
        }
        assert {name: repr(getattr(read, name)[place]) for name in own} == {
            name: repr(value) for name, value in own.items()
        }
    return len(read.numbers)


# What is written in the place of a value, as JSON or nearly.
NUMBERS = ["0", "-0", "-0.0", "01", "1.", ".5", "+1", "1e5", "1E400", "-1e400", "5e-324", "1_0"]
NUMBERS += ["104.0", "9007199254740993", "9" * 30, "9" * 400, "-" + "9" * 5000, "0." + "1" * 5000]
NUMBERS += ["NaN", "Infinity", "-Infinity", "nan", "inf", "0x1F", "1e", "--1"]
TEXTS = [
    "",
    "a",
    " a ",
    "en-US",
    "NaN",
    "é",
    "\U0001f600",
    "\0",
    "\x7f",
    "\u2028",
    "\ufeff",
    "a" * 35,
]
TEXTS += ["a" * 36, "a" * 256, "a" * 257, "é" * 256, "é" * 257, "\U0001f600" * 256, "x" * 100_001]
ESCAPES = [r'"\ud800"', r'"\udc00"', r'"\ud83d\ude00"', r'"\ude00\ud83d"', r'"\u0000"', r'"\x41"']
ESCAPES += [r'"\u00e9"', r'"\/"', r'"\u12"', '"\t"', '"\n"', '"\x01"', '"a', "'a'", r'"\"', r'"\\"']
TIMES = ["2025-06-01T12:00:00Z", "2025-06-01t12:00:00z", "2025-06-01 12:00:00+00:00", "2025-06-01"]
TIMES += ["2025-06-01T12:00:00", "2025-06-01T12:00Z", "20250601T120000Z", "2025-W22-7T12:00:00Z"]
TIMES += ["2025-06-01T12:00:00,5Z", "2025-06-01T12:00:00.Z", "2025-06-01T12:00:00.1234567891Z"]
TIMES += ["2025-06-01T12:00:00+0200", "2025-06-01T12:00:00+02", "2025-06-01T12:00:00+02:00:30"]
TIMES += ["2025-06-01T24:00:00Z", "2025-06-01T23:59:60Z", "2025-02-30T12:00:00Z", "1e9", "Z"]
TIMES += ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z"]
TIMES += ["2025-06-01T12:00:00+24:00", "2025-06-01T12:00:00-23:59", "2025-06-01T12:00:00+05:60"]
TIMES += ["\uff12025-06-01T12:00:00Z", "2025-06-01T12:00:00.\uff11Z", "2025-06-01x12:00:00Z"]
TIMES += ["2025-06-01T12:00:00Z\n", " 2025-06-01T12:00:00Z", "1990-01-01T00:00:00Z"]
TIMES += ["1989-12-31T23:59:59.999999Z", "2026-01-01T01:00:00Z", "2026-01-01T01:00:00.000001Z"]
TIMES += ["2026-01-01T01:00:00.0000009Z", "2025-06-01T12:00:00-00:00", "-025-06-01T12:00:00Z"]
NESTED = ["null", "true", "false", "[]", "{}", '["en"]', '{"a": {"user_id": "u1"}}', "[1,]", ""]
NESTED += ['{"country":"DE","age":41,"member":true,"":"x","city":null}', '["u2",7,7.5,"",null]']
NESTED += [json.dumps({str(number): "x" for number in range(count)}) for count in (16, 17)]
NESTED += [json.dumps([str(number) for number in range(count)]) for count in (32, 33)]
NESTED += ["[" * depth + "]" * depth for depth in range(196, 206)]
NESTED += ['{"a":' * depth + "1" + "}" * depth for depth in range(196, 206)]
WORDS = [*NUMBERS, *ESCAPES, *NESTED]
WORDS += [json.dumps(each, ensure_ascii=escaped) for each in [*TEXTS, *TIMES] for escaped in (0, 1)]
WORDS += [json.dumps(each.value) for each in EventType] + ['"Review"', '"poke"', '"review "']

NAMES = st.sampled_from([*GOOD, "tags", "price", "\u0000", "", "User_id", "user\\u005fid"])
ANY_TIME = st.from_regex(
    r"\A[0-2]\d{3}-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-5]\d:[0-6]\d"
    r"(\.\d{0,10})?([Zz]|[+-][0-2]\d:?[0-6]\d)?\Z"
)
ANY_VALUE = st.one_of(
    st.sampled_from(WORDS),
    ANY_TIME.map(json.dumps),
    st.floats().map(json.dumps),
    st.integers().map(json.dumps),
    st.text(max_size=40).map(json.dumps),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    ).map(json.dumps),
)
FIELDS = st.lists(st.tuples(NAMES, ANY_VALUE), max_size=4)
BLANK = st.sampled_from(["", " ", "\n", "\t", "\r\n", "\v", "\u00a0", "\ufeff", "\0", "//x"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Make an event some of whose fields are gone, others there twice, in any order."""
    base = [(name, json.dumps(value)) for name, value in GOOD.items()]
    gone = draw(st.sets(NAMES, max_size=1))
    pairs = [pair for pair in base if pair[0] not in gone] + draw(FIELDS)
    pairs = draw(st.permutations(pairs))
    blank = draw(BLANK) if draw(st.booleans()) else ""
    body = ",".join(f'{blank}"{name}":{blank}{value}' for name, value in pairs)
    return (blank + "{" + body + "}" + blank).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Put, take away or change some bytes of an event, or set something before it."""
    data = bytearray(draw(objects()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return draw(st.sampled_from([b"", b"", BOM, FRAME, FRAME + BOM, b"\0", b" "])) + bytes(data)


KEYS = st.sampled_from([b"u1", b"u1", b"u1", None, b"", b"u2", b"\xff", b'"u1"', b"\xef\xbb\xbfu1"])


@given(objects(), KEYS)
@settings(max_examples=600)
def test_any_event_comes_to_what_the_contract_makes_of_it(value: bytes, key: bytes | None) -> None:
    agree(value, key)
    agree(value, key, an_intake(key="json"))


@given(damaged(), KEYS)
@settings(max_examples=400)
def test_any_damaged_event_comes_to_what_the_contract_makes_of_it(
    value: bytes, key: bytes | None
) -> None:
    agree(value, key)


@given(st.lists(objects() | damaged(), min_size=1, max_size=3))
@settings(max_examples=150)
def test_many_at_once_are_what_each_is(values: list[bytes]) -> None:
    agree_at_once(values)


def test_each_value_in_each_field_is_at_once_what_it_is_alone() -> None:
    """Neither is anything read that no event may hold, nor is it read as anything else."""
    values, names = [], [*GOOD, "tags"]
    for name in names:
        others = [f'"{key}":{json.dumps(value)}' for key, value in GOOD.items() if key != name]
        values += [
            ("{" + ",".join([f'"{name}":{word}', *others]) + "}").encode("utf-8", "surrogatepass")
            for word in WORDS
        ]
    assert agree_at_once(values) > len(names)


@pytest.mark.parametrize("unread", ["\xff", "[" * 250 + "]" * 250, "9" * 5000])
def test_what_is_read_at_once_holds_nothing_that_the_contract_refuses(unread: str) -> None:
    """msgspec itself reads such records, for it looks at no field that it does not know."""
    good = json.dumps(GOOD).encode()
    shown = f'"{unread}"' if unread == "\xff" else unread
    bad = good[:-1] + b',"tags":' + shown.encode("latin-1") + b"}"
    assert sift_all_json([good, bad, good]).numbers == [0, 2]
    assert isinstance(outcome(an_intake().sift, bad, b"u1"), Refusal)


@pytest.mark.parametrize(
    "tags",
    ["x" * MOST_BYTES, ["x"] * 500, [[]] * (MOST_OPENED + 1), float("nan")],
)
def test_what_is_not_read_at_once_is_read_all_the_same(tags: object) -> None:
    value = json.dumps({**GOOD, "tags": tags}).encode()
    agree(value)
    sifted, others = an_intake().sift_all([value], [b"u1"], NOW)
    assert sifted.numbers + others == [0]
    assert not isinstance(outcome(an_intake().sift, value, b"u1"), Refusal)


@given(st.lists(st.sampled_from([*TIMES, "2025-06-01T12:00:00Z\n2025-06-01T12:00:00Z"])))
def test_times_at_once_are_what_each_is(times: list[str]) -> None:
    agree_at_once([json.dumps({**GOOD, "occurred_at": time}).encode() for time in times])


@given(st.binary(max_size=60))
@example(b"")
@example(b"\0")
@example(FRAME)
@example(BOM)
@example(b"[]")
@example(b'"user_id"')
def test_any_bytes_come_to_what_the_contract_makes_of_them(value: bytes) -> None:
    agree(value)
    agree(None)


def test_each_value_in_each_field_comes_to_what_the_contract_makes_of_it() -> None:
    intake = an_intake()
    for name in [*GOOD, "tags"]:
        others = [f'"{key}":{json.dumps(value)}' for key, value in GOOD.items() if key != name]
        for word in WORDS:
            own = f'"{name}":{word}'
            for pairs in ([own, *others], [*others, own], [own, *others, f'"{name}":"u1"']):
                value = ("{" + ",".join(pairs) + "}").encode("utf-8", "surrogatepass")
                assert outcome(intake.sift, value, b"u1") == outcome(intake.judge, value, b"u1")
                assert user(intake.user_finder(), value) == user(intake.judge_user, value)


@pytest.mark.parametrize(
    "wrong", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\xe2\x82"]
)
@pytest.mark.parametrize(
    "place",
    [
        b'{"text":"!",',
        b'{"language":"!",',
        b'{"tags":"!",',
        b'{"tags":"\\n!",',
        b'{"tags":[{"a":["!"]}],',
        b'{"t":{"!":1},',
        b'{"t!gs":1,',
        b'{!"tags":1,',
        b'{"tags":1!,',
        b"!{",
    ],
)
def test_what_is_not_utf_8_is_so_wherever_it_stands(wrong: bytes, place: bytes) -> None:
    others = {name: value for name, value in GOOD.items() if name not in ("text", "language")}
    value = place.replace(b"!", wrong) + json.dumps(others).encode()[1:]
    with pytest.raises(RefusedError, match="UTF-8"):
        an_intake().sift(value, b"u1", NOW)
    agree(value)


@given(objects(), st.sampled_from([*PRESETS]))
@settings(max_examples=300)
def test_a_mapped_event_comes_to_what_the_contract_makes_of_it(value: bytes, preset: Any) -> None:
    agree(value, b"u1", an_intake(mapping=PRESETS[preset]))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_time_in_microseconds_is_exact(time: datetime) -> None:
    event = sift_json(json.dumps({**GOOD, "occurred_at": time.isoformat()}).encode())
    assert event.microseconds == (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def test_the_fields_of_a_sifted_event_are_those_of_the_contract() -> None:
    assert SiftedEvent._fields == tuple(UserEvent.model_fields)


@pytest.mark.parametrize("key", ["raw", "json"])
@pytest.mark.parametrize(
    "time", ["2025-06-01T12:00:00Z", "2025-06-01 14:00:00+02:00", "2025-06-01T12:00:00.123456789Z"]
)
def test_a_good_event_is_read_at_once(time: str, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the point: the contract, which takes its time, is not asked."""
    monkeypatch.setattr(Intake, "judge", None)
    value = json.dumps({**GOOD, "occurred_at": time, "tags": ["a"]}).encode()
    intake = an_intake(key=key)
    for each in (value, FRAME + value):
        event, left_out = intake.sift(each, b"u1" if key == "raw" else b'"u1"', NOW)
        assert event.occurred_at.replace(microsecond=0) == datetime(2025, 6, 1, 12, tzinfo=UTC)
        assert (event.text, event.rating, left_out) == ("Fits well.", 4.5, ())


@given(st.lists(st.booleans(), max_size=60))
def test_columns_without_some_places_are_those_of_the_others(gone: list[bool]) -> None:
    count = len(gone)
    names = [str(place) for place in range(count)]
    texts: list[Any] = [[*names] for _ in range(6)]
    others: list[Any] = [[*names] for _ in range(4)]
    sifted = SiftedColumns(list(range(count)), *texts, list(range(count)), *others)
    left = sifted.without({place for place in range(count) if gone[place]})
    kept = [place for place in range(count) if not gone[place]]
    assert left.numbers == left.times == kept
    for name in SiftedColumns.__slots__[1:7] + SiftedColumns.__slots__[8:]:
        assert getattr(left, name) == [str(place) for place in kept]
    assert len(sifted.numbers) == count
