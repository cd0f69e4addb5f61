"""The graph of the segments: as circles on a circle, and as wide as they are related lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from consumer.page.charts import Look, Spec, framed
from consumer.page.items import Related

KINDS: Mapping[str, str] = {
    "shared": "items that both choose",
    "moves": "users who moved",
    "alike": "likeness of what is written",
}
"""What lines may show, and what that is called; the first that is known is shown first."""

_STRENGTH: Mapping[str, Callable[[Related], float]] = {
    "shared": lambda each: each.relation.shared,
    "moves": lambda each: float(each.moves),
    "alike": lambda each: max(each.relation.similarity, 0.0),
}
_MOST_SEGMENTS = 24
"""The largest: of more, neither circles nor lines would be told apart."""
_MOST_LINES = 60
"""Of a kind, the strongest."""
_SIZE = 420
_REACH = 1.18
_WIDEST, _LARGEST = 9.0, 1_600


def kinds_of(pairs: Sequence[Related]) -> list[str]:
    """Give what is known of any two segments, by the names in `KINDS`."""
    return [kind for kind in KINDS if any(_STRENGTH[kind](each) > 0 for each in pairs)]


def relations_chart(
    pairs: Sequence[Related], users: Mapping[int, int], look: Look, description: str
) -> Spec | None:
    """Draw the graph; None where nothing is known of any two segments.

    Parameters
    ----------
    pairs
        How segments are related.
    users
        Of each segment; the largest are drawn.
    look, description
        As for the other charts.

    Notes
    -----
    Which kind of lines is shown is set by the page, as `kind`.
    """
    shown = sorted(users, key=lambda each: (-users[each], each))[:_MOST_SEGMENTS]
    pairs = [each for each in pairs if {each.relation.first, each.relation.second} <= {*shown}]
    kinds = kinds_of(pairs)
    if not kinds:
        return None
    order = around(shown, pairs)
    turns = 2 * np.pi * np.arange(len(order)) / len(order)
    xs, ys = np.sin(turns).round(4).tolist(), np.cos(turns).round(4).tolist()
    at = {segment: (xs[n], ys[n]) for n, segment in enumerate(order)}
    span: Spec = {
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [-_REACH, _REACH], "nice": False},
    }
    most = max(users.values(), default=0)
    nodes = [
        {
            "x": at[segment][0],
            "y": at[segment][1],
            "id": str(segment),
            "in": look.name(segment),
            "users": users[segment],
            "size": round(500 + (_LARGEST - 500) * users[segment] / max(most, 1)),
        }
        for segment in order
    ]
    there = {"x": {"field": "x", **span}, "y": {"field": "y", **span}}
    return framed(
        _SIZE,
        description,
        params=[{"name": "kind", "value": kinds[0]}],
        layer=[
            {
                "data": {"values": _lines(pairs, kinds, at, look)},
                "transform": [{"filter": "datum.kind == kind"}],
                "mark": {"type": "rule", "color": "#8a8a8a", "opacity": 0.75, "strokeCap": "round"},
                "encoding": {
                    **there,
                    "x2": {"field": "x2"},
                    "y2": {"field": "y2"},
                    "strokeWidth": {
                        "field": "width",
                        "type": "quantitative",
                        "scale": None,
                        "legend": None,
                    },
                    "tooltip": [
                        {"field": "one", "title": "segment"},
                        {"field": "other", "title": "and"},
                        {"field": "shared", "title": "items in common"},
                        {"field": "there", "title": "moved there", "format": ","},
                        {"field": "back", "title": "and back", "format": ","},
                        {"field": "alike", "title": "likeness", "format": "+.2f"},
                    ],
                },
            },
            {
                "data": {"values": nodes},
                "mark": {"type": "circle", "opacity": 1},
                "encoding": {
                    **there,
                    "size": {
                        "field": "size",
                        "type": "quantitative",
                        "scale": None,
                        "legend": None,
                    },
                    "color": {
                        "field": "in",
                        "scale": look.scale(order),
                        "legend": {
                            "orient": "bottom",
                            "columns": 1,
                            "title": None,
                            "labelLimit": 300,
                        },
                    },
                    "tooltip": [
                        {"field": "in", "title": "segment"},
                        {"field": "users", "title": "users", "format": ","},
                    ],
                },
            },
            _names(
                nodes,
                there,
                color="white",
                stroke="black",
                strokeWidth=3,
                strokeOpacity=0.55,
                aria=False,
            ),
            _names(nodes, there, color="white", tooltip=False),
        ],
    )


def _names(nodes: Sequence[Mapping[str, Any]], there: Spec, **mark: Any) -> Spec:
    return {
        "data": {"values": nodes},
        "mark": {"type": "text", "fontSize": 13, "fontWeight": "bold", **mark},
        "encoding": {**there, "text": {"field": "id"}},
    }


def _lines(
    pairs: Sequence[Related],
    kinds: Sequence[str],
    at: Mapping[int, tuple[float, float]],
    look: Look,
) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for kind in kinds:
        strength = _STRENGTH[kind]
        own = sorted(
            (each for each in pairs if strength(each) > 0), key=lambda each: -strength(each)
        )[:_MOST_LINES]
        widest = max(map(strength, own))
        for each in own:
            relation = each.relation
            (x, y), (x2, y2) = at[relation.first], at[relation.second]
            lines.append(
                {
                    "kind": kind,
                    "x": x,
                    "y": y,
                    "x2": x2,
                    "y2": y2,
                    "width": round(max(0.5, _WIDEST * strength(each) / widest), 2),
                    "one": look.name(relation.first),
                    "other": look.name(relation.second),
                    "shared": share_in_words(each),
                    "there": relation.there,
                    "back": relation.back,
                    "alike": round(relation.similarity, 3),
                }
            )
    return lines


def share_in_words(each: Related) -> str:
    """Say which part of their choices two segments have in common, as far as it is known."""
    least, most = 100 * each.relation.shared, 100 * each.shared_most
    if f"{least:.0f}" == f"{most:.0f}":
        return f"{least:.0f} %"
    return f"{least:.0f} to {most:.0f} %"


def around(segments: Sequence[int], pairs: Sequence[Related]) -> list[int]:
    """Order segments so that neighbours have much in common: each next one is nearest to the last.

    Parameters
    ----------
    segments
        Their ids, the first one stays first.
    pairs
        How they are related.
    """
    alike = {
        frozenset((each.relation.first, each.relation.second)): each.relation.similarity
        for each in pairs
    }
    left = list(segments)
    order = left[:1]
    del left[:1]
    while left:
        last = order[-1]
        order.append(max(left, key=lambda each: alike.get(frozenset((last, each)), -2.0)))
        left.remove(order[-1])
    return order
