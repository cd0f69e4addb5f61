"""Profiles to records of `user-profiles` and back, a whole batch at once.

`docs/formats.md` has the record byte by byte, `schemas.states` reads one by itself. All that every
record has is one structured array here, and a record is a slice of its bytes; only what few users
have is put together user by user.

A vector whose numbers are all exact in fp16 is written in fp16: a table that keeps sums in fp16
gives such, and whoever reads the record gets the very numbers that were written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.profiles.alike import I64, Bools, read_alike
from models.profiles.items import ITEM_BYTES
from models.profiles.items import held as items_held
from models.profiles.layout import (
    COUNTS,
    EVENTS_WORD,
    HEAD_WORD,
    ID_BYTES,
    ITEMS_WORD,
    REFERENCES_WORD,
    fixed,
    vector_word,
    word,
)
from models.profiles.references import REFERENCE, held
from models.profiles.rows import ProfileRows
from schemas.arrays import encode_array
from schemas.binary import CHECKSUM, SECTION, RecordError, checksum, is_binary
from schemas.states import STATE, Precision, Rest, Tag, read_profile, read_state

# A row that is exact in fp16 in these first numbers is looked at as a whole; nearly no other is.
_LOOKED_AT = 8


class RecordAtError(ValueError):
    """One of several records cannot be read: its number among them, and why."""

    def __init__(self, number: int, reason: RecordError) -> None:
        super().__init__(f"record {number}: {reason}")
        self.number = number
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Decoded:
    """States of n records.

    Attributes
    ----------
    rows
        One row a record. That of a tombstone is empty but for the user; one of another embedding
        model has all but its vector, which is zero.
    tombstones
        Numbers of the records without a value.
    foreign
        Embedding model by number of record, where it is another one.
    """

    rows: ProfileRows
    tombstones: frozenset[int]
    foreign: dict[int, str]

    @property
    def own(self) -> list[int]:
        """Numbers of the records that hold a state of this embedding model."""
        left_out = self.tombstones | self.foreign.keys()
        return [number for number in range(len(self.rows)) if number not in left_out]


# --- writing --------------------------------------------------------------------------------------


def encode(rows: ProfileRows, embedding: str, keys: Sequence[bytes] | None = None) -> list[bytes]:
    """Write the record of each row; its key is the user.

    Parameters
    ----------
    rows
        States of n users.
    embedding
        Identity of the embedding model, 64 hexadecimal digits.
    keys
        The users as UTF-8, where that is there already.
    """
    keys = [user.encode() for user in rows.users] if keys is None else keys
    records = [b""] * len(rows)
    half, vectors = _exact_in_half(rows.sums)
    rests = _rests(rows)
    single = np.flatnonzero(~half)
    everyone = len(single) == len(rows)
    for precision, which, numbers in (
        (Precision.FLOAT16, np.flatnonzero(half), vectors),
        (Precision.FLOAT32, single, rows.sums if everyone else rows.sums[single]),
    ):
        own_keys, own_rests = keys, rests
        if len(which) < len(rows):
            own_keys = [keys[row] for row in which.tolist()]
            own_rests = [rests[row] for row in which.tolist()]
        written = _written(rows, which, numbers, own_keys, own_rests, embedding, precision)
        if len(written) == len(rows):
            return written
        for row, record in zip(which.tolist(), written, strict=True):
            records[row] = record
    return records


def _written(  # noqa: PLR0917 - one array after the other
    rows: ProfileRows,
    which: I64,
    vectors: NDArray[np.floating],
    keys: Sequence[bytes],
    rests: Sequence[bytes],
    embedding: str,
    precision: Precision,
) -> list[bytes]:
    """Write the records of some rows, all of one precision, into one piece of memory.

    `rests` has what each record has behind the ids of events.
    """
    if not len(which):
        return []
    dtype = fixed(precision, rows.sums.shape[1])
    counts = np.minimum(rows.events[which], rows.recent.shape[1])
    most = int(counts.max())
    width = dtype.itemsize + ID_BYTES * most + max(map(len, rests)) + CHECKSUM.size
    memory = np.empty((len(which), width), np.uint8)
    # Every record has room for the longest one; what is behind its end is cut off.
    part: NDArray[Any] = np.ndarray(len(which), dtype, memory, strides=(width,))
    _fill(part, rows, which, vectors, embedding, precision)
    ids: NDArray[Any] = np.ndarray(
        (len(which), most), "<u8", memory, dtype.itemsize, (width, ID_BYTES)
    )
    ids[:] = rows.recent[which, :most]
    starts = (np.arange(len(which)) * width).tolist()
    begins = np.arange(len(which)) * width + dtype.itemsize + ID_BYTES * counts
    ends = begins + np.fromiter(map(len, rests), np.int64, len(rests))
    data = memory.reshape(-1).data
    for rest, begin, end in zip(rests, begins.tolist(), ends.tolist(), strict=True):
        data[begin:end] = rest
    sums = [checksum(data[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]
    # One begins at every byte: numpy needs no alignment.
    words: NDArray[Any] = np.ndarray(memory.size - CHECKSUM.size + 1, "<u8", memory, strides=(1,))
    words[ends] = np.array(sums, np.uint64) ^ np.fromiter(map(checksum, keys), np.uint64, len(keys))
    ends += CHECKSUM.size
    return [data[start:end].tobytes() for start, end in zip(starts, ends.tolist(), strict=True)]


def _exact_in_half(sums: NDArray[np.float32]) -> tuple[Bools, NDArray[np.float16]]:
    """Tell which of n rows survive fp16, and give those in fp16."""
    chosen, _ = _survives(sums[:, :_LOOKED_AT])
    which = np.flatnonzero(chosen)
    chosen[which], halves = _survives(sums[which])
    return chosen, halves[chosen[which]]


def _survives(sums: NDArray[np.float32]) -> tuple[Bools, NDArray[np.float16]]:
    with np.errstate(over="ignore"):
        halves = sums.astype(np.float16)
    return (halves == sums).all(axis=1), halves


def _fill(  # noqa: PLR0917 - one array after the other
    part: NDArray[Any],
    rows: ProfileRows,
    which: I64,
    vectors: NDArray[np.floating],
    embedding: str,
    precision: Precision,
) -> None:
    """Set what is alike in all records."""
    part["head"] = HEAD_WORD
    part["state_section"] = word(Tag.STATE, STATE.size)
    part["embedding"] = np.void(bytes.fromhex(embedding))
    part["vector_section"] = vector_word(precision, rows.sums.shape[1])
    part["vector"] = vectors
    for name in ("weights", *COUNTS):
        part[name] = getattr(rows, name)[which]
    counts = np.minimum(part["events"], rows.recent.shape[1])
    part["events_section"] = EVENTS_WORD + (counts << 32) * ID_BYTES


def _rests(rows: ProfileRows) -> list[bytes]:
    """Give what each record has behind the ids of events."""
    known: dict[str | None, bytes] = {}
    found = []
    pieces = [each for each in (_references(rows), _items(rows)) if each is not None]
    for label, terms, given, predicted, since, version, extra in zip(
        rows.labels,
        rows.terms,
        rows.given,
        rows.predicted,
        rows.label_since.tolist(),
        rows.label_versions.tolist(),
        rows.extra,
        strict=True,
    ):
        if terms or given is not None or predicted is not None or since or version or extra:
            rest = Rest(label, terms, given, predicted, since, version, extra).sections()
        elif (kept := known.get(label)) is not None:
            rest = kept
        else:
            rest = known[label] = Rest(label).sections()
        found.append(rest)
    if pieces:
        found = [b"".join(each) for each in zip(*pieces, found, strict=True)]
    return found


def _references(rows: ProfileRows) -> list[bytes] | None:
    """Give each record's section of references, None where nobody has any."""
    counts = held(rows.references)
    if not counts.any():
        return None
    most, size = rows.references.shape[1], REFERENCE.itemsize
    words = [REFERENCES_WORD + (count * size << 32) for count in range(most + 1)]
    heads = [b"", *(each.to_bytes(SECTION.size, "little") for each in words[1:])]
    data, width = rows.references.tobytes(), most * size
    return [
        heads[count] + data[start : start + count * size]
        for start, count in zip(range(0, len(data), width), counts.tolist(), strict=True)
    ]


