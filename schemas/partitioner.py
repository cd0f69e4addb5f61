"""Which partition a key belongs to, by the partitioners that Kafka's clients have by default.

Java's takes murmur2 (`BuiltInPartitioner.partitionForKey`), as do the Streams library and many
others; librdkafka's `consistent_random` takes CRC-32 unless it is told `murmur2_random`. They agree
on one key in as many as there are partitions, as chance has it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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


# A key of more bytes is hashed by itself, so that one cannot make the others' table wide.
_MAX_TABLED_BYTES = 64


def murmur2_of(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """Hash many keys as `murmur2` does each; shape (n,)."""
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    tabled = np.where(lengths <= _MAX_TABLED_BYTES, lengths, 0)
    columns = int(tabled.max(initial=0)) // 4 + 1
    width = columns * 4
    short = [key if len(key) <= width else b"" for key in keys]
    padded = b"".join([key.ljust(width, b"\0") for key in short])
    words = np.frombuffer(padded, "<u4").reshape(len(keys), columns)
    m, in_word, near_end, at_end = (np.uint32(each) for each in (_M, 24, 13, 15))
    h: NDArray[np.uint32] = np.uint32(_SEED) ^ tabled.astype(np.uint32)
    whole = tabled // 4
    for column in range(columns):
        k = words[:, column] * m
        k = (k ^ k >> in_word) * m
        h = np.where(column < whole, h * m ^ k, h)
    rest = words[np.arange(len(keys)), whole]
    h = np.where(tabled % 4, (h ^ rest) * m, h)
    h = (h ^ h >> near_end) * m
    h ^= h >> at_end
    for row in np.flatnonzero(lengths > _MAX_TABLED_BYTES).tolist():
        h[row] = murmur2(keys[row])
    return h


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


def partitions_of(
    keys: Sequence[bytes], partitions: int, partitioner: Partitioner = "murmur2"
) -> NDArray[np.int64]:
    """Give the partition of each of many keys, as `partition_of` does one by one; shape (n,)."""
    if partitioner == "murmur2":
        return ((murmur2_of(keys) & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)).astype(np.int64)
    crc32 = np.fromiter(map(zlib.crc32, keys), np.uint32, len(keys))
    return (crc32 % np.uint32(partitions)).astype(np.int64)
