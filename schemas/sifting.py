"""A user event in its common forms, read from its bytes by one compiled validation.

It is there for speed alone: what it reads is, field by field, what `schemas.events.UserEvent` makes
of the same record. What it does not read, the contract itself has to judge: only that says what is
wrong. Many at once are read by msgspec (`schemas.decoding`), one by pydantic, which reads a little
more.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress
from typing import Any, NamedTuple

from pydantic_core import SchemaValidator, core_schema

from schemas.base import MAX_ID_CHARS
from schemas.events import (
    MAX_ATTRIBUTE_CHARS,
    MAX_ATTRIBUTE_NAME_CHARS,
    MAX_ATTRIBUTES,
    MAX_ITEM_CHARS,
    MAX_LANGUAGE_CHARS,
    MAX_RELATED_USERS,
    EventType,
    UserEvent,
    parse_rfc3339,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# So many are taken out one by one.
_FEW = 16


def microseconds_of(time: datetime) -> int:
    """Give a time in microseconds since 1970, exactly."""
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class SiftedEvent(NamedTuple):
    """The fields of a user event that has been validated, under their names and in their order.

    A tuple, since a validated model takes as long to make as all the rest of the reading.
    """

    event_id: str
    user_id: str
    type: EventType
    text: str | None
    language: str | None
    item_id: str | None
    item_title: str | None
    rating: float | None
    occurred_at: datetime
    attributes: dict[str, str] | None
    related_users: list[str] | None

    @classmethod
    def of(cls, event: UserEvent) -> SiftedEvent:
        """Give the fields of an event that the contract has read."""
        return cls(*(getattr(event, name) for name in cls._fields))

    @property
    def microseconds(self) -> int:
        """The event time in microseconds since 1970, exactly."""
        return microseconds_of(self.occurred_at)


@dataclass(slots=True)
class SiftedColumns:
    """Events that have been validated, as columns, in the order of their records.

    As much of them as is used of many at once.

    Attributes
    ----------
    numbers
        Which of the records each event is, ascending.
    users, event_ids, texts, titles, languages
        As the events say.
    types
        Values of `EventType`.
    times
        Event times, microseconds since 1970.
    items, ratings, attributes, related_users
        As the events say.
    """

    numbers: list[int]
    event_ids: list[str]
    users: list[str]
    types: list[str]
    texts: list[str | None]
    languages: list[str | None]
    titles: list[str | None]
    times: list[int]
    items: list[str | None]
    ratings: list[float | None]
    attributes: list[dict[str, str] | None]
    related_users: list[list[str] | None]

    @classmethod
    def of(cls, events: Iterable[SiftedEvent | None]) -> SiftedColumns:
        """Give the events of records, None for a record that holds none."""
        found = [(number, event) for number, event in enumerate(events) if event is not None]
        return cls(
            [number for number, _ in found],
            [event.event_id for _, event in found],
            [event.user_id for _, event in found],
            [event.type.value for _, event in found],
            [event.text for _, event in found],
            [event.language for _, event in found],
            [event.item_title for _, event in found],
            [event.microseconds for _, event in found],
            [event.item_id for _, event in found],
            [event.rating for _, event in found],
            [event.attributes for _, event in found],
            [event.related_users for _, event in found],
        )

    def insert(self, number: int, event: SiftedEvent) -> None:
        """Put an event among them, at its record's place."""
        place = bisect_left(self.numbers, number)
        self.numbers.insert(place, number)
        self.event_ids.insert(place, event.event_id)
        self.users.insert(place, event.user_id)
        self.types.insert(place, event.type.value)
        self.texts.insert(place, event.text)
        self.languages.insert(place, event.language)
        self.titles.insert(place, event.item_title)
        self.times.insert(place, event.microseconds)
        self.items.insert(place, event.item_id)
        self.ratings.insert(place, event.rating)
        self.attributes.insert(place, event.attributes)
        self.related_users.insert(place, event.related_users)

    def without(self, places: Collection[int]) -> SiftedColumns:
        """Give the others than those at some places."""
        columns = [getattr(self, name).copy() for name in self.__slots__]
        if len(places) <= _FEW:
            for column in columns:
                for place in sorted(places, reverse=True):
                    del column[place]
        else:
            kept = [place not in places for place in range(len(self.numbers))]
            columns = [list(compress(column, kept)) for column in columns]
        return SiftedColumns(*columns)


_EARLIEST = microseconds_of(datetime.min.replace(tzinfo=UTC))

# RFC 3339 as `parse_rfc3339` has it, but for a small z: what fits is what `datetime.fromisoformat`,
# which reads many other forms, is let to read.
_RFC3339 = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$"
)
_FORM = re.compile(_RFC3339.strip("^$").encode())
_IDENTIFIER = core_schema.str_schema(min_length=1, max_length=MAX_ID_CHARS)
_ATTRIBUTES = core_schema.dict_schema(
    core_schema.str_schema(min_length=1, max_length=MAX_ATTRIBUTE_NAME_CHARS),
    core_schema.str_schema(min_length=1, max_length=MAX_ATTRIBUTE_CHARS),
    max_length=MAX_ATTRIBUTES,
)


