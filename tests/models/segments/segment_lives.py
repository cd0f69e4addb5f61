"""Versions of the segments by what their users did, for tests that need no vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from models.distances import Floats
from models.segments.identity import Matching, pairs
from models.segments.model import SegmentModel
from models.segments.transitions import chronicled
from tests.models.synthetic import EMBEDDING


def first(count: int) -> SegmentModel:
    """Version 1, of some segments with ten users each."""
    matching = Matching(
        ids=np.arange(count),
        next_id=count,
        born=tuple(range(count)),
        retired=(),
        table=np.zeros((0, count), np.int64),
        moved=0.0,
    )
    return made(None, matching, [10] * count, np.eye(count, 8))


def after(
    previous: SegmentModel | None,
    table: ArrayLike | None = None,
    *,
    matching: Matching | None = None,
    centres: Floats | None = None,
) -> SegmentModel:
    """The version after another, from users by old segment and new cluster, or from a matching."""
    if matching is None:
        assert previous is not None
        matching = matched(previous, np.asarray(table))
    sizes = matching.table.sum(axis=0).tolist() if len(matching.table) else [0] * len(matching.ids)
    if centres is None:
        centres = np.eye(len(matching.ids), 8)
    return made(previous, matching, sizes, centres)


def matched(previous: SegmentModel, table: np.ndarray) -> Matching:
    """Match by the users alone: every centre is far from its place."""
    old, new = pairs(table, np.full(table.shape, 9.0), np.ones(len(table)))
    ids = np.full(table.shape[1], -1)
    ids[new] = previous.ids[old]
    born = np.flatnonzero(ids < 0)
    ids[born] = np.arange(previous.next_id, previous.next_id + len(born))
    return Matching(
        ids=ids,
        next_id=previous.next_id + len(born),
        born=tuple(ids[born].tolist()),
        retired=tuple(sorted({*previous.ids.tolist()} - {*ids.tolist()})),
        table=table,
        moved=0.0,
    )


def made(
    previous: SegmentModel | None, matching: Matching, sizes: Sequence[int], centres: Floats
) -> SegmentModel:
    """The version that a matching makes, with users by new cluster."""
    version = 1 if previous is None else previous.version + 1
    order = np.argsort(matching.ids)
    ids = matching.ids[order].tolist()
    own_sizes = [sizes[row] for row in order.tolist()]
    since = (
        {} if previous is None else dict(zip(previous.ids.tolist(), previous.since, strict=True))
    )
    model = SegmentModel(
        version=version,
        embedding=EMBEDDING,
        ids=np.array(ids),
        centres=centres[order],
        radii=np.zeros(len(ids)),
        sizes=np.array(own_sizes),
        labels=tuple(f"version {version}, segment {segment}" for segment in ids),
        words=((),) * len(ids),
        since=tuple(since.get(segment, version) for segment in ids),
        next_id=matching.next_id,
        sample_threshold=1.0,
        samples=0,
        seed=0,
    )
    return chronicled(model, previous, matching)
