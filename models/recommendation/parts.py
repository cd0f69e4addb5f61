"""A partition's part in one segment's top: cut out of all that it knows, and as a record.

`models.recommendation.partials` merges what all partitions know. To merge segment by segment, in
whichever process, each part has of one segment all that its merging asks for: the items that lead
in it and those that lead among all users, with the totals of both. What is left out of a part is
below the part's floors, as it is of the whole (`Partial.floors`), so as much of the merged top is
certain.

A record of `recommendation-parts` has one part under the key `segment/partition`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from enum import IntEnum
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from models.recommendation.moments import Moments
from models.recommendation.partials import EVERYBODY, Partial
from schemas.binary import HEAD, MAGIC, VERSION, RecordError, open_record, seal, section
from schemas.events import MAX_ITEM_CHARS

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PART_KIND = "T"
PART = struct.Struct("<qiiii10d")
"""Time in microseconds since 1970; segment, partition, items, length of vectors; weight of all
items among all users and in the segment, the two floors, and of the ratings of both weight, mean
and M2."""
_GIVE = struct.Struct("<q")
PART_ITEM = np.dtype(
    [
        ("weight", "<f8"),
        ("rated", "<f8"),
        ("mean", "<f8"),
        ("m2", "<f8"),
        ("own_weight", "<f8"),
        ("own_rated", "<f8"),
        ("own_mean", "<f8"),
        ("own_m2", "<f8"),
    ]
)
"""Of an item among all users, and in the segment: weight, and of its ratings weight, mean, M2."""


# What a record of 16 MiB has room for beside its head, its key and what brokers add.
_ROOM_BYTES = 15 * 1024 * 1024


class PartTag(IntEnum):
    """Sections of a record, all in every new record and in this order."""

    PART = 1
    ITEMS = 2
    VECTORS = 3
    NAMES = 4
    GIVE = 5


def part_key(segment: int, partition: int) -> bytes:
    """Name the part of a partition in a segment."""
    return b"%d/%d" % (segment, partition)


def candidates_that_fit(candidates: int, dimensions: int) -> int:
    """Give as many candidates as fit into a record by either order, whatever their ids.

    Parameters
    ----------
    candidates
        That are wanted.
    dimensions
        Length of their vectors.
    """
    each = PART_ITEM.itemsize + 2 * dimensions + 4 + 4 * MAX_ITEM_CHARS
    return max(1, min(candidates, _ROOM_BYTES // (2 * each)))


def parts_of(partial: Partial, candidates: int) -> dict[int, Partial]:
    """Cut what a partition knows into one part a segment, EVERYBODY first.

    Parameters
    ----------
    partial
        With `candidates` items by each order.
    candidates
        C, by either order.
    """
    overall = _heaviest(partial.weights, candidates)
    parts = {EVERYBODY: _part(partial, 0, overall)}
    order = np.argsort(partial.pair_segments, kind="stable")
    bounds = np.searchsorted(partial.pair_segments[order], np.arange(len(partial.segments) + 1))
    for place in range(1, len(partial.segments)):
        pairs = order[bounds[place] : bounds[place + 1]]
        leading = pairs[_heaviest(partial.pair_weights[pairs], candidates)]
        chosen = np.union1d(overall, partial.pair_items[leading])
        parts[int(partial.segments[place])] = _part(partial, place, chosen)
    return parts


def faded_to(partial: Partial, at: int, half_life: timedelta) -> Partial:
    """Fade a part to another time: all of its weights by the same share."""
    if at == partial.at:
        return partial
    length = half_life // timedelta(microseconds=1)
    share = float(2.0 ** (np.clip((partial.at - at) / length, -1000, 1000)))

    def faded(moments: Moments) -> Moments:
        return Moments(moments.weight * share, moments.mean, moments.m2 * share)

    return replace(
        partial,
        at=at,
        weights=partial.weights * share,
        ratings=faded(partial.ratings),
        totals=partial.totals * share,
        segment_ratings=faded(partial.segment_ratings),
        floors=partial.floors * share,
        pair_weights=partial.pair_weights * share,
        pair_ratings=faded(partial.pair_ratings),
    )


def encode_part(part: Partial, partition: int) -> bytes:
    """Write one part; its key is `part_key` of its segment and the partition."""
    segment, own = int(part.segments[-1]), len(part.segments) - 1
    count, dimensions = part.vectors.shape
    items = np.zeros(count, PART_ITEM)
    items["weight"] = part.weights
    _moments_into(items, "", np.arange(count), part.ratings)
    items["own_weight"][part.pair_items] = part.pair_weights
    _moments_into(items, "own_", part.pair_items, part.pair_ratings)
    ratings = part.segment_ratings
    head = PART.pack(
        *(part.at, segment, partition, count, dimensions),
        *(part.totals[0], part.totals[own], part.floors[0], part.floors[own]),
        *(ratings.weight[0], ratings.mean[0], ratings.m2[0]),
        *(ratings.weight[own], ratings.mean[own], ratings.m2[own]),
    )
    names = [item.encode() for item in part.items]
    lengths = np.array([len(name) for name in names], "<i4")
    body = HEAD.pack(MAGIC, ord(PART_KIND), VERSION) + section(PartTag.PART, head)
    body += section(PartTag.ITEMS, items.tobytes())
    body += section(PartTag.VECTORS, part.vectors.astype("<f2").tobytes())
    body += section(PartTag.NAMES, lengths.tobytes() + b"".join(names))
    body += section(PartTag.GIVE, _GIVE.pack(part.give))
    return seal(body, part_key(segment, partition))


def decode_part(key: bytes, value: bytes) -> tuple[Partial, int]:
    """Read one part, and of which partition it is.

    Raises
    ------
    RecordError
        If it cannot be read; NewerRecordError where a newer version has written it.
    """
    sections = {each.tag: each.payload for each in open_record(PART_KIND, key, value)}
    try:
        return _decoded(sections)
    except (KeyError, ValueError, struct.error):
        raise RecordError("a section is missing or not of the form it should have") from None


def _decoded(sections: dict[int, bytes]) -> tuple[Partial, int]:
    at, segment, partition, count, dimensions, *numbers = PART.unpack(sections[PartTag.PART])
    items = np.frombuffer(sections[PartTag.ITEMS], PART_ITEM, count)
    vectors = np.frombuffer(sections[PartTag.VECTORS], "<f2", count * dimensions)
    names = sections[PartTag.NAMES]
    lengths = np.frombuffer(names, "<i4", count).tolist()
    places = accumulate(lengths, initial=4 * count)
    [give] = _GIVE.unpack(sections.get(PartTag.GIVE, bytes(_GIVE.size)))
    totals, floors = np.array(numbers[:2]), np.array(numbers[2:4])
    ratings = np.array(numbers[4:]).reshape(2, 3).T
    pairs = np.flatnonzero((items["own_weight"] > 0) | (items["own_rated"] > 0))
    segments, kept = np.array([EVERYBODY, segment], np.int64), slice(None)
    if segment == EVERYBODY:
        segments, kept, pairs = segments[:1], slice(1), pairs[:0]
    return Partial(
        at=at,
        items=tuple(names[start:end].decode() for start, end in pairwise(places)),
        weights=items["weight"].copy(),
        vectors=vectors.astype(np.float16).reshape(count, dimensions),
        ratings=_moments_of(items, ""),
        segments=segments,
        totals=totals[kept],
        segment_ratings=Moments(*(each[kept] for each in ratings)),
        floors=floors[kept],
        pair_items=pairs,
        pair_segments=np.ones(len(pairs), np.int64),
        pair_weights=items["own_weight"][pairs],
        pair_ratings=_moments_of(items[pairs], "own_"),
        give=give,
    ), partition


def _heaviest(weights: F64, most: int) -> I64:
    """Give the places of the heaviest, ties by place."""
    return np.argsort(-weights, kind="stable")[:most]


def _part(partial: Partial, place: int, chosen: I64) -> Partial:
    """Give what a part has of a segment, at a place among them, and of some items."""
    where = np.full(len(partial.items), -1, np.int64)
    where[chosen] = np.arange(len(chosen))
    pairs = np.flatnonzero(
        (partial.pair_segments == place) & (where[partial.pair_items] >= 0) & (place > 0)
    )
    both = [0, place] if place else [0]
    return Partial(
        at=partial.at,
        items=tuple(partial.items[each] for each in chosen.tolist()),
        weights=partial.weights[chosen],
        vectors=partial.vectors[chosen],
        ratings=_taken(partial.ratings, chosen),
        segments=partial.segments[both],
        totals=partial.totals[both],
        segment_ratings=_taken(partial.segment_ratings, np.array(both)),
        floors=partial.floors[both],
        pair_items=where[partial.pair_items[pairs]],
        pair_segments=np.ones(len(pairs), np.int64),
        pair_weights=partial.pair_weights[pairs],
        pair_ratings=_taken(partial.pair_ratings, pairs),
        give=partial.give,
    )


def _taken(moments: Moments, places: I64) -> Moments:
    return Moments(moments.weight[places], moments.mean[places], moments.m2[places])


def _moments_of(items: NDArray[np.void], whose: str) -> Moments:
    names = ("rated", "mean", "m2")
    return Moments(*(items[whose + name].copy() for name in names))


def _moments_into(items: NDArray[np.void], whose: str, places: I64, moments: Moments) -> None:
    items[f"{whose}rated"][places] = moments.weight
    items[f"{whose}mean"][places] = moments.mean
    items[f"{whose}m2"][places] = moments.m2


def same_length(parts: Sequence[Partial]) -> list[Partial]:
    """Give the parts whose vectors are as long as those of the latest of them.

    A group that went to another embedding model has parts of both for a while: the others' vectors
    are left out, and their numbers stay.
    """
    length = max(parts, key=lambda part: part.at).vectors.shape[1]
    return [
        part
        if part.vectors.shape[1] == length
        else replace(part, vectors=np.zeros((len(part.items), length), np.float16))
        for part in parts
    ]
