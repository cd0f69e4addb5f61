"""The items of one partition of `item-events`, held compactly.

As the profile table (`models.profiles.table`) does: numbers in one structured array, the sums of
vectors in a slab that only items with a text have a row of, and pairs of item and segment in slabs
by how many there are. So 100,000 items with vectors of 384 take 154 MB for those and some 250 bytes
more an item that four segments meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.profiles.slab import FIRST_ROWS, SizedSlabs, Slab
from models.recommendation.gains import weight_at
from models.recommendation.rows import ITEM, PAIR, ItemRows, empty_pairs
from schemas.segment_model import NO_SEGMENT

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

PAIR_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 2048, 4096)
"""Pairs an item has room for: the least of these that holds its own."""
MOST_PAIRS = PAIR_SIZES[-1]
"""More segments than these have never met one item: a segment model has 1,000 at most."""

_NONE = -1


class TooManySegmentsError(ValueError):
    """An item with more segments than there is room for: those of old versions were kept."""


@dataclass(frozen=True, eq=False)
class Held:
    """All items of a table at one moment.

    Attributes
    ----------
    seats
        Where each of n items is in the table, int64 (n,).
    numbers
        ITEM (n,).
    owners, pairs
        All pairs, PAIR (p,), and which of the n items each belongs to, int64 (p,).
    """

    seats: I64
    numbers: NDArray[Any]
    owners: I64
    pairs: NDArray[Any]


class ItemTable:
    """States of items, by id.

    Parameters
    ----------
    dimensions
        Length d of the vectors.
    first
        Rows of the first chunks.
    """

    def __init__(self, dimensions: int, *, first: int = FIRST_ROWS) -> None:
        self.dimensions = dimensions
        self._seats: dict[str, int] = {}
        self._items: list[str] = []
        self._numbers = Slab(ITEM, first=first)
        self._sums = Slab(np.dtype(np.float32), dimensions, first=first)
        self._pairs = SizedSlabs(
            [Slab(_block(size), first=max(1, first // size)) for size in PAIR_SIZES]
        )
        # Of each seat: its row of `sums`, and the class and slot of its pairs.
        self._vector = np.empty(0, np.int32)
        self._class = np.empty(0, np.int8)
        self._slot = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, item: str) -> bool:
        return item in self._seats

    @property
    def bytes(self) -> int:
        """What arrays take; names and their dict come on top."""
        slabs = (self._numbers, self._sums, *self._pairs.slabs)
        links = self._vector.nbytes + self._class.nbytes + self._slot.nbytes
        return sum(slab.bytes for slab in slabs) + links

    def items(self, seats: I64) -> list[str]:
        """Give the ids of items by where they are."""
        return [self._items[seat] for seat in seats.tolist()]

    def gather(self, items: Sequence[str]) -> ItemRows:
        """Copy the states of items, empty ones of those not known; no item twice."""
        rows = ItemRows.empty(items, self.dimensions)
        seats = np.array([self._seats.get(item, _NONE) for item in items], np.int64)
        known = np.flatnonzero(seats >= 0)
        if not len(known):
            return rows
        seats = seats[known]
        rows.numbers[known] = self._numbers.take(seats)
        vectors = self._vector[seats]
        written = vectors >= 0
        rows.sums[known[written]] = self._sums.take(vectors[written].astype(np.int64))
        classes = self._class[seats]
        width = max((PAIR_SIZES[each] for each in set(classes[classes >= 0].tolist())), default=0)
        rows.pairs = empty_pairs(len(items), width)
        for number, slab, where, slots in self._pairs.parts(classes, self._slot[seats]):
            rows.pairs[known[where], : PAIR_SIZES[number]] = _unpacked(slab.take(slots))
        rows.pairs = rows.pairs[:, : int(rows.counts().max(initial=0))]
        return rows

    def put(self, rows: ItemRows) -> None:
        """Set the states of items, known or not.

        Raises
        ------
        TooManySegmentsError
            Where an item has more than `MOST_PAIRS`; nothing is changed then.
        """
        counts = rows.counts()
        if len(counts) and int(counts.max()) > MOST_PAIRS:
            item = rows.items[int(counts.argmax())]
            raise TooManySegmentsError(
                f"item {item!r} has {int(counts.max())} segments, more than {MOST_PAIRS}: "
                "drop the faintest (ItemRows.drop_faint)"
            )
        seats = self._seated(rows.items)
        self._numbers.put(seats, rows.numbers)
        self._put_sums(seats, rows)
        # Of no pair: no slot. Else the least class that has room.
        wanted = np.where(counts > 0, np.searchsorted(PAIR_SIZES, counts), _NONE).astype(np.int64)
        classes, slots = self._class[seats], self._slot[seats]
        self._pairs.move(classes, slots, wanted)
        self._class[seats], self._slot[seats] = classes, slots
        for number, slab, where, own in self._pairs.parts(classes, slots):
            size = PAIR_SIZES[number]
            few = rows.pairs[where][:, :size]
            full = empty_pairs(len(few), size)
            full[:, : few.shape[1]] = few
            slab.put(own, _packed(full))

    def remove(self, items: Iterable[str]) -> None:
        """Forget items; those not known are passed over."""
        gone = [seat for item in items if (seat := self._seats.pop(item, None)) is not None]
        if not gone:
            return
        seats = np.array(gone, np.int64)
        vectors = self._vector[seats]
        self._sums.release(vectors[vectors >= 0].astype(np.int64))
        self._vector[seats] = _NONE
        classes, slots = self._class[seats], self._slot[seats]
        self._pairs.move(classes, slots, np.full(len(seats), _NONE, np.int64))
        self._class[seats] = classes
        self._numbers.release(seats)
        for seat in gone:
            self._items[seat] = ""

    def silent(self, before: int) -> list[str]:
        """Give the items whose latest event lies before a time in microseconds, in their order."""
        held = self.held()
        return self.items(held.seats[held.numbers["latest"] < before])

    def lightest(self, most: int, now: int, half_life: timedelta) -> list[str]:
        """Give the items that are too many, the lightest first: none that stays weighs less.

        Parameters
        ----------
        most
            Items that may stay.
        now, half_life
            Time to fade to, microseconds since 1970, and by what.
        """
        held = self.held()
        numbers = held.numbers
        weights = weight_at(numbers["weight"], numbers["epoch"], now, half_life)
        order = np.lexsort((held.seats, weights))
        return self.items(held.seats[order[: max(0, len(order) - most)]])

    def held(self) -> Held:
        """Copy the numbers and pairs of all items, in the order of their seats."""
        seats = np.array(sorted(self._seats.values()), np.int64)
        owners, pairs = [np.empty(0, np.int64)], [np.empty(0, PAIR)]
        for number, slab, where, slots in self._pairs.parts(self._class[seats], self._slot[seats]):
            block = _unpacked(slab.take(slots))
            taken = block["segment"] != NO_SEGMENT
            whose = np.arange(len(seats))[where]
            owners.append(np.repeat(whose, PAIR_SIZES[number])[taken.reshape(-1)])
            pairs.append(block[taken])
        return Held(seats, self._numbers.take(seats), np.concatenate(owners), np.concatenate(pairs))

    def sums(self, seats: I64) -> F32:
        """Copy the faded sums of vectors, float32 (n, d); 0 of items without a text."""
        sums = np.zeros((len(seats), self.dimensions), np.float32)
        vectors = self._vector[seats]
        written = vectors >= 0
        if written.any():
            sums[written] = self._sums.take(vectors[written].astype(np.int64))
        return sums

    def _seated(self, items: Sequence[str]) -> I64:
        new = [item for item in items if item not in self._seats]
        if new:
            seats = self._numbers.allocate(len(new))
            missing = self._numbers.used - len(self._items)
            if missing > 0:
                self._items += [""] * missing
                self._vector = _longer(self._vector, len(self._items))
                self._class = _longer(self._class, len(self._items))
                self._slot = _longer(self._slot, len(self._items))
            for item, seat in zip(new, seats.tolist(), strict=True):
                self._seats[item] = seat
                self._items[seat] = item
        return np.array([self._seats[item] for item in items], np.int64)

    def _put_sums(self, seats: I64, rows: ItemRows) -> None:
        written = rows.numbers["texts"] > 0
        vectors = self._vector[seats]
        left = vectors[~written & (vectors >= 0)]
        self._sums.release(left.astype(np.int64))
        vectors[~written] = _NONE
        new = written & (vectors < 0)
        vectors[new] = self._sums.allocate(int(new.sum()))
        self._vector[seats] = vectors
        self._sums.put(vectors[written].astype(np.int64), rows.sums[written])


def _longer(links: NDArray[Any], length: int) -> NDArray[Any]:
    """Lengthen by more than is asked for, so that few copies are made."""
    if length <= len(links):
        return links
    more = np.full(max(length, 2 * len(links)) - len(links), _NONE, links.dtype)
    return np.concatenate([links, more])


def _block(size: int) -> np.dtype[Any]:
    """Give the type of so many pairs as one item of a slab."""
    return np.dtype([("pairs", PAIR, (size,))])


def _packed(pairs: NDArray[Any]) -> NDArray[Any]:
    """Turn PAIR (n, size) into n items of a slab."""
    blocks = np.empty(len(pairs), _block(pairs.shape[1]))
    blocks["pairs"] = pairs
    return blocks


def _unpacked(blocks: NDArray[Any]) -> NDArray[Any]:
    """Turn n items of a slab into PAIR (n, size)."""
    pairs: NDArray[Any] = blocks["pairs"]
    return pairs
