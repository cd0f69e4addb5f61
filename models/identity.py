"""Which new cluster is which published segment, so that an id keeps its meaning.

A clusterer numbers its clusters as they come. Here the new centres are matched with those of the
version before, each with one at most, so that the sum of distances is least (Kuhn, "The Hungarian
method for the assignment problem", 1955). What finds no partner is a new segment or a retired one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from models.distances import Floats, Ints
from models.segments import SegmentModel

GATE = 0.5
"""A segment may move by this share of the distance to its nearest neighbour and still be the same.
Up to a half, the old centre nearest to the new one is certainly its own."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Ids of the new clusters.

    Attributes
    ----------
    ids
        int64[K]. Id of each new centre, in their order.
    next_id
        The id that the next new segment gets.
    born
        Ids given for the first time, ascending.
    retired
        Ids of the version before that are no more, ascending.
    """

    ids: Ints
    next_id: int
    born: tuple[int, ...]
    retired: tuple[int, ...]


def match(
    centres: ArrayLike, embedding: str, previous: SegmentModel | None, *, gate: float = GATE
) -> Matching:
    """Give each new centre the id of the segment that it continues, or one never used before.

    Parameters
    ----------
    centres
        float64[K, d]. The new centres.
    embedding
        SHA-256 of the embedding model in whose space they lie.
    previous
        The version before, None for the first. One of another embedding model cannot be compared:
        all its segments are retired.
    gate
        Share of the distance to its nearest neighbour by which a segment may have moved.

    Returns
    -------
    Matching
        The same for the same arguments; new ids are given in the order of the centres.
    """
    centres = np.asarray(centres, dtype=np.float64)
    ids = np.full(len(centres), -1, dtype=np.int64)
    next_id = 0 if previous is None else previous.next_id
    if previous is not None and previous.embedding == embedding:
        distance = cdist(previous.centres, centres)
        limit = gate * separations(previous)[:, None]
        # A pair beyond its limit costs as much as no pair at all, however far it is: else one
        # cluster that jumped away would push its neighbours into wrong pairs.
        old, new = linear_sum_assignment(np.minimum(distance, limit))
        kept = distance[old, new] <= limit[old, 0]
        ids[new[kept]] = previous.ids[old[kept]]
    born = np.flatnonzero(ids < 0)
    ids[born] = np.arange(next_id, next_id + len(born))
    before = set() if previous is None else set(previous.ids.tolist())
    return Matching(
        ids=ids,
        next_id=next_id + len(born),
        born=tuple(ids[born].tolist()),
        retired=tuple(sorted(before.difference(ids.tolist()))),
    )


def separations(model: SegmentModel) -> Floats:
    """Distance of each centre from the nearest other one, float64[K].

    A single segment has no neighbour: its own radius stands in.
    """
    if len(model.ids) == 1:
        return model.radii
    distance = cdist(model.centres, model.centres)
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance.min(axis=1), dtype=np.float64)
