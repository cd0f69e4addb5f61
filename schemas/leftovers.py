"""Fields of a user event that nothing rests on: what they hold never costs the event.

A language is a hint, found by the text itself otherwise; an item and a rating are carried along and
never enter a profile. Where one of them is not as the contract says it is read if that is safe, and
left out if not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from schemas.errors import problems
from schemas.events import MAX_ITEM_CHARS, MAX_LANGUAGE_CHARS
from schemas.ids import number_as_id

_TAG = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,4}")


def without_unusable(
    event: Mapping[str, Any], error: ValidationError
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Mend the fields that nothing rests on, of those that are not as the contract says.

    Parameters
    ----------
    event
        By field, as it came.
    error
        What is wrong with it.

    Returns
    -------
    tuple
        The event with these fields read or left out, None where they were not at fault, and the
        names of those left out.
    """
    faulty = {each.place[0] for each in problems(error) if each.place}
    optional = [name for name in _READERS if name in faulty]
    if not optional:
        return None, ()
    mended = dict(event)
    left_out = []
    for name in optional:
        mended[name] = _READERS[name](event[name])
        if mended[name] is None:
            left_out.append(name)
    return mended, tuple(left_out)


def _language(value: Any) -> str | None:
    """Give the first tag of a list, or of what a browser sends: en-US,en;q=0.9."""
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        for tag in re.split(r"[,;\s]+", text[:1000]) if isinstance(text, str) else ():
            if len(tag) <= MAX_LANGUAGE_CHARS and _TAG.fullmatch(tag):
                return tag
    return None


def _item(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        text = number_as_id(value)
    except ValueError:
        return None
    return text if len(text) <= MAX_ITEM_CHARS else None


def _rating(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


_READERS: dict[str, Callable[[Any], Any]] = {
    "language": _language,
    "item_id": _item,
    "rating": _rating,
}

OPTIONAL_FIELDS = (*_READERS,)
"""Their names."""
