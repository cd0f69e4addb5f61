"""Which new cluster is which published segment, so that an id keeps its meaning.

A clusterer numbers its clusters as they come. Two things tell which of them continues a segment:
its users, by the table of old and new segments of the sampled users, and its place. Among the pairs
that both allow, ids are given so that as many of the sampled users as possible keep theirs, and
then so that the centres moved least: an assignment problem (Kuhn, "The Hungarian method for the
assignment problem", 1955). What finds no partner is a new segment or a retired one; what became of
whom is told by `models.segments.transitions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.distances import Floats, Ints, distances_to, nearest, separations
from models.segments.model import SegmentModel

GATE = 0.5
"""A segment may move by this share of the distance to its nearest neighbour and still be in its
place. Up to a half, the old centre nearest to the new one is certainly its own."""

MAJORITY = 0.5
"""Share of a segment's users that decides where the segment went. From a half on there is one such
place, two at most. MONIC (Spiliopoulou et al., KDD 2006) takes a half for the same reason."""

LEAST_PART = 0.1
"""Share of a segment's users that makes a part of it. What loses less is what it was for nine of
ten, and a tenth of a small segment in the sample still is a handful of users."""


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
    table
        int64[J, K]. Sampled users by old segment, in the order of ids, and new centre. All 0 where
        nobody can be compared.
    moved
        Share of the sampled users who would be in another segment, in [0, 1].
    """

    ids: Ints
    next_id: int
    born: tuple[int, ...]
    retired: tuple[int, ...]
    table: Ints
    moved: float


def match(
    centres: ArrayLike,
    embedding: str,
    previous: SegmentModel | None,
    vectors: ArrayLike = (),
    *,
    gate: float = GATE,
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
    vectors
        float64[n, d]. Profiles of the sampled users; without any the place alone decides.
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
    table = np.zeros((0 if previous is None else len(previous.ids), len(centres)), np.int64)
    stayed = 0
    if previous is not None and previous.embedding == embedding:
        table = contingency(vectors, previous.centres, centres)
        distance = np.stack([distances_to(centres, own) for own in previous.centres])
        old, new = pairs(table, distance, gate * _reach(previous))
        ids[new] = previous.ids[old]
        stayed = int(table[old, new].sum())
    born = np.flatnonzero(ids < 0)
    ids[born] = np.arange(next_id, next_id + len(born))
    before = set() if previous is None else set(previous.ids.tolist())
    users = int(table.sum())
    return Matching(
        ids=ids,
        next_id=next_id + len(born),
        born=tuple(ids[born].tolist()),
        retired=tuple(sorted(before.difference(ids.tolist()))),
        table=table,
        moved=1.0 - stayed / users if users else 0.0,
    )


def contingency(vectors: ArrayLike, before: Floats, after: Floats) -> Ints:
    """Count users by their nearest centre before and after, int64[J, K].

    Parameters
    ----------
    vectors
        float64[n, d]. Profiles as they are now: who is elsewhere was moved by the centres, not by
        what he did.
    before, after
        float64[J, d] and float64[K, d].
    """
    table = np.zeros((len(before), len(after)), dtype=np.int64)
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.size:
        np.add.at(table, (nearest(vectors, before)[0], nearest(vectors, after)[0]), 1)
    return table


def pairs(table: Ints, distance: Floats, limit: Floats) -> tuple[Ints, Ints]:
    """Pair old segments with the new clusters that continue them.

    Of the ways to do so the one is taken in which most users keep their segment; among those, the
    one in which the centres moved least.

    Parameters
    ----------
    table
        int64[J, K]. Users by old segment and new cluster.
    distance
        float64[J, K]. Between the centres.
    limit
        float64[J]. How far a segment may move and still be in its place.

    Returns
    -------
    tuple
        Rows of old segments and of new clusters, int64[m] each, ascending in the old.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - a worker pairs nothing

    allowed = continues(table, distance <= limit[:, None])
    # A pair that is not allowed costs as much as no pair at all, however far it is: else one
    # cluster that jumped away would push its neighbours into wrong pairs.
    cost = np.where(allowed, np.minimum(distance, limit[:, None]), limit[:, None])
    # One user counts for more than all distances together.
    user = 1.0 + float(limit.sum())
    old, new = linear_sum_assignment(cost - user * np.where(allowed, table, 0))
    kept = allowed[old, new]
    return old[kept].astype(np.int64), new[kept].astype(np.int64)


def continues(table: Ints, in_place: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which new clusters may go on as which old segments, bool[J, K].

    One that holds most of a segment's users may, if it is in the segment's place or holds no other
    segment's users in greater number. In its place a segment also goes on with a part of its users,
    and out of it when it fell apart and nobody holds most. Of a segment without a user in the
    sample only the place is known.

    Parameters
    ----------
    table
        int64[J, K]. Users by old segment and new cluster.
    in_place
        bool[J, K]. Whether the centre has moved no farther than a segment may.
    """
    sizes = table.sum(axis=1, keepdims=True)
    share = table / np.maximum(sizes, 1)
    most = share >= MAJORITY
    fell_apart = ~most.any(axis=1, keepdims=True)
    largest = (table > 0) & (table == table.max(axis=0, keepdims=True, initial=0))
    part = share >= LEAST_PART
    by_users = (part & in_place) | ((most | (part & fell_apart)) & largest)
    return np.where(sizes > 0, by_users, in_place)


def _reach(model: SegmentModel) -> Floats:
    """Distance of each segment from the nearest other one, float64[K].

    A single segment has no neighbour: its own radius stands in.
    """
    return model.radii if len(model.ids) == 1 else separations(model.centres)
