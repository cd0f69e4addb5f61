"""Items' states to records of `item-profiles` and back, a whole batch at once.

`docs/formats.md` has the record byte by byte. A record is all that is known of its item, and says
of which embedding model its vector is; of another one only the vector is passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np

from models.recommendation.rows import ITEM, PAIR, ItemRows, empty_pairs
from schemas.binary import HEAD, MAGIC, SECTION, VERSION, RecordError, open_record, seal, section

ITEM_KIND = "R"
_HEAD = HEAD.pack(MAGIC, ord(ITEM_KIND), VERSION)
_MADE_OF = struct.Struct("<32sI")
_IDENTITY = 32
_MICROSECOND = timedelta(microseconds=1)
_RATED = ("rated", "first", "second")


class ItemTag(IntEnum):
    """Sections of a record; the first is in every record, and the half-life in all new ones."""

    ITEM = 1
    PAIRS = 2
    VECTOR = 3
    HALF_LIFE = 4
    FORMER = 5


def encode_items(
    rows: ItemRows, embedding: str, half_life: timedelta, former: Sequence[str] = ()
) -> list[bytes]:
    """Write the record of each item; its key is the item.

    Parameters
    ----------
    rows
        States of n items.
    embedding
        Identity of the embedding model, 64 hexadecimal digits.
    half_life
        By which the items fade.
    former
        Identities of the embedding models before it.
    """
    dimensions = rows.sums.shape[1]
    part = np.empty(len(rows), _fixed(dimensions))
    part["head"] = int.from_bytes(_HEAD, "little")
    part["item_section"] = _word(ItemTag.ITEM, _MADE_OF.size + ITEM.itemsize)
    part["made_of"] = np.void(_MADE_OF.pack(bytes.fromhex(embedding), dimensions))
    part["item"] = rows.numbers
    part["half_life_section"] = _word(ItemTag.HALF_LIFE, 8)
    part["half_life"] = half_life // _MICROSECOND
    part["vector_section"] = _word(ItemTag.VECTOR, 4 * dimensions)
    part["vector"] = rows.sums
    data, size = part.tobytes(), part.itemsize
    bare = size - SECTION.size - 4 * dimensions
    counts, pairs = rows.counts(), rows.pairs.tobytes()
    width = rows.pairs.shape[1] * PAIR.itemsize
    ends = np.where(rows.numbers["texts"] > 0, size, bare).tolist()
    heads = [b"", *(_head_of_pairs(count) for count in range(1, rows.pairs.shape[1] + 1))]
    before = b"".join(map(bytes.fromhex, former))
    told = section(ItemTag.FORMER, before) if before else b""
    records = []
    for row, (item, count, end) in enumerate(zip(rows.items, counts.tolist(), ends, strict=True)):
        at, of_pairs = row * size, row * width
        body = data[at : at + end]
        if count:
            body += heads[count] + pairs[of_pairs : of_pairs + count * PAIR.itemsize]
        records.append(seal(body + told, item.encode()))
    return records


@cache
def _fixed(dimensions: int) -> np.dtype[Any]:
    """Give the part of a record that is alike in all that have a vector."""
    return np.dtype(
        [
            ("head", "<u4"),
            ("item_section", "<u8"),
            ("made_of", f"V{_MADE_OF.size}"),
            ("item", ITEM),
            ("half_life_section", "<u8"),
            ("half_life", "<i8"),
            ("vector_section", "<u8"),
            ("vector", "<f4", (dimensions,)),
        ]
    )


def _word(tag: int, length: int) -> int:
    return int.from_bytes(SECTION.pack(tag, 0, length), "little")


def _head_of_pairs(count: int) -> bytes:
    return SECTION.pack(ItemTag.PAIRS, 0, count * PAIR.itemsize)


def made_of(key: bytes, value: bytes) -> tuple[str, int]:
    """Give the embedding model that a record is of, and the length of its vectors.

    Raises
    ------
    RecordError
        If it cannot be read; NewerRecordError where a newer version has written it.
    """
    identity, dimensions = _MADE_OF.unpack_from(_sections(key, value)[ItemTag.ITEM])
    return identity.hex(), dimensions


def counted_of(key: bytes, value: bytes) -> int:
    """Give how many events a record has counted.

    Raises
    ------
    RecordError
        If it cannot be read.
    """
    head = _sections(key, value)[ItemTag.ITEM]
    return int(np.frombuffer(head[_MADE_OF.size :], ITEM)["events"][0])


def former_of(key: bytes, value: bytes) -> tuple[str, ...]:
    """Give the embedding models that were before that of a record, the latest last.

    Raises
    ------
    RecordError
        If it cannot be read.
    """
    told = _sections(key, value).get(ItemTag.FORMER, b"")
    return tuple(told[start : start + _IDENTITY].hex() for start in range(0, len(told), _IDENTITY))


def decode_items(
    keys: Sequence[bytes],
    values: Sequence[bytes],
    embedding: str,
    dimensions: int,
    half_life: timedelta,
) -> ItemRows:
    """Read records into rows; of another embedding model all but the vector.

    What faded by another half-life is anchored anew: it weighs as much at the latest event of its
    item, and fades by this one from then on. A record that tells of none faded by this one.

    Raises
    ------
    RecordError
        If one cannot be read; NewerRecordError where a newer version has written it.
    """
    rows = ItemRows.empty([_item(key) for key in keys], dimensions)
    pairs = []
    faded_by = np.full(len(rows), half_life // _MICROSECOND)
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        sections = _sections(key, value)
        head = sections[ItemTag.ITEM]
        [rows.numbers[row]] = np.frombuffer(head[_MADE_OF.size :], ITEM)
        if told := sections.get(ItemTag.HALF_LIFE):
            faded_by[row] = int.from_bytes(told, "little", signed=True)
        own = np.frombuffer(sections.get(ItemTag.PAIRS, b""), PAIR)
        pairs.append(own)
        vector = np.frombuffer(sections.get(ItemTag.VECTOR, b""), "<f4")
        if not len(vector):
            continue
        if len(vector) == dimensions and head[:32].hex() == embedding:
            rows.sums[row] = vector
        else:
            rows.numbers["texts"][row] = 0.0
    rows.pairs = empty_pairs(len(rows), max(map(len, pairs), default=0))
    for row, own in enumerate(pairs):
        rows.pairs[row, : len(own)] = own
    _without_what_is_not_finite(rows)
    rows.fade_by(half_life, faded_by)
    return rows


def _without_what_is_not_finite(rows: ItemRows) -> None:
    """Begin anew with what has overflowed: it would never come down again.

    Ratings do so together, since the sums of pairs are about the item's first one.
    """
    numbers, pairs = rows.numbers, rows.pairs
    for array in (numbers, pairs):
        array["weight"][~np.isfinite(array["weight"])] = 0.0
    sound = np.isfinite(numbers["centre"])
    for name in _RATED:
        sound &= np.isfinite(numbers[name]) & np.isfinite(pairs[name]).all(axis=1)
    numbers["centre"][~sound] = 0.0
    for name in _RATED:
        numbers[name][~sound] = 0.0
        pairs[name][~sound] = 0.0
    silent = ~(np.isfinite(numbers["texts"]) & np.isfinite(rows.sums).all(axis=1))
    numbers["texts"][silent] = 0.0
    rows.sums[silent] = 0.0


def _item(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise RecordError("its key is not UTF-8") from None


def _sections(key: bytes, value: bytes) -> dict[int, bytes]:
    sections = {each.tag: each.payload for each in open_record(ITEM_KIND, key, value)}
    if len(sections.get(ItemTag.ITEM, b"")) != _MADE_OF.size + ITEM.itemsize:
        raise RecordError("its section 1 (item) is missing, or not of the form it should have")
    if (
        len(sections.get(ItemTag.PAIRS, b"")) % PAIR.itemsize
        or len(sections.get(ItemTag.VECTOR, b"")) % 4
        or len(sections.get(ItemTag.FORMER, b"")) % _IDENTITY
        or not _is_half_life(sections.get(ItemTag.HALF_LIFE))
    ):
        raise RecordError("a section is not of the form that it should have")
    return sections


def _is_half_life(told: bytes | None) -> bool:
    """Tell whether a section is a time above 0; one that is not there is no other one."""
    return told is None or (len(told) == 8 and int.from_bytes(told, "little", signed=True) > 0)
