"""Messages of the client as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import Message

from consumer.contract.records import Headers, Record, RecordColumns


def as_record(message: Message) -> Record:
    """Give a message of the client as a record."""
    return as_records([message])[0]


def as_records(messages: Iterable[Message]) -> list[Record]:
    """Give messages of the client as records."""
    # Of what was read key, value and the headers' values are bytes or None; the types of the
    # client's methods are for what is written, too.
    several: Iterable[Any] = messages
    return [
        Record(
            each.topic(),
            each.partition(),
            each.offset(),
            each.timestamp()[1],
            each.key(),
            each.value(),
            _headers(headers) if (headers := each.headers()) else (),
        )
        for each in several
    ]


def as_columns(topic: str, partition: int, messages: Sequence[Message]) -> RecordColumns:
    """Give messages of one partition as columns."""
    keys: Any = [message.key() for message in messages]
    values: Any = [message.value() for message in messages]
    offsets = [message.offset() or 0 for message in messages]
    return RecordColumns(topic, partition, offsets, keys, values)


def _headers(pairs: list[tuple[str, bytes | None]]) -> Headers:
    return tuple((name, value or b"") for name, value in pairs)