def _items(rows: ProfileRows) -> list[bytes] | None:
    """Give each record's section of items, None where nobody has any."""
    counts = items_held(rows.items)
    if not counts.any():
        return None
    most = rows.items.shape[1]
    words = [ITEMS_WORD + (count * ITEM_BYTES << 32) for count in range(most + 1)]
    heads = [b"", *(each.to_bytes(SECTION.size, "little") for each in words[1:])]
    data, width = rows.items.astype("<u4", copy=False).tobytes(), most * ITEM_BYTES
    return [
        heads[count] + data[start : start + count * ITEM_BYTES]
        for start, count in zip(range(0, len(data), width), counts.tolist(), strict=True)
    ]


# --- reading --------------------------------------------------------------------------------------


def decode(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    embedding: str,
    dimensions: int,
    memory: int,
    *,
    references: int = 0,
    items: int | None = None,
) -> Decoded:
    """Read records of either form.

    Parameters
    ----------
    keys, values
        Of n records; a value of None is a tombstone.
    embedding, dimensions
        Identity of the embedding model, and length of its vectors.
    memory
        How many ids of events are kept of a user.
    references
        How many references of events likewise.
    items
        How many items likewise; None where nothing is recommended to users.

    Raises
    ------
    RecordAtError
        If one cannot be read: the first of them.
    """
    rows = ProfileRows.empty([""] * len(values), dimensions, memory, references, items)
    tombstones = frozenset(number for number, value in enumerate(values) if value is None)
    foreign: dict[int, str] = {}
    done = read_alike(keys, values, embedding, rows)
    for number in np.flatnonzero(~done).tolist():
        key, value = keys[number] or b"", values[number]
        try:
            if value is None:
                rows.users[number] = _tombstone_of(key)
            elif (found := _read_by_itself(rows, number, key, value, embedding)) != embedding:
                foreign[number] = found
        except RecordError as error:
            raise RecordAtError(number, error) from None
    return Decoded(rows, tombstones, foreign)


def _tombstone_of(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise RecordError("its key is not UTF-8") from None


def _read_by_itself(
    rows: ProfileRows, number: int, key: bytes, value: bytes, embedding: str
) -> str:
    """Read one record, in whatever form, and give its embedding model."""
    extra = b""
    if is_binary(value):
        state = read_state(key, value)
        record, extra = state.to_record(), state.rest.extra
    else:
        record = read_profile(key, value)
    if record.embedding != embedding:
        nothing = encode_array(np.zeros(rows.sums.shape[1]), "<f4")
        rows.load_record(number, record.model_copy(update={"vector": nothing}))
    else:
        try:
            rows.load_record(number, record)
        except ValueError as error:
            raise RecordError(str(error)) from None
    rows.extra[number] = extra
    return record.embedding
