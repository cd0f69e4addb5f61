"""What the unpacked bytes of a file are, told by the first of them, never by a name."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from pydantic_core import from_json

from consumer.offline.files.errors import FormError
from consumer.offline.files.json_values import (
    array_elements,
    array_inside,
    end_of_value,
    objects,
    several_arrays,
)
from consumer.offline.files.kinds import useless
from consumer.offline.files.lines import Numbered, json_lines, literal_lines
from consumer.offline.files.tables import rows, table_of

IsRecord = Callable[[bytes], bool]
"""Whether a JSON object is itself a record, and not what records lie in."""

_KNOWN_FORMS = "JSON lines, a JSON array, CSV or TSV with a header, or Parquet"
_PROBED_LINES = 50


@dataclass(frozen=True, slots=True)
class Form:
    """A form of file: what it is called, and what reads it."""

    name: str
    read: Callable[[BinaryIO], Numbered]


def form_of(head: bytes, *, whole: bool, is_record: IsRecord) -> Form:
    """Tell the form of a file.

    Parameters
    ----------
    head
        The first bytes, unpacked and in UTF-8, perhaps behind a byte order mark.
    whole
        Whether they are all of the file.
    is_record
        Asked where a file is one single object.

    Raises
    ------
    FormError
        If it is of no form that can be read.
    """
    head = head.removeprefix(codecs.BOM_UTF8)
    if (sentence := useless(head)) is not None:
        raise FormError(sentence)
    if b"\0" in head:
        raise FormError(f"it is binary, of a kind that is not known: give {_KNOWN_FORMS}")
    start = head.lstrip()
    if start.startswith(b"["):
        return Form("a JSON array", array_elements)
    if start.startswith((b"{'", b"{u'", b'{u"')):
        return Form("lines of Python literals", literal_lines)
    if start.startswith(b"{"):
        return _of_objects(start, whole=whole, is_record=is_record)
    if not start or any(map(_is_object, start.splitlines()[:_PROBED_LINES])):
        return _LINES
    text = start.decode("utf-8", "replace")
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    if (table := table_of(text)) is not None:
        return Form(table.name, lambda stream: rows(stream, table))
    if not _is_json(start.splitlines()[0]):
        raise FormError(
            "its first line is neither a JSON object nor the header of a table: give "
            f"{_KNOWN_FORMS}"
        )
    return _LINES


_LINES = Form("JSON lines", json_lines)


def _of_objects(start: bytes, *, whole: bool, is_record: IsRecord) -> Form:
    """Tell objects a line, objects over several lines, and one object around an array apart."""
    first, end, rest = start.partition(b"\n")
    if _is_object(first):
        if rest.strip() or not whole or not _wraps(first, is_record):
            return _LINES
        return _INSIDE
    text = start.decode("utf-8", "ignore")
    try:
        place = end_of_value(text)
    except (ValueError, RecursionError):
        return _LINES  # the first of them is damaged
    if place is None:
        # Longer than what was looked at. A first line alone may be a very long record.
        return _INSIDE if end or _arrays(start) else _LINES
    if text[place:].strip() or not whole or not _wraps(text[:place].encode(), is_record):
        return Form("JSON objects over several lines", objects)
    return _INSIDE


_INSIDE = Form("a JSON array inside of an object", array_inside)


def _wraps(written: bytes, is_record: IsRecord) -> bool:
    if is_record(written) or not (arrays := _arrays(written)):
        return False
    if len(arrays) > 1:
        raise several_arrays(*arrays[:2])
    return True


def _arrays(written: bytes) -> list[str]:
    """Name the arrays of objects among the members of an object, or of the beginning of one."""
    try:
        found = from_json(written, allow_partial=True)
    except ValueError:
        return []
    return [
        name
        for name, value in (found.items() if isinstance(found, dict) else ())
        if isinstance(value, list) and value and isinstance(value[0], dict)
    ]


def _is_object(line: bytes) -> bool:
    return line.lstrip()[:1] == b"{" and _is_json(line)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
