"""Small matters of wording that the terminal, the picture and the page share."""

from __future__ import annotations

import unicodedata
from datetime import datetime

# Control characters move a terminal's cursor, format characters turn the direction of writing, and
# lone surrogates cannot be encoded. Users' texts may hold any of them.
_UNPRINTABLE = {"Cc", "Cf", "Co", "Cs"}
_JOINER = "\u200d"  # holds emoji together; harmless


def one_line(text: str, limit: int = 160) -> str:
    """Make a text safe to show, in one line of at most `limit` characters.

    It is cut between words where that costs little.
    """
    text = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace()
        or character == _JOINER
        or unicodedata.category(character) not in _UNPRINTABLE
    )
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    at_word = cut.rpartition(" ")[0]
    return (at_word if len(at_word) > limit * 2 // 3 else cut).rstrip(" ,;:") + "…"


def ordinal(number: int) -> str:
    """Write 1st, 2nd, 3rd, 11th."""
    suffixes = {1: "st", 2: "nd", 3: "rd"}
    suffix = "th" if number % 100 in {11, 12, 13} else suffixes.get(number % 10, "th")
    return f"{number}{suffix}"


def day(time: datetime) -> str:
    """Write a date as in "14 March 2026"."""
    return f"{time.day} {time:%B %Y}"


def plural(number: int, noun: str) -> str:
    """Write a number and its noun, as in "1 user" and "2,000 users"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def times(number: int) -> str:
    """Write how often, as in "once" and "2,000 times"."""
    return "once" if number == 1 else plural(number, "time")


def percent(part: int, whole: int) -> str:
    """Write a share, as in "12 %"; small ones with a digit more."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 1 else f"{share:.0f} %"


def ranges(numbers: list[int]) -> str:
    """Write numbers with what follows on each other as a range, as in "0-3, 7"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
