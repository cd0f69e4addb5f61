"""Messages of the client as records."""

from __future__ import annotations

from confluent_kafka import Message

from consumer.contract.records import Headers, Record


def as_record(message: Message) -> Record:
    """Give a message of the client as a record."""
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp=message.timestamp()[1],
        key=_as_bytes(message.key()),
        value=_as_bytes(message.value()),
        headers=_headers(message),
    )


def _headers(message: Message) -> Headers:
    headers = message.headers()
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, _as_bytes(value) or b"") for name, value in pairs)


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
