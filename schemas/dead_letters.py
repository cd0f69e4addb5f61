"""Refused records: their key and place on `user-events.dlq`, the reason in the headers."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Base64, Open, Published

# Whoever made a longer key did not mean one.
MAX_KEY_BYTES = 32_768
MAX_HEADERS_BYTES = 16_384
"""Headers of the refused record that are kept; of longer ones none is."""
# More than the lengths of a header take.
_HEADER_BYTES = 10
BESIDE_VALUE_BYTES = 2 * MAX_KEY_BYTES
"""Room that a dead letter takes beside its value: for the key and for the headers."""


class RefusalReason(StrEnum):
    """Why a record was refused."""

    MISSING_VALUE = "missing_value"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    MISSING_KEY = "missing_key"
    KEY_MISMATCH = "key_mismatch"
    NO_TEXT = "no_text"
    TEXT_TOO_LONG = "text_too_long"
    TIME_TOO_OLD = "time_too_old"
    TIME_IN_FUTURE = "time_in_future"
    UNKNOWN_WORDS = "unknown_words"
    EMBEDDING_FAILED = "embedding_failed"
    UNEXPECTED = "unexpected"
    RECORD_TOO_LARGE = "record_too_large"
    EXCLUDED = "excluded"


class Refusal(Published):
    """One sentence for a person, and the parts of it for a machine.

    `detail` never quotes a text or a title.
    """

    reason: Annotated[RefusalReason, Open()] = Field(
        description="Why. Later versions may have further values."
    )
    field: str | None = Field(None, description="The field that it is about; null for none.")
    detail: str = Field(description="One sentence; it never quotes a text or a title.")


class DeadLetter(Published):
    """A refused record, as `segmenter replay` writes it to dead-letters.jsonl."""

    refusal: Refusal = Field(description="Why it was refused.")
    topic: str = Field(description="Topic of the refused record.")
    partition: int = Field(ge=0, description="Its partition.")
    offset: int = Field(ge=0, description="Its offset.")
    timestamp: int = Field(description="Of the record, milliseconds since 1970; -1 when unknown.")
    key: Base64 | None = Field(description="Its key, as it came; null for none.", repr=False)
    value: Base64 | None = Field(
        description="Its value, as it came; null for none, and where values are not kept.",
        repr=False,
    )
    value_bytes: int | None = Field(
        None, description="Bytes of the value, 0 of none, where it is not kept."
    )
    truncated_from: int | None = Field(
        None, description="Bytes of the value, where only its beginning was kept."
    )
    key_truncated_from: int | None = Field(
        None, description="Bytes of the key, where only its beginning was kept."
    )


HEADER_PREFIX = "dlq_"


def dead_letter_headers(
    refusal: Refusal,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    truncated_from: int | None = None,
    key_truncated_from: int | None = None,
    headers_dropped: int | None = None,
    redrives: int = 0,
    value_bytes: int | None = None,
) -> list[tuple[str, bytes]]:
    """Kafka headers of a dead letter; all values are UTF-8 text."""
    headers = {
        "reason": refusal.reason.value,
        "field": refusal.field or "",
        "detail": refusal.detail,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "timestamp": str(timestamp),
    }
    cut = {
        "truncated_from": truncated_from,
        "key_truncated_from": key_truncated_from,
        "headers_dropped": headers_dropped,
        "redrives": redrives or None,
        "value_bytes": value_bytes,
    }
    headers |= {name: str(number) for name, number in cut.items() if number is not None}
    return [(HEADER_PREFIX + name, value.encode()) for name, value in headers.items()]


class DeadLetterHeaders(BaseModel):
    """What the headers of a dead letter say; the reason may be one of a later version."""

    model_config = ConfigDict(frozen=True)

    reason: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    field: str = ""
    detail: str = ""
    topic: str = Field(min_length=1)
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    timestamp: int = -1
    truncated_from: int | None = None
    key_truncated_from: int | None = None
    headers_dropped: int | None = None
    redrives: int = Field(0, ge=0)
    value_bytes: int | None = Field(None, ge=0)

    @property
    def in_input_alone(self) -> bool:
        """Whether value and headers of the refused record were left where they are, in the input.

        What they say is then no part of the dead letter, and nothing is cut.
        """
        return self.value_bytes is not None

    @property
    def refusal(self) -> Refusal:
        """Why the record was refused."""
        reason = {"reason": self.reason, "field": self.field or None, "detail": self.detail}
        return Refusal.model_validate(reason)

    @property
    def cut(self) -> bool:
        """Whether something of the refused record was cut off for its length, and is nowhere else.

        It is in the input as long as that keeps it, but nothing says so of a dead letter that is
        to hold it.
        """
        return not self.in_input_alone and any(
            (self.truncated_from, self.key_truncated_from, self.headers_dropped)
        )


def read_dead_letter_headers(headers: Iterable[tuple[str, bytes]]) -> DeadLetterHeaders:
    """Read what `dead_letter_headers` wrote.

    Raises
    ------
    ValueError
        If they are not there or not whole.
    """
    said = {
        name.removeprefix(HEADER_PREFIX): value.decode()
        for name, value in headers
        if name.startswith(HEADER_PREFIX)
    }
    return DeadLetterHeaders.model_validate(said)


def headers_size(headers: Iterable[tuple[str, bytes]]) -> int:
    """Give how many bytes headers take in a record, or a few more."""
    return sum(len(name.encode()) + len(value) + _HEADER_BYTES for name, value in headers)


def original_headers(headers: Iterable[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """Give the headers that the refused record had: those that are not a dead letter's own."""
    return tuple(each for each in headers if not each[0].startswith(HEADER_PREFIX))


# --- records that `segmenter dead-letters redrive` has brought back to an input -----------------

_REDRIVES = HEADER_PREFIX + "redrives"
_INTO = HEADER_PREFIX + "redriven_into"
# Anyone can write such a header. Longer numbers are none of ours.
_MAX_DIGITS = 4


def redrive_headers(redrives: int, topic: str) -> list[tuple[str, bytes]]:
    """Give the headers of a record that is brought back: how often by now, and to which topic."""
    return [(_REDRIVES, b"%d" % redrives), (_INTO, topic.encode())]


def redrives_of(headers: Iterable[tuple[str, bytes]]) -> int:
    """Tell how often a record of an input was brought back, 0 where it never was."""
    value = dict(headers).get(_REDRIVES, b"")
    return int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else 0


def redriven_into(headers: Iterable[tuple[str, bytes]], topic: str) -> bool:
    """Tell whether a record was brought back to this very topic.

    One that was brought back to a foreign input has come from there by intake, as any other.
    """
    return dict(headers).get(_INTO) == topic.encode()


def to_base64(data: bytes | None) -> str | None:
    """Bytes as they stand in a `DeadLetter`."""
    return None if data is None else base64.b64encode(data).decode("ascii")
