"""Times as sources write them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import parse_rfc3339
from schemas.times import check_pattern, parse_iso8601, read_time

NOON = datetime(2024, 2, 1, 12, tzinfo=UTC)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.from_regex(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([+-]\d{2}:?\d{2}|Z)?)?"),
    st.lists(st.integers()),
)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-02-01", NOON - timedelta(hours=12)),
        ("2024-02-01 12:00", NOON),
        ("2024-02-01T12:00Z", NOON),
        ("2024-02-01t12:00:00z", NOON),
        ("2024-02-01 12:00:00 UTC", NOON),
        ("2024-02-01 12:00:00", NOON),
        ("2024-02-01 14:00:00+02:00", NOON),
        ("2024-02-01T14:00:00.000+0200", NOON),
        ("2024-02-01T14:00+02", NOON),
        ("2024-02-01T12:00:00.123456789", NOON + timedelta(microseconds=123456)),
        ("2024-02-01 12:00:00,5", NOON + timedelta(milliseconds=500)),
    ],
)
def test_dates_and_times_of_iso_8601_are_utc_where_they_name_no_zone(
    text: str, time: datetime
) -> None:
    assert parse_iso8601(text) == time


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "20240201",
        "2024-02",
        "2024-02-30",
        "2024-02-01 25:00",
        "2024-02-01T12:00.5",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:00-12:00",
        20240201,
        None,
    ],
)
def test_what_is_no_date_and_no_time_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time in the format iso8601"):
        read_time(value, ["iso8601"])


def test_the_first_of_several_formats_that_fits_is_taken() -> None:
    formats = ["epoch-seconds", "rfc3339", "pattern"]
    patterns = ["%d.%m.%Y", "%B %d, %Y"]
    midnight = NOON.replace(hour=0)
    assert read_time(1_706_788_800, formats, patterns) == NOON
    assert read_time("1706788800", formats, patterns) == NOON
    assert read_time("2024-02-01T12:00:00Z", formats, patterns) == NOON
    assert read_time("01.02.2024", formats, patterns) == midnight
    assert read_time("February 1, 2024", formats, patterns) == midnight
    with pytest.raises(ValueError, match=r"epoch-seconds, rfc3339, pattern '%d.%m.%Y', '%B"):
        read_time("2024-02-01", formats, patterns)


@given(ANYTHING)
def test_no_value_of_a_time_raises_anything_but_a_value_error(value: object) -> None:
    for formats in (["iso8601"], ["rfc3339"], ["epoch-seconds"], ["epoch-milliseconds"]):
        with suppress(ValueError):
            assert read_time(value, formats).tzinfo is UTC


@pytest.mark.parametrize("zone", ["+1400", "+0001"])
def test_a_time_before_the_year_1_in_utc_is_no_time(zone: str) -> None:
    with pytest.raises(ValueError, match="is not a time in the format pattern"):
        read_time(f"0001-01-01 00:00 {zone}", ["pattern"], ["%Y-%m-%d %H:%M %z"])
    early = datetime.strptime(f"0001-01-01 {zone}", "%Y-%m-%d %z")
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        parse_rfc3339(early)


@pytest.mark.parametrize("pattern", ["%Y-%m-%d %Y", "%Q", "%Y %"])
def test_a_pattern_that_can_read_no_time_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(ValueError, match="time_pattern"):
        check_pattern(pattern)
    check_pattern("%Y-%m-%d")


def reference(text: str) -> datetime | None:
    """Read RFC 3339 by its parts."""
    found = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
        r"(?:[Zz]|([+-])(\d\d):(\d\d))",
        text,
        re.ASCII,
    )
    if found is None:
        return None
    *numbers, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if int(minutes or 0) > 59:
        return None
    try:
        zone = timezone(-offset if sign == "-" else offset)
        micro = int((fraction or "").ljust(6, "0")[:6])
        return datetime(*map(int, numbers), micro, zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@given(
    st.from_regex(
        r"\A(000|199|202|999)\d-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-5]\d:[0-6]\d"
        r"(\.\d{0,10})?([Zz]|[+-][0-2]\d:?[0-6]\d)?\Z"
    )
)
def test_a_time_of_rfc_3339_is_what_its_parts_say(text: str) -> None:
    expected = reference(text)
    if expected is None:
        with pytest.raises(ValueError, match=r"."):
            parse_rfc3339(text)
    else:
        time = parse_rfc3339(text)
        assert (time, time.tzinfo) == (expected, UTC)
