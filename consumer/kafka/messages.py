"""Messages of the client as records."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Message

from consumer.contract.records import Headers, Record, RecordColumns


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


def as_columns(topic: str, partition: int, messages: Sequence[Message]) -> RecordColumns:
    """Give messages of one partition as columns."""
    return RecordColumns(
        topic,
        partition,
        [message.offset() or 0 for message in messages],
        [_as_bytes(message.key()) for message in messages],
        [_as_bytes(message.value()) for message in messages],
    )


def _headers(message: Message) -> Headers:
    headers = message.headers()
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return tuple((name, _as_bytes(value) or b"") for name, value in pairs)


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
