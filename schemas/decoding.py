"""Many user events from their JSON, in less time than the contract's own reader takes.

msgspec skips what is of no field here. It is content there with bytes that are not UTF-8, with
lists and objects within each other more deeply than the contract's reader takes, and with longer
numbers; so of records with further fields those in which any of that may be are left out. It
refuses some that the contract takes, such as NaN where nobody reads it. Who calls has those read
another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from schemas.base import MAX_ID_CHARS
from schemas.events import (
    MAX_ATTRIBUTE_CHARS,
    MAX_ATTRIBUTE_NAME_CHARS,
    MAX_ATTRIBUTES,
    MAX_ITEM_CHARS,
    MAX_LANGUAGE_CHARS,
    MAX_RELATED_USERS,
    EventType,
)

MOST_BYTES = 4000
"""Bytes of a record that is read, so of a number in it too: pydantic reads integers of up to 4,300
digits."""

MOST_OPENED = 190
"""Brackets that open something in a record that is read, so within each other too: pydantic reads
some 200 within each other."""

_Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_ATTRIBUTE_NAME_CHARS)]
_Value = Annotated[str, Meta(min_length=1, max_length=MAX_ATTRIBUTE_CHARS)]
if TYPE_CHECKING:
    _Kind = str
else:
    # The value and not the type, which takes longer to look up.
    _Kind = Literal[tuple(kind.value for kind in EventType)]


_BUT_ONE_BIT = np.uint8(0xFF ^ ord("[") ^ ord("{"))


class Decoded(msgspec.Struct, gc=False, kw_only=True):
    """The fields of an event as the contract has them, but for the time, which is any text."""

    event_id: _Identifier
    user_id: _Identifier
    type: _Kind
    text: str | None = None
    language: Annotated[str, Meta(max_length=MAX_LANGUAGE_CHARS)] | None = None
    item_id: Annotated[str, Meta(max_length=MAX_ITEM_CHARS)] | None = None
    item_title: str | None = None
    rating: float | None = None
    occurred_at: str
    attributes: Annotated[dict[_Name, _Value], Meta(max_length=MAX_ATTRIBUTES)] | None = None
    related_users: Annotated[list[_Identifier], Meta(max_length=MAX_RELATED_USERS)] | None = None


_decode = msgspec.json.Decoder(Decoded).decode


def decode_all(payloads: Sequence[bytes]) -> tuple[list[int], list[Decoded]]:
    """Read events; give the numbers of the records that are some, and what they say."""
    payloads = _without_unsure(payloads)
    found: list[Decoded] = []
    others: list[int] = []
    left = map(_decode, payloads)
    while True:
        try:
            found.extend(left)
        except ValueError:  # what was read before it stays, and what comes after it is still left
            others.append(len(found) + len(others))
        else:
            break
    if not others:
        return list(range(len(found))), found
    return sorted({*range(len(payloads))}.difference(others)), found


def _without_unsure(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Give nothing in place of those that hold what msgspec would skip and pydantic refuses."""
    if not payloads:
        return payloads
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    held = np.frombuffer(b"".join(payloads), np.uint8)
    # Square brackets and braces differ by one bit.
    opened = np.flatnonzero((held & _BUT_ONE_BIT) == ord("["))
    owners = np.searchsorted(np.cumsum(lengths), opened, "right")
    many = np.bincount(owners, minlength=len(payloads)) > MOST_OPENED
    unsure = np.flatnonzero(many | (lengths > MOST_BYTES)).tolist()
    unsure += [
        number for number, each in enumerate(payloads) if not (each.isascii() or _is_utf8(each))
    ]
    if not unsure:
        return payloads
    sure = [*payloads]
    for number in unsure:
        sure[number] = b""
    return sure


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
