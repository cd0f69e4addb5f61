"""What the loop and the stages exchange: records in, outputs out. No Kafka client in it."""

from __future__ import annotations

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record read from a topic, or a line of a file.

    `timestamp` is the record's own, in milliseconds since 1970, -1 when unknown.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Output:
    """One record to write in the batch's transaction.

    Without a `partition` the key decides. `timestamp` is in milliseconds since 1970; without one it
    is the time of writing.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    timestamp: int | None = None
