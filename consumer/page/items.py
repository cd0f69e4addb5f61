"""What the segments' users choose, and how segments are related by it, by moves and by texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from consumer.page.gathered import Gathered
from consumer.page.places import Places
from consumer.page.told import Flow
from consumer.report.wording import one_line
from models.distances import Floats
from models.recommendation.relations import Relation, relations
from schemas.recommendations import SegmentRecommendations

Lists = Mapping[int | None, SegmentRecommendations]

SHOWN = 10
"""Items of a segment on the page at most."""

_ID_CHARS = 60


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item of a segment.

    Attributes
    ----------
    weight
        Faded weight of the segment's events about it.
    share
        Of all that the segment's users do, smoothed.
    times
        That share as a multiple of the one among all users; None where it leads among those not.
    rated, mean, variance
        Faded number of its ratings by the segment's users, mean and variance.
    """

    item: str
    weight: float
    share: float
    times: float | None
    rated: float
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class ItemList:
    """What leads in a segment; `segment` is None for all users."""

    segment: int | None
    as_of: str
    weight: float
    rated: float
    mean: float
    variance: float
    items: list[ItemRow]


@dataclass(frozen=True, slots=True)
class Related:
    """Two segments.

    Attributes
    ----------
    relation
        With `shared` by the items that are published of both: it is no less.
    shared_most
        It is no more.
    """

    relation: Relation
    shared_most: float

    @property
    def moves(self) -> int:
        """Users who went from the one to the other."""
        return self.relation.there + self.relation.back


def item_lists(lists: Lists, order: Sequence[int]) -> list[ItemList]:
    """Give what leads in each segment, in an order, and among all users behind them."""
    overall = {} if None not in lists else {each.item_id: each.score for each in lists[None].items}
    return [
        _told(lists[segment], {} if segment is None else overall)
        for segment in (*order, None)
        if segment in lists
    ]


def _told(found: SegmentRecommendations, overall: Mapping[str, float]) -> ItemList:
    return ItemList(
        segment=found.segment,
        as_of=f"{found.as_of:%Y-%m-%d %H:%M}",
        weight=found.popularity,
        rated=found.ratings.weight,
        mean=found.ratings.mean,
        variance=found.ratings.variance,
        items=[
            ItemRow(
                item=one_line(each.item_id, _ID_CHARS),
                weight=each.popularity,
                share=each.score,
                times=each.score / overall[each.item_id] if overall.get(each.item_id) else None,
                rated=each.ratings.weight,
                mean=each.ratings.mean,
                variance=each.ratings.variance,
            )
            for each in found.items[:SHOWN]
        ],
    )


def related(found: Gathered, where: Places, flows: Sequence[Flow]) -> list[Related]:
    """Relate all pairs of today's segments, those with most in common first.

    What is published of a segment are its leading items and the weight of them all. The rest of
    each is taken for its own, shared with nobody: so `shared` is no less than told. How much more
    it may be tells `_most_beside`.
    """
    ids = sorted(where.ids.tolist())
    if len(ids) < 2:
        return []
    place = {segment: row for row, segment in enumerate(ids)}
    own = [_weights(found.recommendations.get(segment)) for segment in ids]
    names: dict[str, int] = {}
    for weights, _ in own:
        for item in weights:
            names.setdefault(item, len(names))
    table = np.zeros((len(ids), len(names) + len(ids)))
    for row, (weights, total) in enumerate(own):
        for item, weight in weights.items():
            table[row, names[item]] = weight
        table[row, len(names) + row] = max(total - sum(weights.values()), 0.0)
    moved = np.zeros((len(ids), len(ids)), np.int64)
    for flow in flows:
        if flow.old in place and flow.new in place:
            moved[place[flow.old], place[flow.new]] += flow.users
    means = where.centres[[where.ids.tolist().index(segment) for segment in ids]]
    shares = np.divide(
        *(table, table.sum(axis=1, keepdims=True)),
        out=np.zeros_like(table),
        where=table.sum(axis=1, keepdims=True) > 0,
    )
    made = []
    for each in relations(ids, table, moved, means):
        one, other = (shares[place[own]] for own in (each.first, each.second))
        most = each.shared + _most_beside(one[: len(names)], other[: len(names)])
        made.append(Related(each, min(most, 1.0) if one.any() and other.any() else 0.0))
    return sorted(made, key=_in_common)


def _most_beside(one: Floats, other: Floats) -> float:
    """Give the most that items add which are not published of both.

    By the inequality of Cauchy and Schwarz items that are published of the one alone add
    sqrt(p (1 - q)) at most, where p is their part in the one and 1 - q that of all that is not
    published of the other; those published of neither sqrt((1 - p)(1 - q)); and all together no
    more than the square root of what is left of the one times what is left of the other.

    Parameters
    ----------
    one, other
        Shares of the items that are published of any segment, 0 for those that are not of this
        one, float64 (n,).
    """
    both = (one > 0) & (other > 0)
    left_one, left_other = max(0.0, 1.0 - one.sum()), max(0.0, 1.0 - other.sum())
    alone_one, alone_other = float(one[~both].sum()), float(other[~both].sum())
    apart = np.sqrt([alone_one * left_other, alone_other * left_one, left_one * left_other]).sum()
    together = np.sqrt((alone_one + left_one) * (alone_other + left_other))
    return float(min(apart, together))


def _weights(known: SegmentRecommendations | None) -> tuple[dict[str, float], float]:
    if known is None:
        return {}, 0.0
    return {each.item_id: each.popularity for each in known.items}, known.popularity


def _in_common(each: Related) -> tuple[float, int, float, int, int]:
    relation = each.relation
    return (
        *(-relation.shared, -each.moves, -relation.similarity),
        *(relation.first, relation.second),
    )


def as_data(
    names: Mapping[int, str], users: Mapping[int, int], lists: Lists, pairs: Sequence[Related]
) -> dict[str, Any]:
    """Give segments with their items, and how they are related, as plain values."""
    return {
        "segments": [
            {
                "id": segment,
                "label": names.get(segment, ""),
                "users": count,
                "recommendations": _plain(lists.get(segment)),
            }
            for segment, count in users.items()
        ],
        "all": _plain(lists.get(None)),
        "relations": [{**asdict(each.relation), "shared_most": each.shared_most} for each in pairs],
    }


def _plain(known: SegmentRecommendations | None) -> dict[str, Any] | None:
    """Leave vectors out: nobody looks at them, and they are most of it."""
    if known is None:
        return None
    told: dict[str, Any] = known.model_dump(mode="json", exclude={"items": {"__all__": {"vector"}}})
    return told
