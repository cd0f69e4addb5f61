"""The frame that binary records of state have in common: head, sections, checksum.

`docs/formats.md` has it byte by byte. All numbers are little-endian:

    0xF5 | kind, a letter | version uint16
    sections: tag uint16 | flags uint16 | length uint32 | so many bytes
    XXH3-64 of all before, XORed with that of the record's key

No text in UTF-8 has the byte 0xF5, and so no JSON of former versions begins with it. The first four
bytes and the last eight stay as they are in every version, so that a newer one is told from a
damaged one. The checksum covers the key because the user is nowhere else: a record that came under
another key is found damaged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

MAGIC = 0xF5
VERSION = 1

HEAD = struct.Struct("<BBH")
SECTION = struct.Struct("<HHI")
CHECKSUM = struct.Struct("<Q")

checksum = xxhash.xxh3_64_intdigest


class RecordError(ValueError):
    """A record that cannot be read; the sentence says why and quotes nothing of it."""


class NewerRecordError(RecordError):
    """A record in a format that this version does not know yet."""


class SectionBytes(NamedTuple):
    """A section as it stands in a record; `whole` has its head too."""

    tag: int
    flags: int
    payload: bytes
    whole: bytes


def is_binary(value: bytes) -> bool:
    """Tell a binary record from JSON."""
    return value[:1] == b"\xf5"


def section(tag: int, payload: bytes, flags: int = 0) -> bytes:
    """Give a section's bytes."""
    return SECTION.pack(tag, flags, len(payload)) + payload


def seal(body: bytes, key: bytes) -> bytes:
    """Add the checksum to a record's head and sections."""
    return body + CHECKSUM.pack(checksum(body) ^ checksum(key))


def open_record(kind: str, key: bytes, value: bytes) -> list[SectionBytes]:
    """Give the sections of a record, in their order.

    Parameters
    ----------
    kind
        The letter that the record should have.
    key
        The record's key.
    value
        The record.

    Raises
    ------
    NewerRecordError
        If a newer version has written it.
    RecordError
        If it is damaged, or of another kind.
    """
    if len(value) < HEAD.size + CHECKSUM.size or value[0] != MAGIC:
        raise RecordError("it does not begin as a record of state does, or ends too early")
    if CHECKSUM.unpack_from(value, len(value) - CHECKSUM.size)[0] != (
        checksum(value[: -CHECKSUM.size]) ^ checksum(key)
    ):
        raise RecordError("its checksum does not fit: it is damaged, or stands under another key")
    _, found, version = HEAD.unpack_from(value)
    if found != ord(kind):
        raise RecordError(f"it is of the kind {chr(found)!r}, not {kind!r}")
    if version > VERSION:
        raise NewerRecordError(f"format {version}; this one knows {VERSION}")
    if version < VERSION:
        raise RecordError(f"it has the format {version}, which there never was")
    return list(sections_of(value[HEAD.size : -CHECKSUM.size]))


def sections_of(data: bytes) -> Iterator[SectionBytes]:
    """Cut bytes into sections.

    Raises
    ------
    RecordError
        If they are none.
    """
    place = 0
    while place < len(data):
        if len(data) - place < SECTION.size:
            raise RecordError("it ends amid the head of a section")
        tag, flags, length = SECTION.unpack_from(data, place)
        start = place + SECTION.size
        if len(data) - start < length:
            raise RecordError(f"its section {tag} says {length} bytes and has {len(data) - start}")
        place, begin = start + length, place
        yield SectionBytes(tag, flags, data[start:place], data[begin:place])
