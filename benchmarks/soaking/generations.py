"""How often a group has shared its partitions out anew, as its coordinator notes it.

The coordinator keeps groups in `__consumer_offsets`. Each rebalance gives a classic group the next
generation, and one by KIP-848 the next epoch. A record of either begins with a version and that
number; a classic one has the kind of its protocol between.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consumer.contract.records import Record
from consumer.kafka.cluster import read_topic
from consumer.settings import Settings

_TOPIC = "__consumer_offsets"
# Kinds of keys, and the latest version of the values that is known.
_CLASSIC, _CONSUMER = 2, 3
_VERSIONS = {_CLASSIC: 3, _CONSUMER: 0}


class Generation(NamedTuple):
    """A number that a group has, from a time on."""

    at: float
    """Seconds since 1970, by the broker's clock."""
    number: int


def generations(settings: Settings) -> list[Generation]:
    """Read the numbers that a group has had, in their order; its members must have ended."""
    return of_records(read_topic(settings, _TOPIC), settings.kafka.group_id)


def of_records(records: Iterable[Record], group: str) -> list[Generation]:
    """Find a group's numbers among the records of all groups.

    Raises
    ------
    ValueError
        If a record is of a version that is not known.
    """
    found = []
    for record in records:
        kind = _kind_of(record.key, group)
        if kind is not None and record.value is not None:
            found.append(Generation(record.timestamp / 1000, _number_of(kind, record.value)))
    return found


def rebalances(found: Sequence[Generation], begin: float, end: float) -> int:
    """Count the rebalances between two times."""

    def at(time: float) -> int:
        return max((each.number for each in found if each.at <= time), default=0)

    return at(end) - at(begin)


def _kind_of(key: bytes | None, group: str) -> int | None:
    for kind in _VERSIONS:
        if key == struct.pack(">hh", kind, len(group.encode())) + group.encode():
            return kind
    return None


def _number_of(kind: int, value: bytes) -> int:
    (version,) = struct.unpack_from(">h", value)
    if version > _VERSIONS[kind]:
        raise ValueError(f"a group's record of kind {kind} has version {version}, which is new")
    place = 2
    if kind == _CLASSIC:
        (length,) = struct.unpack_from(">h", value, place)
        place += 2 + length
    number: int = struct.unpack_from(">i", value, place)[0]
    return number
