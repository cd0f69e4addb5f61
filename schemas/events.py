"""The input contract: one user event, as JSON on `user-events`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from schemas.base import Identifier

MAX_LANGUAGE_CHARS = 35
MAX_ITEM_CHARS = 256
MAX_ATTRIBUTES, MAX_ATTRIBUTE_NAME_CHARS, MAX_ATTRIBUTE_CHARS = 16, 64, 128
MAX_RELATED_USERS = 32

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class EventType(StrEnum):
    """What the user did."""

    REVIEW = "review"
    COMMENT = "comment"
    QUESTION = "question"
    ANSWER = "answer"
    RATING = "rating"
    PURCHASE = "purchase"
    VIEW = "view"
    CLICK = "click"


def parse_rfc3339(value: object) -> datetime:
    """Read an RFC 3339 time into UTC, to the microsecond.

    Raises
    ------
    ValueError
        If it is not a string, has no zone, or names a day that does not exist.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("must have a time zone")
        return _in_utc(value)
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 string")
    if not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with a zone, as in 2026-01-31T12:00:00Z")
    # It keeps microseconds; RFC 3339 allows any number of digits.
    time = datetime.fromisoformat(value[:-1] + "Z" if value[-1] == "z" else value)
    return time if time.tzinfo is UTC else _in_utc(time)


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside the years 1 to 9999") from error


Rfc3339 = Annotated[
    datetime,
    BeforeValidator(parse_rfc3339),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


AttributeName = Annotated[str, Field(min_length=1, max_length=MAX_ATTRIBUTE_NAME_CHARS)]
AttributeValue = Annotated[str, Field(min_length=1, max_length=MAX_ATTRIBUTE_CHARS)]


class UserEvent(BaseModel):
    """A review, comment, question, rating or another thing that a user did.

    The record's key must be the `user_id`, since all of a user's state lives with one partition.
    Unknown fields are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    event_id: Identifier = Field(
        description="Unique for its user; an id seen again for a user counts once."
    )
    user_id: Identifier = Field(description="Whose event it is; also the key of the record.")
    type: Annotated[EventType, Field(strict=False)] = Field(description="What the user did.")
    text: str | None = Field(
        None, description="The raw text, HTML and Markdown allowed.", repr=False
    )
    language: Annotated[str, Field(max_length=MAX_LANGUAGE_CHARS)] | None = Field(
        None, description="BCP 47 tag of the text where it is known; detected otherwise."
    )
    item_id: Annotated[str, Field(max_length=MAX_ITEM_CHARS)] | None = Field(
        None, description="What the event is about."
    )
    item_title: str | None = Field(
        None, description="Embedded in place of a text where there is none.", repr=False
    )
    rating: float | None = Field(None, description="Any finite number.")
    occurred_at: Rfc3339 = Field(description="Event time, RFC 3339 with a zone.")
    attributes: (
        Annotated[dict[AttributeName, AttributeValue], Field(max_length=MAX_ATTRIBUTES)] | None
    ) = Field(None, description="What is known of the user by name: country, channel, ...")
    related_users: Annotated[list[Identifier], Field(max_length=MAX_RELATED_USERS)] | None = Field(
        None, description="Users who have to do with this one: followed, friends."
    )
