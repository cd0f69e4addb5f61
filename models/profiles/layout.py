"""How records of `user-profiles` lie in memory: what all of them have is one structured array."""

from __future__ import annotations

from functools import cache

import numpy as np

from schemas.binary import HEAD, MAGIC, SECTION, VERSION
from schemas.states import DTYPES, STATE_KIND, Precision, Tag

ID_BYTES = 8
HEAD_WORD = int.from_bytes(HEAD.pack(MAGIC, ord(STATE_KIND), VERSION), "little")
COUNTS = ("reference", "events", "repeats", "segments", "since", "sequence", "versions")
_PREFIX_FIELDS: list[tuple[str, str]] = [
    ("head", "<u4"),
    ("state_section", "<u8"),
    ("embedding", f"V{len(bytes(32))}"),
    ("weights", "<f8"),
    *((name, "<i8") for name in COUNTS),
    ("vector_section", "<u8"),
]
PREFIX = np.dtype(_PREFIX_FIELDS)


def word(tag: Tag, length: int, flags: int = 0) -> int:
    """Give the head of a section as the number that its eight bytes make."""
    return int.from_bytes(SECTION.pack(tag, flags, length), "little")


EVENTS_WORD = word(Tag.EVENTS, 0)
REFERENCES_WORD = word(Tag.REFERENCES, 0)
ITEMS_WORD = word(Tag.ITEMS, 0)


@cache
def fixed(precision: Precision, dimensions: int) -> np.dtype[np.void]:
    """Give the part of a record that is alike in all, up to the ids of events."""
    vector = ("vector", DTYPES[precision], (dimensions,))
    return np.dtype([*_PREFIX_FIELDS, vector, ("events_section", "<u8")])


def vector_word(precision: Precision, dimensions: int) -> int:
    """Give the head of a vector's section likewise."""
    length = np.dtype(DTYPES[precision]).itemsize * dimensions
    return word(Tag.VECTOR, length, precision)
