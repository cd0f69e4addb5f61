"""Arrays that grow without a copy of what is there.

A slab is a list of chunks. A new chunk is three times as large as all before it, up to a limit;
memory that nobody has touched yet is not given by the system either. So there are few chunks, a
batch of rows is found in a few steps, and what a thread is reading in a chunk stays where it is,
whatever the slab goes on to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Rows = NDArray[Any]
"""Of any type, one row each along the first axis."""

FIRST_ROWS = 1024
MOST_ROWS = 1 << 20
_GROWTH = 3


class Slab:
    """Rows of one type and width, by number.

    Parameters
    ----------
    dtype
        Of each number, or a structured one.
    width
        Numbers a row; a row of width 0 is a single number (or structure), not an array.
    first
        Rows of the first chunk.
    """

    def __init__(self, dtype: np.dtype[Any], width: int = 0, first: int = FIRST_ROWS) -> None:
        self.dtype, self.width = dtype, width
        self._first = first
        self._shape = (width,) if width else ()
        self._item = np.dtype((np.void, dtype.itemsize * max(width, 1)))
        self._chunks: list[Rows] = []
        # The same memory, a row as one item: copied by memcpy rather than number by number.
        self._items: list[Rows] = []
        self._starts = np.zeros(0, np.int64)
        self._capacity = 0
        self.used = 0
        """Rows 0 up to this have been given out."""
        # A stack of rows that were given back, and how many of each chunk's are in use.
        self._free = np.empty(0, np.int32)
        self._freed = 0
        self._in_use = np.zeros(0, np.int64)

    def adopt(self, chunks: Sequence[Rows]) -> None:
        """Begin with arrays that the slab takes over, with all their rows given out."""
        for chunk in chunks:
            if len(chunk):
                self._append(chunk)
                self._in_use[-1] = len(chunk)
        self.used = self._capacity

    @property
    def in_use(self) -> int:
        """Rows that were given out and not given back."""
        return self.used - self._freed

    @property
    def bytes(self) -> int:
        """What the rows that were given out take, those given back included."""
        return self.used * self._item.itemsize

    def allocate(self, count: int) -> I64:
        """Give out rows, those that were given back first; what is in them is undefined."""
        again = min(count, self._freed)
        rows = np.empty(count, np.int64)
        rows[:again] = self._free[self._freed - again : self._freed]
        self._freed -= again
        fresh = count - again
        rows[again:] = np.arange(self.used, self.used + fresh)
        self.used += fresh
        while self._capacity < self.used:
            size = max(self._first, min(_GROWTH * self._capacity, MOST_ROWS))
            self._append(np.empty((size, *self._shape), self.dtype))
        self._in_use += self._by_chunk(rows)
        return rows

    def release(self, rows: I64) -> None:
        """Take rows back; a chunk without any in use gives its memory back to the system."""
        if self._freed + len(rows) > len(self._free):
            more = np.empty(max(len(rows), len(self._free)), np.int32)
            self._free = np.concatenate([self._free, more])
        self._free[self._freed : self._freed + len(rows)] = rows
        self._freed += len(rows)
        count = self._by_chunk(rows)
        self._in_use -= count
        for number in np.flatnonzero((self._in_use == 0) & (count > 0)).tolist():
            self._chunks[number] = np.empty_like(self._chunks[number], subok=False)
            self._items[number] = self._items_of(self._chunks[number])

    def take(self, rows: I64) -> Rows:
        """Copy rows out, (n,) or (n, width)."""
        if len(self._chunks) == 1:
            return self._chunks[0].take(rows, axis=0)
        out = np.empty((len(rows), *self._shape), self.dtype)
        items = self._items_of(out)
        for chunk, where, inside in self._parts(rows):
            items[where] = self._items[chunk].take(inside)
        return out

    def put(self, rows: I64, values: Rows) -> None:
        """Write rows, no row twice."""
        items = self._items_of(np.ascontiguousarray(values, self.dtype))
        for chunk, where, inside in self._parts(rows):
            self._items[chunk][inside] = items[where]

    def views(self, upto: int | None = None) -> list[Rows]:
        """Give the chunks themselves, of the first rows only where `upto` is given."""
        end = self.used if upto is None else upto
        # Another thread may ask while a chunk is being added, and one list be longer for a moment.
        chunks = zip(self._starts.tolist(), self._chunks, strict=False)
        return [chunk[: end - start] for start, chunk in chunks if start < end]

    def column(self, name: str | None, upto: int) -> Rows:
        """Copy one field of the first rows, or all of them."""
        views = self.views(upto)
        if not views:
            views = [np.empty((0, *self._shape), self.dtype)]
        return np.concatenate([view if name is None else view[name] for view in views])

    def _parts(self, rows: I64) -> Iterator[tuple[int, Any, I64]]:
        """Cut rows by chunk: its number, which of the rows they are, and their places in it."""
        if len(self._chunks) == 1:
            yield 0, slice(None), rows
            return
        order = np.argsort(rows)
        ordered = rows[order]
        bounds = [*np.searchsorted(ordered, self._starts).tolist(), len(rows)]
        for chunk, (first, end) in enumerate(pairwise(bounds)):
            if first < end:
                yield chunk, order[first:end], ordered[first:end] - self._starts[chunk]

    def _by_chunk(self, rows: I64) -> I64:
        chunks = np.searchsorted(self._starts, rows, "right") - 1
        counts: I64 = np.bincount(chunks, minlength=len(self._chunks))
        return counts

    def _append(self, chunk: Rows) -> None:
        self._chunks.append(chunk)
        self._items.append(self._items_of(chunk))
        self._starts = np.append(self._starts, self._capacity)
        self._in_use = np.append(self._in_use, 0)
        self._capacity += len(chunk)

    def _items_of(self, rows: Rows) -> Rows:
        return rows.view(self._item).reshape(-1)


class SizedSlabs:
    """Slabs for rows of several sizes: each row has a class, and a slot in that class's slab.

    Who uses it keeps class and slot of each row; the class -1 is that of a row without a slot.
    """

    def __init__(self, slabs: Sequence[Slab]) -> None:
        self.slabs = tuple(slabs)

    def move(self, classes: NDArray[np.int8], slots: NDArray[np.int32], wanted: I64) -> None:
        """Give rows slots of the classes they want; changes `classes` and `slots` in place.

        Those that are in the right class keep their slot. Slots that are left may be given to
        others of the same call.
        """
        moved = np.flatnonzero(classes != wanted)
        if not len(moved):
            return
        for number, slab in enumerate(self.slabs):
            left = moved[classes[moved] == number]
            if len(left):
                slab.release(slots[left].astype(np.int64))
        for number, slab in enumerate(self.slabs):
            come = moved[wanted[moved] == number]
            if len(come):
                slots[come] = slab.allocate(len(come))
        classes[moved] = wanted[moved]

    def parts(
        self, classes: NDArray[np.int8], slots: NDArray[np.int32]
    ) -> Iterator[tuple[int, Slab, Any, I64]]:
        """Cut rows by class: its number, its slab, which of the rows they are, and their slots."""
        if not len(classes):
            return
        first = int(classes[0])
        if (classes == first).all():
            if first >= 0:
                yield first, self.slabs[first], slice(None), slots.astype(np.int64)
            return
        for number, slab in enumerate(self.slabs):
            where = np.flatnonzero(classes == number)
            if len(where):
                yield number, slab, where, slots[where].astype(np.int64)
