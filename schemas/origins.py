"""Headers that tell where a record of `user-events` was, where `segmenter intake` brought it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HEADER_PREFIX = "intake_"
# Kafka's. Anyone can write such a header, and what is read of it goes into dead letters.
_MAX_TOPIC_CHARS = 249
_MAX_INT64 = 2**63 - 1


class Origin(NamedTuple):
    """The record of the foreign input; `timestamp` in milliseconds since 1970, -1 when unknown."""

    topic: str
    partition: int
    offset: int
    timestamp: int


_HEADERS = tuple(HEADER_PREFIX + name for name in Origin._fields)


def origin_headers(origin: Origin) -> list[tuple[str, bytes]]:
    """Give the headers of a record that comes from another one; all values are UTF-8 text."""
    topic, *numbers = origin
    values = (topic.encode(), *(b"%d" % number for number in numbers))
    return list(zip(_HEADERS, values, strict=True))


def origin_of(headers: Iterable[tuple[str, bytes | str | None]]) -> Origin | None:
    """Read what `origin_headers` wrote, None where it is not there or not whole."""
    found = {name: value for name, value in headers if name.startswith(HEADER_PREFIX)}
    texts = [found.get(HEADER_PREFIX + name) for name in Origin._fields]
    try:
        topic, *numbers = [
            text.decode() if isinstance(text, bytes) else str(text or "") for text in texts
        ]
        origin = Origin(topic, *map(int, numbers))
    except ValueError:
        return None
    possible = 0 < len(topic) <= _MAX_TOPIC_CHARS and max(map(abs, origin[1:])) <= _MAX_INT64
    return origin if possible else None
