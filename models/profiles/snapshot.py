"""A profile table as plain arrays and back, bit for bit: what a local checkpoint holds.

Nothing is done user by user that can be done for all at once. Strings become a column of characters
and one of lengths; words and labels, which many users share, become codes into a list of distinct
ones. Numbers are kept as they are in memory, little-endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.profiles.table import ProfileRows, ProfileTable

Columns = Mapping[str, NDArray[Any]]

_I32 = np.dtype("<i4")
_F64 = np.dtype("<f8")
_NO_LABEL = -1
# Columns of names, or None, that many users share: with what holds their codes.
_NAMES = {"labels": "label_codes", "given": "given_codes", "predicted": "predicted_codes"}


class SnapshotError(ValueError):
    """Columns that make up no profile table."""


@dataclass(frozen=True, slots=True)
class ProfileSnapshot:
    """The users that a table holds at one moment, without a copy of their states.

    It is taken in milliseconds and costs little memory, but it is blurred: while it is written
    elsewhere, the table goes on, and of a user who is `put` meanwhile it shows the old state, the
    new one, or some columns of each. That is enough beside a changelog which holds the whole state
    of each user who was put: reading that from the moment of the snapshot on sets right whatever
    was blurred (a fuzzy checkpoint, as in Mohan et al., "ARIES", ACM TODS 1992). No user may be
    removed from the table meanwhile, since that moves another one's row.

    Attributes
    ----------
    rows
        One row a user. The arrays are the table's own; the lists are copies, and a user's words are
        replaced in the table, never written into.
    places
        Row of each user in the order in which the table lists them, int64 (n,).
    """

    rows: ProfileRows
    places: NDArray[np.int64]

    @classmethod
    def of(cls, table: ProfileTable) -> Self:
        """Take the users of a table."""
        rows, count = table.rows, len(table)
        columns: dict[str, Any] = {**rows.lists(), **rows.arrays()}
        taken = {name: column[:count] for name, column in columns.items()}
        return cls(ProfileRows(**taken), table.places)

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Give everything as little-endian arrays in C order, by name; `table_of` takes them.

        The large ones are the table's own, not copies.
        """
        rows = self.rows
        columns = {
            name: np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
            for name, column in rows.arrays().items()
        }
        columns["places"] = self.places.astype(_I32)
        columns |= _pack_strings("users", rows.users)
        for name, codes in _NAMES.items():
            labels: dict[str, int] = {}
            columns[codes] = np.fromiter(
                (
                    _NO_LABEL if label is None else labels.setdefault(label, len(labels))
                    for label in rows.lists()[name]
                ),
                _I32,
                len(rows),
            )
            columns |= _pack_strings(name, list(labels))
        words: dict[str, int] = {}
        columns["term_counts"] = np.fromiter(map(len, rows.terms), _I32, len(rows))
        # A loop of Python's own rather than one long call into C: the thread that writes a
        # checkpoint then lets go of the interpreter now and then.
        columns["term_codes"] = np.fromiter(
            (words.setdefault(word, len(words)) for terms in rows.terms for word in terms), _I32
        )
        columns["term_weights"] = np.fromiter(
            (weight for terms in rows.terms for weight in terms.values()), _F64
        )
        columns |= _pack_strings("words", list(words))
        return columns


def table_of(columns: Columns, dimensions: int, memory: int) -> ProfileTable:
    """Make the table that a snapshot's columns describe.

    Parameters
    ----------
    columns
        What `ProfileSnapshot.columns` gave. The table takes the arrays over.
    dimensions, memory
        Length of the embeddings, and how many event ids are remembered.

    Returns
    -------
    ProfileTable
        The same states in the same order as in the table that it was taken from.

    Raises
    ------
    SnapshotError
        If a column is missing, or has another type, another shape or other values than the rest
        asks for.
    """
    try:
        users = _unpack_strings("users", columns)
        empty = ProfileRows.empty([], dimensions, memory)
        arrays = {}
        for name, example in empty.arrays().items():
            column = columns[name]
            shape = (len(users), *example.shape[1:])
            if column.shape != shape or column.dtype.newbyteorder("=") != example.dtype:
                raise SnapshotError(
                    f"the column {name} is {column.dtype} {column.shape}, not "
                    f"{example.dtype} {shape}"
                )
            arrays[name] = np.require(column, example.dtype, ["C", "W"])
        names: dict[str, Any] = {}
        for name, column_of_codes in _NAMES.items():
            known = [*_unpack_strings(name, columns), None]
            codes = _checked_codes(column_of_codes, columns, len(users), _NO_LABEL, len(known) - 1)
            names[name] = [known[code] for code in codes]
        words = _unpack_strings("words", columns)
        places = _checked_codes("places", columns, len(users), 0, len(users))
        terms = _terms(columns, words, len(users))
        rows = ProfileRows(users=users, terms=terms, **(names | arrays))
    except KeyError as error:
        raise SnapshotError(f"the column {error.args[0]} is missing") from None
    if len(set(users)) != len(users) or len(set(places)) != len(users):
        raise SnapshotError("a user is in it twice")
    return ProfileTable.of_rows(rows, np.array(places, np.int64), dimensions, memory)


def _terms(columns: Columns, words: Sequence[str], users: int) -> list[dict[str, float]]:
    counts = _checked_codes("term_counts", columns, users, 0, np.iinfo(np.int32).max)
    total = sum(counts)
    codes = _checked_codes("term_codes", columns, total, 0, len(words))
    weights = columns["term_weights"]
    if weights.shape != (total,):
        raise SnapshotError(f"the column term_weights has {weights.size} entries, not {total}")
    names, values = [words[code] for code in codes], weights.tolist()
    return [
        dict(zip(names[start:end], values[start:end], strict=True))
        for start, end in pairwise(accumulate(counts, initial=0))
    ]


def _checked_codes(name: str, columns: Columns, count: int, low: int, high: int) -> list[int]:
    """Give a column of integers from `low` up to below `high`."""
    column = columns[name]
    if column.dtype != _I32 or column.shape != (count,):
        raise SnapshotError(
            f"the column {name} is {column.dtype} {column.shape}, not int32 {count}"
        )
    if count and not (low <= column.min() and column.max() < high):
        raise SnapshotError(f"the column {name} has values outside of {low} to {high - 1}")
    codes: list[int] = column.tolist()
    return codes


def _pack_strings(name: str, strings: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {
        f"{name}_text": np.frombuffer("".join(strings).encode(), np.uint8),
        f"{name}_lengths": np.fromiter(map(len, strings), _I32, len(strings)),
    }


def _unpack_strings(name: str, columns: Columns) -> list[str]:
    lengths: Iterable[int] = columns[f"{name}_lengths"].tolist()
    try:
        text = columns[f"{name}_text"].tobytes().decode()
    except UnicodeDecodeError:
        raise SnapshotError(f"the column {name}_text is not UTF-8") from None
    places = list(accumulate(lengths, initial=0))
    if places[-1] != len(text) or min(lengths, default=0) < 0:
        raise SnapshotError(f"the column {name}_lengths does not fit {name}_text")
    return [text[start:end] for start, end in pairwise(places)]
