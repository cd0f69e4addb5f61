"""How segments are related: by the items they share, by users who move, by what they write of.

* Shared items: the Bhattacharyya coefficient of p(i | s) and p(i | t), sum_i sqrt(p q): 1 where two
  segments choose alike, 0 where they have no item in common (Bhattacharyya, Bulletin of the
  Calcutta Mathematical Society 35, 1943). Of the segments' own shares, not of the smoothed ones:
  those have the popularity among all in common.
* Flows: users who went from the one to the other, counted both ways, and as a share of all who left
  the one.
* Similarity: the cosine of the segments' mean vectors, less the mean of all. Without that every two
  segments are alike in most embedding models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Relation:
    """Two segments, the one with the lower id first.

    Attributes
    ----------
    first, second
        Their ids.
    shared
        In [0, 1]; 0 where either has no item.
    there, back
        Users who went from the first to the second, and from the second to the first.
    there_share, back_share
        Of all who left the first, and the second; 0 where nobody left.
    similarity
        In [-1, 1]; 0 where nothing is known of either.
    """

    first: int
    second: int
    shared: float
    there: int
    back: int
    there_share: float
    back_share: float
    similarity: float


def relations(
    segments: Sequence[int], weights: F64, flows: I64, means: NDArray[np.floating]
) -> list[Relation]:
    """Relate all pairs of S segments.

    Parameters
    ----------
    segments
        Their ids, ascending.
    weights
        Weight of each item in each segment, float64 (S, items), 0 or more.
    flows
        Users who went from the segment of the row to that of the column, int64 (S, S); the diagonal
        is not looked at.
    means
        Mean vector of each segment, float (S, d).
    """
    totals = weights.sum(axis=1, keepdims=True)
    roots = np.sqrt(np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0))
    shared = np.clip(roots @ roots.T, 0.0, 1.0)
    centred = means.astype(np.float64) - means.astype(np.float64).mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    units = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    similarity = np.clip(units @ units.T, -1.0, 1.0)
    moved = flows - np.diag(np.diag(flows))
    left = moved.sum(axis=1)
    return [
        Relation(
            first=segments[i],
            second=segments[j],
            shared=float(shared[i, j]),
            there=int(moved[i, j]),
            back=int(moved[j, i]),
            there_share=_share(int(moved[i, j]), int(left[i])),
            back_share=_share(int(moved[j, i]), int(left[j])),
            similarity=float(similarity[i, j]),
        )
        for i in range(len(segments))
        for j in range(i + 1, len(segments))
    ]


def flows_of(users: I64, segments: I64, ids: Sequence[int]) -> I64:
    """Count who went from which segment to which, int64 (S, S).

    Parameters
    ----------
    users, segments
        Of n events in the order of time, int64 (n,): the user, and the segment behind the event.
    ids
        The segments, ascending; events in others, or in none, are passed over.
    """
    known = np.isin(segments, np.asarray(ids, np.int64))
    order = np.flatnonzero(known)[np.argsort(users[known], kind="stable")]
    own, places = users[order], np.searchsorted(np.asarray(ids, np.int64), segments[order])
    flows = np.zeros((len(ids), len(ids)), np.int64)
    same = own[1:] == own[:-1]
    np.add.at(flows, (places[:-1][same], places[1:][same]), 1)
    np.fill_diagonal(flows, 0)
    return flows


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
