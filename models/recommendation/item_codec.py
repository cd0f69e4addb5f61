"""Items' states to records of `item-profiles` and back, a whole batch at once.

`docs/formats.md` has the record byte by byte. A record is all that is known of its item, and says
of which embedding model its vector is; of another one only the vector is passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from models.recommendation.rows import ITEM, PAIR, ItemRows, empty_pairs
from schemas.binary import HEAD, MAGIC, VERSION, RecordError, open_record, seal, section

ITEM_KIND = "R"
_HEAD = HEAD.pack(MAGIC, ord(ITEM_KIND), VERSION)
_IDENTITY, _MADE_OF = 32, struct.Struct("<32sI")


class ItemTag(IntEnum):
    """Sections of a record; the first is in every record."""

    ITEM = 1
    PAIRS = 2
    VECTOR = 3


def encode_items(rows: ItemRows, embedding: str) -> list[bytes]:
    """Write the record of each item; its key is the item.

    Parameters
    ----------
    rows
        States of n items.
    embedding
        Identity of the embedding model, 64 hexadecimal digits.
    """
    made_of = _MADE_OF.pack(bytes.fromhex(embedding), rows.sums.shape[1])
    counts = rows.counts().tolist()
    numbers, sums = rows.numbers, rows.sums.astype("<f4", copy=False)
    written = (numbers["texts"] > 0).tolist()
    records = []
    for row, item in enumerate(rows.items):
        body = _HEAD + section(ItemTag.ITEM, made_of + numbers[row].tobytes())
        if counts[row]:
            body += section(ItemTag.PAIRS, rows.pairs[row, : counts[row]].tobytes())
        if written[row]:
            body += section(ItemTag.VECTOR, sums[row].tobytes())
        records.append(seal(body, item.encode()))
    return records


def made_of(key: bytes, value: bytes) -> tuple[str, int]:
    """Give the embedding model that a record is of, and the length of its vectors.

    Raises
    ------
    RecordError
        If it cannot be read; NewerRecordError where a newer version has written it.
    """
    identity, dimensions = _MADE_OF.unpack_from(_sections(key, value)[ItemTag.ITEM])
    return identity.hex(), dimensions


def decode_items(
    keys: Sequence[bytes], values: Sequence[bytes], embedding: str, dimensions: int
) -> ItemRows:
    """Read records into rows; of another embedding model all but the vector.

    Raises
    ------
    RecordError
        If one cannot be read; NewerRecordError where a newer version has written it.
    """
    rows = ItemRows.empty([_item(key) for key in keys], dimensions)
    pairs = []
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        sections = _sections(key, value)
        head = sections[ItemTag.ITEM]
        [rows.numbers[row]] = np.frombuffer(head[_MADE_OF.size :], ITEM)
        own = np.frombuffer(sections.get(ItemTag.PAIRS, b""), PAIR)
        pairs.append(own)
        vector = np.frombuffer(sections.get(ItemTag.VECTOR, b""), "<f4")
        if not len(vector):
            continue
        if len(vector) == dimensions and head[:_IDENTITY].hex() == embedding:
            rows.sums[row] = vector
        else:
            rows.numbers["texts"][row] = 0.0
    rows.pairs = empty_pairs(len(rows), max(map(len, pairs), default=0))
    for row, own in enumerate(pairs):
        rows.pairs[row, : len(own)] = own
    return rows


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
    ):
        raise RecordError("a section is not of the form that it should have")
    return sections