_EVENT_TYPE = core_schema.enum_schema(EventType, [*EventType], sub_type="str", strict=False)
# Digits of ASCII as one of them: so times of one form are one text.
_ONE_DIGIT = bytes(ord("0") if chr(code) in string.digits else code for code in range(256))


def _validator(time: core_schema.CoreSchema) -> SchemaValidator:
    """Compile the contract into a dict of all fields, in the order of `SiftedEvent`."""

    def required(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
        return core_schema.typed_dict_field(schema)

    def optional(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
        nullable = core_schema.nullable_schema(schema)
        return required(core_schema.with_default_schema(nullable, default=None))

    fields = {
        "event_id": required(_IDENTIFIER),
        "user_id": required(_IDENTIFIER),
        "type": required(_EVENT_TYPE),
        "text": optional(core_schema.str_schema()),
        "language": optional(core_schema.str_schema(max_length=MAX_LANGUAGE_CHARS)),
        "item_id": optional(core_schema.str_schema(max_length=MAX_ITEM_CHARS)),
        "item_title": optional(core_schema.str_schema()),
        "rating": optional(core_schema.float_schema(allow_inf_nan=False)),
        "occurred_at": required(time),
        "attributes": optional(_ATTRIBUTES),
        "related_users": optional(
            core_schema.list_schema(_IDENTIFIER, max_length=MAX_RELATED_USERS)
        ),
    }
    # Hardly a value comes again so soon that it is worth being looked up.
    config = core_schema.CoreConfig(strict=True, cache_strings="none")
    return SchemaValidator(core_schema.typed_dict_schema(fields, config=config))


_TIME = core_schema.str_schema(pattern=_RFC3339)
_FROM_JSON = _validator(_TIME).validate_json
_FROM_FIELDS = _validator(core_schema.any_schema()).validate_python
_USER = SchemaValidator(
    core_schema.typed_dict_schema(
        {"user_id": core_schema.typed_dict_field(_IDENTIFIER)}, config={"strict": True}
    )
).validate_json


def sift_json(payload: bytes) -> SiftedEvent:
    """Read an event.

    Raises
    ------
    ValueError
        If it is in none of the common forms; it may be a good event yet.
    """
    fields = _FROM_JSON(payload)
    text = fields["occurred_at"]
    time = datetime.fromisoformat(text)
    fields["occurred_at"] = time if time.tzinfo is UTC else parse_rfc3339(text)
    return SiftedEvent._make(fields.values())


def sift_all_json(payloads: Sequence[bytes]) -> SiftedColumns:
    """Read those among them that are in the commonest forms: of what `sift_json` reads nearly all.

    Events are the same.
    """
    from schemas.decoding import decode_all  # noqa: PLC0415 (settings are read without it)

    numbers, found = decode_all(payloads)
    times = _times([each.occurred_at for each in found])
    sifted = SiftedColumns(
        numbers,
        [each.event_id for each in found],
        [each.user_id for each in found],
        [each.type for each in found],
        [each.text for each in found],
        [each.language for each in found],
        [each.item_title for each in found],
        times,
        [each.item_id for each in found],
        [each.rating for each in found],
        [each.attributes for each in found],
        [each.related_users for each in found],
    )
    unread = {place for place, time in enumerate(times) if time is None}
    return sifted.without(unread) if unread else sifted


def _times(written: Sequence[str]) -> list[Any]:
    """Give times in microseconds since 1970, None for what does not fit `_RFC3339` or is none."""
    if not written:
        return []
    # Most are of one form or two: so few are looked at.
    forms = "\n".join(written).encode().translate(_ONE_DIGIT).split(b"\n")
    if len(forms) == len(written) and all(map(_FORM.fullmatch, set(forms))):
        return _microseconds(written)
    return [
        _microseconds_alone(time) if _FORM.fullmatch(time.encode()) else None for time in written
    ]


def _microseconds_alone(text: str) -> int | None:
    try:
        return microseconds_of(parse_rfc3339(text))
    except ValueError:
        return None


def _microseconds(times: Sequence[str]) -> list[Any]:
    """Give times that fit `_RFC3339` in microseconds since 1970, None for what is none."""
    import numpy as np  # noqa: PLC0415 (settings are read without it)

    joined = "\n".join(times).replace("Z", "").replace("+00:00", "")
    if "+" not in joined and joined.count("-") == 2 * len(times):
        try:
            read = np.array(joined.split("\n"), "M8[us]").view(np.int64)
        except ValueError:
            pass
        else:
            if read.min() >= _EARLIEST:
                return [*read.tolist()]
    return [_microseconds_alone(time) for time in times]


def sift_fields(fields: Mapping[str, Any]) -> SiftedEvent:
    """Read an event of the fields that a mapping has picked.

    Raises
    ------
    ValueError
        If one is not as the contract says; it may be one that nothing rests on.
    """
    checked = _FROM_FIELDS(fields)
    time = checked["occurred_at"]
    if time.__class__ is not datetime or time.tzinfo is not UTC:
        checked["occurred_at"] = parse_rfc3339(time)
    return SiftedEvent._make(checked.values())


def user_of_json(payload: bytes) -> str:
    """Read the user id alone.

    Raises
    ------
    ValueError
        If it cannot be read so.
    """
    user: str = _USER(payload)["user_id"]
    return user
