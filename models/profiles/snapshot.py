"""A profile table as plain arrays and back, bit for bit: what a local checkpoint holds.

The large arrays are the table's own, and a table made of them takes them over as they are: they
may be pages of a file that are read when they are first asked for, and copied when they are first
written to. Nothing is done user by user that can be done for all at once. Strings become a column
of characters and one of lengths. Numbers are kept as they are in memory, little-endian.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.profiles.references import REFERENCE
from models.profiles.table import (
    ITEM_LINKS,
    LINKS,
    NOBODY,
    NUMBERS,
    SHARED,
    ProfileTable,
    TableParts,
)

Columns = Mapping[str, NDArray[Any]]

_I32 = np.dtype("<i4")
_F64 = np.dtype("<f8")
_BYTE = np.dtype("u1")
_SUMS = ("sums32", "sums16")
"""By vector class."""
_NONE = -1
"""Length of a string that is not there."""


class SnapshotError(ValueError):
    """Columns that make up no profile table."""


class OtherLayoutError(SnapshotError):
    """Columns of a profile table as another version has it."""


@dataclass(frozen=True, slots=True)
class ProfileSnapshot:
    """The users that a table holds at one moment, without a copy of their states.

    It is taken in milliseconds and costs little memory, but it is blurred: while it is written
    elsewhere, the table goes on, and of a user who is `put` or removed meanwhile it shows the old
    state, the new one, some columns of each, or another such user's. That is enough beside a
    changelog that tells of each user who was put, with the whole state, and of each who was
    removed: reading that from the moment of the snapshot on sets right whatever was blurred (a
    fuzzy checkpoint, as in Mohan et al., "ARIES", ACM TODS 1992). It rests on two things. Of a user
    who was not put or removed all is as it was: no row and no slot changes hands for another user's
    sake. And what says where something is (`TableParts.links`, users, names) is a copy, taken at
    one moment: so no two users ever point at one place.
    """

    parts: TableParts
    users: int

    @classmethod
    def of(cls, table: ProfileTable) -> Self:
        """Take the users of a table."""
        return cls(table.parts(), len(table))

    def __len__(self) -> int:
        return self.users

    def columns(self) -> dict[str, NDArray[Any]]:
        """Give everything as little-endian arrays in C order, by name; `table_of` takes them.

        The large ones are the table's own, not copies; there is one for each chunk.
        """
        parts = self.parts
        columns = {"layout": _layout(), "links": _as_bytes(parts.links)}
        columns |= _numbered("numbers", [_as_bytes(chunk) for chunk in parts.numbers])
        for name, vectors in zip(_SUMS, parts.vectors, strict=True):
            columns |= _numbered(name, vectors)
        for number, rings in enumerate(parts.rings):
            columns |= _numbered(f"ids{number}", rings)
        for number, references in enumerate(parts.references):
            columns |= _numbered(f"references{number}", [_as_bytes(each) for each in references])
        # Only where they are kept: so a checkpoint of before is read where they are not.
        if parts.items:
            columns["item_links"] = _as_bytes(parts.item_links)
        for number, items in enumerate(parts.items):
            columns |= _numbered(f"items{number}", items)
        columns |= _pack_strings("users", parts.users)
        columns |= _pack_strings("names", parts.names)
        words: dict[str, int] = {}
        columns["term_rows"] = np.fromiter(parts.terms, _I32, len(parts.terms))
        columns["term_counts"] = np.fromiter(map(len, parts.terms.values()), _I32, len(parts.terms))
        # A loop of Python's own rather than one long call into C: the thread that writes a
        # checkpoint then lets go of the interpreter now and then.
        columns["term_codes"] = np.fromiter(
            (words.setdefault(word, len(words)) for own in parts.terms.values() for word in own),
            _I32,
        )
        columns["term_weights"] = np.fromiter(
            (weight for own in parts.terms.values() for weight in own.values()), _F64
        )
        columns |= _pack_strings("words", list(words))
        columns["extra_rows"] = np.fromiter(parts.extra, _I32, len(parts.extra))
        columns["extra_lengths"] = np.fromiter(
            map(len, parts.extra.values()), _I32, len(parts.extra)
        )
        columns["extra_bytes"] = np.frombuffer(b"".join(parts.extra.values()), _BYTE)
        return columns


def table_of(
    columns: Columns,
    dimensions: int,
    memory: int,
    float16_limit: float | None = None,
    *,
    references: int = 0,
    items: int | None = None,
) -> ProfileTable:
    """Make the table that a snapshot's columns describe.

    Parameters
    ----------
    columns
        What `ProfileSnapshot.columns` gave. The table takes the arrays over, without a copy where
        they can be written to; that writing must not reach whoever else has them.
    dimensions, memory
        Length of the embeddings, and how many event ids are remembered.
    float16_limit
        That of the table which it was taken from.
    references
        How many references of events are kept.
    items
        How many items of each user; None where nothing is recommended to users.

    Returns
    -------
    ProfileTable
        The same states in the same rows as in the table that it was taken from.

    Raises
    ------
    SnapshotError
        If a column is missing, or has another type, another shape or other values than the rest
        asks for.
    OtherLayoutError
        If that is because another version has written them.
    """
    table = ProfileTable(dimensions, memory, float16_limit, references=references, items=items)
    try:
        if columns["layout"].tobytes() != _layout().tobytes():
            raise OtherLayoutError("its columns are laid out as another version has them")
        users = _unpack_strings("users", columns)
        names = _unpack_strings("names", columns)
        links = _structured(_chunk("links", columns["links"], _BYTE, LINKS.itemsize), LINKS)
        item_links = np.zeros(0, ITEM_LINKS)
        if items is not None:
            chunk = _chunk("item_links", columns["item_links"], _BYTE, ITEM_LINKS.itemsize)
            item_links = _structured(chunk, ITEM_LINKS)
        parts = TableParts(
            users=users,
            names=names,
            links=links,
            numbers=[
                _structured(chunk, NUMBERS)
                for chunk in _chunks("numbers", columns, _BYTE, NUMBERS.itemsize)
            ],
            vectors=[
                _chunks(name, columns, slab.dtype, slab.width)
                for name, slab in zip(_SUMS, table.vector_slabs, strict=True)
            ],
            rings=[
                _chunks(f"ids{number}", columns, slab.dtype, slab.width)
                for number, slab in enumerate(table.ring_slabs)
            ],
            references=[
                [
                    chunk.view(REFERENCE)
                    for chunk in _chunks(
                        f"references{number}", columns, _BYTE, slab.width * REFERENCE.itemsize
                    )
                ]
                for number, slab in enumerate(table.reference_slabs)
            ],
            item_links=item_links,
            items=[
                _chunks(f"items{number}", columns, slab.dtype, slab.width)
                for number, slab in enumerate(table.item_slabs)
            ],
            terms=_terms(columns, len(users)),
            extra=_extra(columns, len(users)),
        )
    except KeyError as error:
        raise SnapshotError(f"the column {error.args[0]} is missing") from None
    _check_links(parts)
    made = ProfileTable.of_parts(
        parts, dimensions, memory, float16_limit, references=references, items=items
    )
    if len(made) != np.count_nonzero(links["vector_class"] != NOBODY):
        raise SnapshotError("a user is in it twice")
    return made


def _check_links(parts: TableParts) -> None:
    """Make sure that each row's places are there and are its alone."""
    rows, links = len(parts.users), parts.links
    if len(links) != rows:
        raise SnapshotError(f"the column links has {len(links)} rows, not {rows}")
    if (count := sum(map(len, parts.numbers))) != rows:
        raise SnapshotError(f"the columns numbers have {count} rows, not {rows}")
    nobody = np.fromiter((user is None for user in parts.users), np.bool_, rows)
    if (nobody != (links["vector_class"] == NOBODY)).any():
        raise SnapshotError("the column links does not fit the users")
    if parts.items and len(parts.item_links) != rows:
        raise SnapshotError(f"the column item_links has {len(parts.item_links)} rows, not {rows}")
    for name, own, kind, slabs in (
        ("links", links, "a vector", parts.vectors),
        ("links", links, "a ring", parts.rings),
        ("links", links, "a reference", parts.references),
        ("item_links", parts.item_links, "items", parts.items),
    ):
        field = kind.removeprefix("a ")
        classes = own[f"{field}_class"]
        if len(own) and not (classes.min() >= NOBODY and classes.max() < len(slabs)):
            raise SnapshotError(f"the column {name} has {kind} class that there is not")
        for number, chunks in enumerate(slabs):
            slots, count = own[field][classes == number], sum(map(len, chunks))
            if len(slots) and not (slots.min() >= 0 and slots.max() < count):
                raise SnapshotError(f"the column {name} has {kind} outside of 0 to {count - 1}")
            if len(slots) and np.bincount(slots).max() > 1:
                raise SnapshotError(f"the column {name} has {kind} twice")
    known = [name for name in parts.names if name is not None]
    if len(set(known)) < len(known):
        raise SnapshotError("the column names has a name twice")
    for name in SHARED:
        if rows and not (links[name].min() >= 0 and links[name].max() <= len(parts.names)):
            raise SnapshotError(f"the column links has {name} outside of 0 to {len(parts.names)}")


