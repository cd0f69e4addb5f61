"""Forms of time that sources write, read into UTC."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

from schemas.events import parse_rfc3339

TimeFormat = Literal["rfc3339", "iso8601", "epoch-seconds", "epoch-milliseconds", "pattern"]
"""How a source writes its times.

`iso8601` reads what `rfc3339` does, and dates alone, times without seconds and times without a
zone, all of these as UTC. `pattern` goes with strptime patterns.
"""

_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2})?)([.,]\d{1,9})? ?([Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)


def parse_iso8601(value: object) -> datetime:
    """Read a date, or a date and a time, as UTC where it names no zone.

    Raises
    ------
    ValueError
        If it is neither, or not within the years 1 to 9999.
    """
    found = _ISO.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("no date and no time")
    day, clock, fraction, zone = found.groups()
    # datetime keeps microseconds.
    fraction = fraction.replace(",", ".")[:7] if fraction else ""
    if fraction and clock.count(":") == 1:
        raise ValueError("a fraction of a minute")
    offset = zone if zone and zone[0] in "+-" else "+00:00"
    text = f"{day}T{clock or '00:00'}{fraction}{offset}"
    return _in_utc(datetime.fromisoformat(text))


def read_time(
    value: object, formats: Sequence[TimeFormat], patterns: Sequence[str] = ()
) -> datetime:
    """Read a time in the first of the formats that it is written in.

    Parameters
    ----------
    value
        As the source has it.
    formats, patterns
        What is tried, in this order; `pattern` stands for all patterns.

    Raises
    ------
    ValueError
        If it is in none of them; the message goes behind the field's name.
    """
    for name in formats:
        for pattern in patterns if name == "pattern" else ("",):
            try:
                return _READERS[name](value, pattern)
            except (ValueError, OverflowError, OSError):
                continue
    spelled = ", ".join(formats)
    written = " " + ", ".join(map(repr, patterns)) if patterns else ""
    raise ValueError(f"is not a time in the format {spelled}{written}")


def format_hint(value: object) -> str:
    """Name the setting that reads a time which is not RFC 3339; empty where there is none."""
    setting = "set events.mapping.time_format"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"; {setting} to epoch-seconds or epoch-milliseconds, or to a list of formats"
    try:
        parse_iso8601(value)
    except ValueError:
        return ""
    return f"; {setting} to iso8601 to read dates and times without a zone as UTC"


def check_pattern(pattern: str) -> None:
    """Refuse a strptime pattern that no time can be read by.

    Raises
    ------
    ValueError
        Naming the pattern.
    """
    try:
        datetime.strptime("", pattern)  # noqa: DTZ007
    except re.error:
        raise ValueError(f"time_pattern {pattern!r} names something twice") from None
    except ValueError as error:
        # Any sound pattern but the empty one fails to match the empty text.
        if "does not match" not in str(error):
            raise ValueError(f"time_pattern {pattern!r}: {error}") from None


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is UTC:
        return time
    return parse_rfc3339(time if time.tzinfo else time.replace(tzinfo=UTC))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    return float(value)


_READERS: dict[TimeFormat, Callable[[object, str], datetime]] = {
    "rfc3339": lambda value, _: parse_rfc3339(value),
    "iso8601": lambda value, _: parse_iso8601(value),
    "epoch-seconds": lambda value, _: datetime.fromtimestamp(_number(value), UTC),
    "epoch-milliseconds": lambda value, _: datetime.fromtimestamp(_number(value) / 1000, UTC),
    "pattern": lambda value, pattern: _in_utc(datetime.strptime(str(value), pattern)),  # noqa: DTZ007
}
