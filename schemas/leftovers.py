"""Fields of a user event that nothing rests on: what they hold never costs the event.

A language is a hint, found by the text itself otherwise; an item, a rating, attributes and related
users are carried along and never enter a profile. Where one of them is not as the contract says it
is read if that is safe, and left out if not. Of several attributes or users those that can be read
stay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from pydantic import ValidationError

from schemas.base import MAX_ID_CHARS
from schemas.errors import problems
from schemas.events import (
    MAX_ATTRIBUTE_CHARS,
    MAX_ATTRIBUTE_NAME_CHARS,
    MAX_ATTRIBUTES,
    MAX_ITEM_CHARS,
    MAX_LANGUAGE_CHARS,
    MAX_RELATED_USERS,
)
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
        names of those left out, in part or altogether.
    """
    faulty = {each.place[0] for each in problems(error) if each.place}
    optional = [name for name in _READERS if name in faulty]
    if not optional:
        return None, ()
    mended = dict(event)
    left_out = []
    for name in optional:
        mended[name], whole = _READERS[name](event[name])
        if not whole:
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


def _alone(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, bool]]:
    """Make a reader of a value that is there or not at all."""

    def reader(value: Any) -> tuple[Any, bool]:
        found = read(value)
        return found, found is not None

    return reader


def _short(value: Any, most: int) -> str | None:
    """Give a text, a truth value as in JSON, or a number as text; None where it is too long."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        try:
            value = number_as_id(value)
        except ValueError:
            # A fraction is no id, and a good attribute.
            value = repr(value) if isinstance(value, float) and math.isfinite(value) else None
    return value if isinstance(value, str) and 0 < len(value) <= most else None


def _attributes(value: Any) -> tuple[dict[str, str] | None, bool]:
    """Give the attributes that can be read, the first ones where they are too many.

    One that is null or empty says nothing, so nothing is lost with it.
    """
    if not isinstance(value, dict):
        return None, False
    there = {name: each for name, each in value.items() if each is not None and each != ""}
    read = {
        name: text
        for name, each in there.items()
        if 0 < len(name) <= MAX_ATTRIBUTE_NAME_CHARS
        and (text := _short(each, MAX_ATTRIBUTE_CHARS)) is not None
    }
    kept = dict(islice(read.items(), MAX_ATTRIBUTES))
    return kept or None, len(kept) == len(there)


def _related_users(value: Any) -> tuple[list[str] | None, bool]:
    """Give the users that can be read, the first ones where they are too many; one may be alone."""
    several = value if isinstance(value, list) else [value]
    read = [user for each in several if (user := _user(each)) is not None]
    kept = read[:MAX_RELATED_USERS]
    return kept or None, len(kept) == len(several)


def _user(value: Any) -> str | None:
    text = value if isinstance(value, str) else _item(value)
    return text if text and len(text) <= MAX_ID_CHARS else None


_READERS: dict[str, Callable[[Any], tuple[Any, bool]]] = {
    "language": _alone(_language),
    "item_id": _alone(_item),
    "rating": _alone(_rating),
    "attributes": _attributes,
    "related_users": _related_users,
}

OPTIONAL_FIELDS = (*_READERS,)
"""Their names."""