def _layout() -> NDArray[Any]:
    """Say what the structured columns are made of, as text."""
    return np.frombuffer(repr((NUMBERS.descr, LINKS.descr, REFERENCE.descr)).encode(), _BYTE)


def _as_bytes(rows: NDArray[Any]) -> NDArray[Any]:
    return rows.view(_BYTE).reshape(len(rows), math.prod(rows.shape[1:]) * rows.dtype.itemsize)


def _structured(rows: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return rows.reshape(-1).view(dtype)


def _numbered(name: str, chunks: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{name}.{number}": chunk for number, chunk in enumerate(chunks)}


def _chunks(name: str, columns: Columns, dtype: np.dtype[Any], width: int) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = []
    while (column := columns.get(f"{name}.{len(found)}")) is not None:
        found.append(_chunk(f"{name}.{len(found)}", column, dtype, width))
    return found


def _chunk(name: str, column: NDArray[Any], dtype: np.dtype[Any], width: int) -> NDArray[Any]:
    if column.ndim != 2 or column.shape[1] != width or column.dtype != dtype:
        raise SnapshotError(
            f"the column {name} is {column.dtype} {column.shape}, not {dtype} (n, {width})"
        )
    return np.require(column, dtype, ["C", "W"])


def _terms(columns: Columns, users: int) -> dict[int, dict[str, float]]:
    words = [word or "" for word in _unpack_strings("words", columns)]
    rows = _checked("term_rows", columns, columns["term_rows"].size, 0, users)
    counts = _checked("term_counts", columns, len(rows), 0, np.iinfo(np.int32).max)
    total = sum(counts)
    codes = _checked("term_codes", columns, total, 0, len(words))
    weights = columns["term_weights"]
    if weights.dtype != _F64 or weights.shape != (total,):
        raise SnapshotError(f"the column term_weights has {weights.size} entries, not {total}")
    if len(set(rows)) < len(rows):
        raise SnapshotError("the column term_rows has a row twice")
    names, values = [words[code] for code in codes], weights.tolist()
    return {
        row: dict(zip(names[start:end], values[start:end], strict=True))
        for row, (start, end) in zip(rows, pairwise(accumulate(counts, initial=0)), strict=True)
    }


def _extra(columns: Columns, users: int) -> dict[int, bytes]:
    rows = _checked("extra_rows", columns, columns["extra_rows"].size, 0, users)
    lengths = _checked("extra_lengths", columns, len(rows), 0, np.iinfo(np.int32).max)
    joined = columns["extra_bytes"].tobytes()
    if sum(lengths) != len(joined) or len(set(rows)) < len(rows):
        raise SnapshotError("the column extra_lengths does not fit extra_bytes")
    return {
        row: joined[start:end]
        for row, (start, end) in zip(rows, pairwise(accumulate(lengths, initial=0)), strict=True)
    }


def _checked(name: str, columns: Columns, count: int, low: int, high: int) -> list[int]:
    """Give a column of integers from `low` up to below `high`."""
    column = columns[name]
    if column.dtype != _I32 or column.shape != (count,):
        raise SnapshotError(
            f"the column {name} is {column.dtype} {column.shape}, not int32 {count}"
        )
    if count and not (low <= column.min() and column.max() < high):
        raise SnapshotError(f"the column {name} has values outside of {low} to {high - 1}")
    numbers: list[int] = column.tolist()
    return numbers


def _pack_strings(name: str, strings: Sequence[str | None]) -> dict[str, NDArray[Any]]:
    text = "".join(string for string in strings if string is not None)
    lengths: Iterable[int] = (_NONE if string is None else len(string) for string in strings)
    return {
        f"{name}_text": np.frombuffer(text.encode(), _BYTE),
        f"{name}_lengths": np.fromiter(lengths, _I32, len(strings)),
    }


def _unpack_strings(name: str, columns: Columns) -> list[str | None]:
    column = columns[f"{name}_lengths"]
    _checked(f"{name}_lengths", columns, column.size, _NONE, np.iinfo(np.int32).max)
    try:
        text = columns[f"{name}_text"].tobytes().decode()
    except UnicodeDecodeError:
        raise SnapshotError(f"the column {name}_text is not UTF-8") from None
    ends = np.cumsum(np.maximum(column, 0), dtype=np.int64)
    if (ends[-1] if len(ends) else 0) != len(text):
        raise SnapshotError(f"the column {name}_lengths does not fit {name}_text")
    strings: list[str | None] = [
        text[start:end] for start, end in pairwise(chain((0,), ends.tolist()))
    ]
    for i in np.flatnonzero(column < 0).tolist():
        strings[i] = None
    return strings
