"""Which items a user has, and which were recommended last: digests in the user's profile.

An item is known by 32 bits of its hash. Two of a user's items and candidates have the same one once
in four billion pairs; the candidate is taken for one that the user has then, and is not shown.

A row holds what was published for the user last, in one number, and behind it the items that the
user's events named, the latest first, each once. 0 is an empty place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from schemas.binary import checksum

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

ITEM_BYTES = 4
_LOW = 0xFFFFFFFF


def item_digest(item: str) -> int:
    """Give the low 32 bits of XXH3-64 of an item's id, never 0 (which marks an empty place)."""
    return checksum(item.encode()) & _LOW or 1


def item_digests(items: Iterable[str]) -> U32:
    """Give `item_digest` of each, uint32 (n,)."""
    return np.fromiter(map(item_digest, items), np.uint32)


def list_digest(digests: U32) -> int:
    """Give one number for a list of items in its order, never 0 (which says that there is none)."""
    return checksum(np.ascontiguousarray(digests, "<u4").tobytes()) & _LOW or 1


def width_of(items: int | None) -> int:
    """Give how many numbers a row takes in which so many items are kept; None for no row."""
    return 0 if items is None else 1 + items


def held(rows: U32) -> I64:
    """Count the numbers of each row up to its last one that is not 0, int64 (n,)."""
    if not rows.shape[1]:
        return np.zeros(len(rows), np.int64)
    filled = rows[:, ::-1] != 0
    counts: I64 = np.where(filled.any(axis=1), rows.shape[1] - filled.argmax(axis=1), 0)
    return counts


def fitted(rows: U32, width: int) -> U32:
    """Give rows of another width; of more items the latest stay."""
    if rows.shape[1] == width:
        return rows
    found = np.zeros((len(rows), width), np.uint32)
    both = min(rows.shape[1], width)
    found[:, :both] = rows[:, :both]
    return found


def take_in(rows: U32, places: I64, digests: U32) -> None:
    """Take in the items that events name; one that is there already comes to the front.

    Parameters
    ----------
    rows
        Of n users, uint32 (n, 1 + k); changed in place.
    places, digests
        Rows of the users and items, in the order of the events, int64 (m,) and uint32 (m,).
    """
    if not (len(places) and rows.shape[1] > 1):
        return
    single = np.bincount(places)[places] == 1
    if single.all():
        _to_front(rows, places, digests)
        return
    _to_front(rows, places[single], digests[single])
    several: dict[int, list[int]] = {}
    for entry in np.flatnonzero(~single).tolist():
        several.setdefault(int(places[entry]), []).append(int(digests[entry]))
    for place, named in several.items():
        former = [each for each in rows[place, 1:].tolist() if each]
        latest = list(dict.fromkeys([*reversed(named), *former]))[: rows.shape[1] - 1]
        rows[place, 1 : 1 + len(latest)] = latest


def _to_front(rows: U32, places: I64, digests: U32) -> None:
    """Take in one item of each of different users."""
    if not len(places):
        return
    # Behind the last place that somebody has filled only the next one can be.
    width = min(int(held(rows[places, 1:]).max()) + 1, rows.shape[1] - 1)
    former = rows[places, 1 : 1 + width]
    same = former == digests[:, None]
    # All before the place where the item was move on by one; all, where it was in none.
    end = np.where(same.any(axis=1), same.argmax(axis=1), width)
    nth = np.arange(1, width)
    moved = np.empty_like(former)
    moved[:, 0] = digests
    moved[:, 1:] = np.where(nth <= end[:, None], former[:, :-1], former[:, 1:])
    rows[places, 1 : 1 + width] = moved
