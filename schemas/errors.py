"""What is wrong with a value, in one sentence."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas.ids import nan_name

_QUOTED_CHARS = 80


class Problem(NamedTuple):
    """One thing that is wrong with a value, as pydantic found it."""

    place: tuple[str, ...]
    kind: str
    message: str
    given: Any
    """What stands there: it may be a user's text, so only those show it who know that it is not."""


def problems(error: ValidationError) -> list[Problem]:
    """Give all that is wrong, in the order of the fields."""
    return [
        Problem(
            tuple(map(str, each["loc"])),
            each["type"],
            each["msg"].removeprefix("Value error, "),
            each["input"],
        )
        for each in error.errors(include_url=False, include_context=False)
    ]


def first_problem(error: ValidationError) -> str:
    """Say what is wrong first, and in which field; never shows what stands there."""
    first, *others = problems(error)
    more = f", and {len(others)} more" if others else ""
    return ": ".join(filter(None, (".".join(first.place), first.message))) + more


def quoted(value: object) -> str:
    """Quote a value, cut where it is long.

    It is as in JSON: null and not None, a time that a mapping has read as text. Not for what people
    wrote.
    """
    is_text = isinstance(value, str)
    text = repr(value) if is_text else json.dumps(value, ensure_ascii=False, default=str)
    text = nan_name(value) or text
    return text if len(text) <= _QUOTED_CHARS else text[: _QUOTED_CHARS - 1] + "…"
