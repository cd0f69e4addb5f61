"""Which partition a key belongs to, by the partitioners that Kafka's clients have by default.

Java's takes murmur2 (`BuiltInPartitioner.partitionForKey`), as do the Streams library and many
others; librdkafka's `consistent_random` takes CRC-32 unless it is told `murmur2_random`. They agree
on one key in as many as there are partitions, as chance has it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

Partitioner = Literal["murmur2", "crc32"]
"""`murmur2`: Java's. `crc32`: librdkafka's."""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash as Kafka's `Utils.murmur2` does; unsigned, where Java's int is signed."""
    h = _SEED ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def _by_murmur2(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def _by_crc32(key: bytes, partitions: int) -> int:
    return zlib.crc32(key) % partitions


_PARTITIONERS: dict[Partitioner, Callable[[bytes, int], int]] = {
    "murmur2": _by_murmur2,
    "crc32": _by_crc32,
}


def partition_of(key: bytes, partitions: int, partitioner: Partitioner = "murmur2") -> int:
    """Give the partition of a key.

    Parameters
    ----------
    key
        As the producer wrote it; not empty, which librdkafka gives to any partition.
    partitions
        How many the topic has.
    partitioner
        Whose rule.
    """
    return _PARTITIONERS[partitioner](key, partitions)
