"""A user event in its common forms, read from its bytes by one compiled validation.

It is there for speed alone: what it reads is, field by field, what `schemas.events.UserEvent` makes
of the same record. What it does not read, the contract itself has to judge: only that says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import SchemaValidator, core_schema

from schemas.base import MAX_ID_CHARS
from schemas.events import MAX_ITEM_CHARS, MAX_LANGUAGE_CHARS, EventType, UserEvent, parse_rfc3339

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    @classmethod
    def of(cls, event: UserEvent) -> SiftedEvent:
        """Give the fields of an event that the contract has read."""
        return cls(*(getattr(event, name) for name in cls._fields))

    @property
    def microseconds(self) -> int:
        """The event time in microseconds since 1970, exactly."""
        since = self.occurred_at - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


# RFC 3339 as `parse_rfc3339` has it, but for a small z: what fits is what `datetime.fromisoformat`,
# which reads many other forms, is let to read.
_RFC3339 = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$"
)
_IDENTIFIER = core_schema.str_schema(min_length=1, max_length=MAX_ID_CHARS)


def _validator(time: core_schema.CoreSchema) -> SchemaValidator:
    """Compile the contract into a dict of all fields, in the order of `SiftedEvent`."""

    def required(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
        return core_schema.typed_dict_field(schema)

    def optional(schema: core_schema.CoreSchema) -> core_schema.TypedDictField:
        nullable = core_schema.nullable_schema(schema)
        return required(core_schema.with_default_schema(nullable, default=None))

    types = core_schema.enum_schema(EventType, [*EventType], sub_type="str", strict=False)
    fields = {
        "event_id": required(_IDENTIFIER),
        "user_id": required(_IDENTIFIER),
        "type": required(types),
        "text": optional(core_schema.str_schema()),
        "language": optional(core_schema.str_schema(max_length=MAX_LANGUAGE_CHARS)),
        "item_id": optional(core_schema.str_schema(max_length=MAX_ITEM_CHARS)),
        "item_title": optional(core_schema.str_schema()),
        "rating": optional(core_schema.float_schema(allow_inf_nan=False)),
        "occurred_at": required(time),
    }
    return SchemaValidator(core_schema.typed_dict_schema(fields, config={"strict": True}))


_FROM_JSON = _validator(core_schema.str_schema(pattern=_RFC3339)).validate_json
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
