"""What a user's event says of an item, as a record of `item-events` holds it; the item is its key.

`docs/formats.md` has the form byte by byte. A worker writes all of a batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from math import isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.binary import (
    CHECKSUM,
    HEAD,
    MAGIC,
    SECTION,
    VERSION,
    RecordError,
    checksum,
    open_record,
    seal,
    section,
)
from schemas.events import EventType
from schemas.states import EARLIEST, LATEST, read_user

ITEM_EVENT_KIND = "I"

TYPES = tuple(EventType)
"""What the codes of types stand for; new ones come behind."""

ITEM_EVENT = np.dtype(
    [
        ("embedding", "V32"),
        ("event_hash", "<u8"),
        ("time", "<i8"),
        ("offset", "<i8"),
        ("rating", "<f8"),
        ("partition", "<i4"),
        ("segment", "<i4"),
        ("type", "<u4"),
    ]
)
"""Identity of the embedding model; hash of the event id; event time in microseconds since 1970;
the event's offset in the input; rating, NaN for none; partition of the input; the user's segment
behind the event, -1 for none; code of the type."""


class ItemEventTag(IntEnum):
    """Sections of a record, all in every record and in this order."""

    EVENT = 1
    VECTOR = 2
    USER = 3


@dataclass(frozen=True, slots=True)
class ItemEvent:
    """One event about an item.

    Attributes
    ----------
    item, user, embedding
        Ids, and the identity of the embedding model in hexadecimal digits.
    event_hash
        Of the event id, as in a profile.
    time
        Event time, microseconds since 1970.
    partition, offset
        Where the input has the event.
    rating
        NaN where there is none.
    segment
        The user's behind the event, NO_SEGMENT for none.
    type
        What the user did.
    vector
        Of its text, float16 (d,).
    """

    item: str
    user: str
    embedding: str
    event_hash: int
    time: int
    partition: int
    offset: int
    rating: float
    segment: int
    type: EventType
    vector: NDArray[np.float16]


@cache
def _fixed(dimensions: int) -> np.dtype[Any]:
    """Give the part of a record that is alike in all."""
    return np.dtype(
        [
            ("head", "<u4"),
            ("event_section", "<u8"),
            ("event", ITEM_EVENT),
            ("vector_section", "<u8"),
            ("vector", "<f2", (dimensions,)),
        ]
    )


def encode_item_events(
    events: NDArray[Any], vectors: NDArray[np.floating], items: Sequence[str], users: Sequence[str]
) -> list[bytes]:
    """Write n records.

    Parameters
    ----------
    events
        ITEM_EVENT (n,).
    vectors
        Of the texts, float (n, d).
    items, users
        Whose keys the records get, and whose events they are.
    """
    part = np.empty(len(events), _fixed(vectors.shape[1]))
    part["head"] = _head_word()
    part["event_section"] = _word(ItemEventTag.EVENT, ITEM_EVENT.itemsize)
    part["event"] = events
    part["vector_section"] = _word(ItemEventTag.VECTOR, 2 * vectors.shape[1])
    part["vector"] = vectors
    data, size = part.tobytes(), part.itemsize
    return [
        seal(data[start : start + size] + section(ItemEventTag.USER, user.encode()), item.encode())
        for start, item, user in zip(range(0, len(data), size or 1), items, users, strict=True)
    ]


def _word(tag: int, length: int) -> int:
    return int.from_bytes(SECTION.pack(tag, 0, length), "little")


def read_item_event(key: bytes | None, value: bytes) -> ItemEvent:
    """Read a record.

    Raises
    ------
    NewerRecordError
        If a newer version has written it.
    RecordError
        If it cannot be read.
    """
    key = key or b""
    sections = {each.tag: each.payload for each in open_record(ITEM_EVENT_KIND, key, value)}
    try:
        event, vector, user = (sections[tag] for tag in ItemEventTag)
    except KeyError as error:
        raise RecordError(f"its section {error} is missing") from None
    if len(event) != ITEM_EVENT.itemsize or len(vector) % 2:
        raise RecordError("a section is not of the form that it should have")
    [numbers] = np.frombuffer(event, ITEM_EVENT)
    code, time, rating = int(numbers["type"]), int(numbers["time"]), float(numbers["rating"])
    if code >= len(TYPES) or not EARLIEST <= time <= LATEST or isinf(rating):
        raise RecordError("its type, its time or its rating is out of range")
    return ItemEvent(
        item=read_user(key),
        user=read_user(user),
        embedding=numbers["embedding"].tobytes().hex(),
        event_hash=int(numbers["event_hash"]),
        time=time,
        partition=int(numbers["partition"]),
        offset=int(numbers["offset"]),
        rating=rating,
        segment=int(numbers["segment"]),
        type=TYPES[code],
        vector=np.frombuffer(vector, "<f2").astype(np.float16),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ItemEventColumns:
    """n events about items as columns.

    Attributes
    ----------
    items
        Which they are about.
    events
        ITEM_EVENT (n,).
    texts
        By embedding model, in the order in which they come: which events have vectors of it, int64
        (t,), and these, float16 (t, d).
    """

    items: list[str]
    events: NDArray[Any]
    texts: dict[str, tuple[NDArray[np.int64], NDArray[np.float16]]]


def read_item_events(keys: Sequence[bytes], values: Sequence[bytes]) -> ItemEventColumns:
    """Read many records, at a fifth of what `read_item_event` takes for each.

    Raises
    ------
    NewerRecordError
        If a newer version has written one of them.
    RecordError
        If one cannot be read.
    """
    if not values:
        return ItemEventColumns([], np.zeros(0, ITEM_EVENT), {})
    first = read_item_event(keys[0], values[0])
    form = _fixed(len(first.vector))
    if all(_is_sound(key, value, form.itemsize) for key, value in zip(keys, values, strict=True)):
        part = np.frombuffer(b"".join([value[: form.itemsize] for value in values]), form)
        events = part["event"]
        identity = np.void(bytes.fromhex(first.embedding))
        if (
            (part["head"] == _head_word()).all()
            and (part["event_section"] == _word(ItemEventTag.EVENT, ITEM_EVENT.itemsize)).all()
            and (part["vector_section"] == _word(ItemEventTag.VECTOR, 2 * len(first.vector))).all()
            and (events["embedding"] == identity).all()
            and (events["type"] < len(TYPES)).all()
            and not np.isinf(events["rating"]).any()
            and ((events["time"] >= EARLIEST) & (events["time"] <= LATEST)).all()
        ):
            texts = {first.embedding: (np.arange(len(values)), part["vector"])}
            try:
                return ItemEventColumns([key.decode() for key in keys], events, texts)
            except UnicodeDecodeError:
                raise RecordError("its key is not UTF-8") from None
    return _one_by_one(keys, values)


def _one_by_one(keys: Sequence[bytes], values: Sequence[bytes]) -> ItemEventColumns:
    """Read records of which not all are alike: of several models, or bad ones."""
    read = [read_item_event(key, value) for key, value in zip(keys, values, strict=True)]
    events = np.zeros(len(read), ITEM_EVENT)
    rows: dict[tuple[str, int], list[int]] = {}
    for row, one in enumerate(read):
        told = (np.void(bytes.fromhex(one.embedding)), one.event_hash, one.time, one.offset)
        events[row] = (*told, one.rating, one.partition, one.segment, TYPES.index(one.type))
        rows.setdefault((one.embedding, len(one.vector)), []).append(row)
    return ItemEventColumns(
        [one.item for one in read],
        events,
        {
            embedding: (np.array(own, np.int64), np.stack([read[row].vector for row in own]))
            for (embedding, _), own in rows.items()
        },
    )


def _is_sound(key: bytes, value: bytes, size: int) -> bool:
    end = len(value) - CHECKSUM.size
    return end > size and CHECKSUM.unpack_from(value, end)[0] == (
        checksum(value[:end]) ^ checksum(key)
    )


def _head_word() -> int:
    return int.from_bytes(HEAD.pack(MAGIC, ord(ITEM_EVENT_KIND), VERSION), "little")
