"""Refused records: the value as it came on `user-events.dlq`, the reason in the headers."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Base64, Open, Published

# Whoever made a longer key did not mean one.
MAX_KEY_BYTES = 32_768
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
    value: Base64 | None = Field(description="Its value, as it came; null for none.", repr=False)
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
    cut = {"truncated_from": truncated_from, "key_truncated_from": key_truncated_from}
    headers |= {name: str(length) for name, length in cut.items() if length is not None}
    return [(HEADER_PREFIX + name, value.encode()) for name, value in headers.items()]


def to_base64(data: bytes | None) -> str | None:
    """Bytes as they stand in a `DeadLetter`."""
    return None if data is None else base64.b64encode(data).decode("ascii")
