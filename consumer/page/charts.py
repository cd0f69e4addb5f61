"""The page's charts, as Vega-Lite writes them: https://vega.github.io/vega-lite/docs/spec.html.

A specification holds its data. Colours of text and lines are the page's, which go by the reader's
preference: `page.js` puts them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consumer.page.told import Flow, Sizes
from consumer.report.colours import COLOURS, GREY
from consumer.report.wording import one_line
from schemas.segment_model import NO_SEGMENT

Spec = dict[str, Any]

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_LABEL_CHARS = 40
_MOST_LINES = 12
_MOST_FLOWS = 40
_STEPS = 16
_GAP = 0.02
_NAME_PIXELS = 13
"""From one name beside the flows to the next."""
_DAYS: Spec = {"grid": False, "tickCount": 8, "labelOverlap": True}
# One column: two of long names are wider than a phone.
_LEGEND: Spec = {"orient": "bottom", "columns": 1, "title": None, "labelLimit": 300}


@dataclass(frozen=True, slots=True)
class Look:
    """Colour and shape of each segment, by its id, and what it is called in charts."""

    names: Mapping[int, str]
    order: Sequence[int]

    def name(self, segment: int) -> str:
        """Name a segment, with its id, since two may be called the same."""
        if segment == NO_SEGMENT:
            return "no segment"
        label = one_line(self.names.get(segment, "a former segment"), _LABEL_CHARS)
        return f"{segment} {label}"

    def colour(self, segment: int) -> str:
        """Give a segment's colour; a former one has none of its own."""
        if segment not in self.order:
            return GREY
        return COLOURS[self.order.index(segment) % len(COLOURS)]

    def shape(self, segment: int) -> str:
        """Give a segment's shape; no two of the first 42 share both."""
        return SHAPES[self.order.index(segment) % len(SHAPES)] if segment in self.order else "cross"

    def scale(self, segments: Sequence[int]) -> Spec:
        """Give the scale of colours."""
        return {
            "domain": [self.name(each) for each in segments],
            "range": [self.colour(each) for each in segments],
        }


def framed(height: int, description: str, **more: Any) -> Spec:
    """Give a chart as wide as the page lets it be."""
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "description": description,
        **more,
    }


def map_chart(rows: Sequence[Mapping[str, Any]], look: Look, description: str) -> Spec:
    """Draw users as points.

    Parameters
    ----------
    rows
        Of each user x, y, segment (its id), name (the user's), events, sure, and what else a person
        is told who points at it.
    look
        Of the segments.
    description
        In place of the picture, for those who cannot see it.
    """
    segments = [*look.order, NO_SEGMENT]
    # Which are shown and who is looked for is set by the page, from controls that a keyboard works.
    shown = "indexof(shown, datum.segment) >= 0 && datum.events >= least"
    tooltip = [
        {"field": "name", "title": "user"},
        {"field": "in", "title": "segment"},
        {"field": "events", "title": "events"},
        {"field": "sure", "title": "sure", "format": ".0%"},
        {"field": "next", "title": "next segment"},
        {"field": "latest", "title": "latest event"},
        {"field": "moved", "title": "latest change"},
    ]
    if rows and all(row["name"] is None for row in rows):
        del tooltip[0]
    found = "sought != '' && indexof(lower(datum.name || ''), sought) >= 0"
    return framed(
        460,
        description,
        params=[
            {"name": "shown", "value": segments},
            {"name": "least", "value": 0},
            {"name": "sought", "value": ""},
        ],
        data={"values": list(rows)},
        transform=[
            {"filter": shown},
            {"calculate": found, "as": "found"},
        ],
        mark={"type": "point", "filled": True, "aria": False},
        encoding={
            "x": {"field": "x", "type": "quantitative", "axis": None, "scale": {"zero": False}},
            "y": {"field": "y", "type": "quantitative", "axis": None, "scale": {"zero": False}},
            "color": {"field": "in", "scale": look.scale(segments), "legend": None},
            "shape": {
                "field": "in",
                "scale": {
                    "domain": [look.name(each) for each in segments],
                    "range": [look.shape(each) for each in segments],
                },
                "legend": None,
            },
            "size": {"condition": {"test": "datum.found", "value": 320}, "value": 44},
            "opacity": {
                "condition": {"test": "sought != '' && !datum.found", "value": 0.12},
                "value": 0.85,
            },
            "order": {"field": "found"},
            "tooltip": tooltip,
        },
    )


def sizes_chart(sizes: Sizes, look: Look, description: str) -> Spec:
    """Draw users by segment over time, the largest segments by themselves."""
    most = sizes.users.max(axis=0)
    order = [sizes.segments[row] for row in np.argsort(-most, kind="stable").tolist()]
    alone = order[:_MOST_LINES]
    rows = [
        {"at": round(at * 1_000), "in": look.name(segment), "users": users}
        for segment in alone
        for at, users in zip(sizes.times.tolist(), sizes.of(segment), strict=True)
    ]
    if others := order[_MOST_LINES:]:
        name = f"{len(others)} smaller ones"
        together = sum(np.array(sizes.of(segment)) for segment in others)
        rows += [
            {"at": round(at * 1_000), "in": name, "users": int(users)}
            for at, users in zip(sizes.times.tolist(), np.atleast_1d(together), strict=True)
        ]
    scale = look.scale(alone)
    if others:
        scale = {"domain": [*scale["domain"], name], "range": [*scale["range"], GREY]}
    return framed(
        300,
        description,
        data={"values": rows},
        mark={"type": "line", "interpolate": "step-after", "strokeWidth": 2, "tooltip": True},
        encoding={
            "x": {
                "field": "at",
                "type": "temporal",
                "title": None,
                "scale": {"type": "utc"},
                "axis": _DAYS,
            },
            "y": {"field": "users", "type": "quantitative", "title": "users"},
            "color": {
                "field": "in",
                "scale": scale,
                "legend": _LEGEND,
            },
            "strokeDash": {
                "field": "in",
                "legend": _LEGEND,
                "scale": {"domain": scale["domain"], "range": _dashes(len(scale["domain"]))},
            },
            "tooltip": [
                {"field": "in", "title": "segment"},
                {"field": "at", "type": "temporal", "title": "at", "format": "%d %b %Y, %H:%M"},
                {"field": "users", "type": "quantitative", "format": ","},
            ],
        },
    )


def _dashes(count: int) -> list[list[int]]:
    """Give lines of one colour other dashes."""
    patterns: list[list[int]] = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
    return [patterns[place // len(COLOURS) % len(patterns)] for place in range(count)]


def changes_chart(times: Sequence[tuple[float, str]], description: str) -> Spec | None:
    """Draw how many changes there were over time by their kind; None without any.

    Parameters
    ----------
    times
        When each change was, in seconds since 1970, and its kind.
    description
        As for the others.
    """
    if not times:
        return None
    kinds = sorted({kind for _, kind in times})
    at = np.array([time for time, _ in times])
    edges = np.linspace(at.min(), max(at.max(), at.min() + 1.0), 41)
    rows = []
    for kind in kinds:
        counts = np.histogram(at[[kind == each for _, each in times]], edges)[0]
        rows += [
            {
                "at": round(low * 1_000),
                "end": round(high * 1_000),
                "kind": kind,
                "changes": count,
            }
            for low, high, count in zip(
                edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True
            )
            if count
        ]
    return framed(
        200,
        description,
        data={"values": rows},
        mark={"type": "bar", "binSpacing": 1},
        encoding={
            "x": {
                "field": "at",
                "type": "temporal",
                "bin": "binned",
                "title": None,
                "scale": {"type": "utc"},
                "axis": _DAYS,
            },
            "x2": {"field": "end"},
            "y": {"field": "changes", "type": "quantitative", "title": "changes", "stack": "zero"},
            "color": {
                "field": "kind",
                "scale": {"domain": kinds, "range": list(COLOURS[: len(kinds)])},
                "legend": _LEGEND,
            },
            "tooltip": [
                {"field": "kind", "title": "what"},
                {"field": "at", "type": "temporal", "title": "from", "format": "%d %b %Y, %H:%M"},
                {"field": "changes", "type": "quantitative", "format": ","},
            ],
        },
    )


def flows_chart(ways: Sequence[Flow], look: Look, description: str) -> Spec | None:
    """Draw moves between segments as a Sankey diagram; None without any.

    Vega-Lite knows none, so the ribbons are areas whose edges are computed here: on the left lie
    the segments that were left, on the right those that were entered.
    """
    ways = ways[:_MOST_FLOWS]
    total = sum(way.users for way in ways)
    if not total:
        return None
    left, right = _stacked(ways, "old", look), _stacked(ways, "new", look)
    height = max(left.height, right.height)
    pixels = max(220, 44 * max(len(left.nodes), len(right.nodes)))
    ribbons: list[Spec] = []
    steps = np.linspace(0.0, 1.0, _STEPS)
    smooth = steps * steps * (3.0 - 2.0 * steps)
    for number, way in enumerate(ways):
        low, high = left.take(way.old, way.users), right.take(way.new, way.users)
        for x, share in zip(steps.tolist(), smooth.tolist(), strict=True):
            bottom = low + (high - low) * share
            ribbons.append(
                {
                    "way": number,
                    "x": round(x, 4),
                    "y": round(bottom, 5),
                    "y2": round(bottom + way.users / total, 5),
                    "from": look.name(way.old),
                    "to": look.name(way.new),
                    "users": way.users,
                    "own": way.by_user,
                    "model": way.by_model,
                }
            )
    nodes = [
        {
            "x": x,
            "x2": x + 0.008 * (1 if side is left else -1),
            "y": round(low, 5),
            "y2": round(low + users / total, 5),
            "middle": round(middle, 5),
            "in": look.name(segment),
            "users": users,
            "side": side is left,
        }
        for x, side in ((0.0, left), (1.0, right))
        for (segment, (low, users)), middle in zip(
            side.nodes.items(), side.names(height * _NAME_PIXELS / pixels), strict=True
        )
    ]
    known = sorted({way.old for way in ways} | {way.new for way in ways})
    colour = {"scale": look.scale(known), "legend": None}
    span = {"type": "quantitative", "axis": None, "scale": {"domain": [0, 1], "nice": False}}
    tall = {
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, height], "reverse": True, "nice": False},
    }
    return framed(
        pixels,
        description,
        layer=[
            {
                "data": {"values": ribbons},
                "mark": {"type": "area", "opacity": 0.45, "line": False},
                "encoding": {
                    "x": {"field": "x", **span},
                    "y": {"field": "y", "stack": None, **tall},
                    "y2": {"field": "y2"},
                    "detail": {"field": "way"},
                    "color": {"field": "from", **colour},
                    "tooltip": [
                        {"field": "from"},
                        {"field": "to"},
                        {"field": "users", "type": "quantitative", "title": "moves"},
                        {"field": "own", "type": "quantitative", "title": "by users' own events"},
                        {"field": "model", "type": "quantitative", "title": "by new versions"},
                    ],
                },
            },
            {
                "data": {"values": nodes},
                "mark": {"type": "rect"},
                "encoding": {
                    "x": {"field": "x", **span},
                    "x2": {"field": "x2"},
                    "y": {"field": "y", **tall},
                    "y2": {"field": "y2"},
                    "color": {"field": "in", **colour},
                    "tooltip": [
                        {"field": "in", "title": "segment"},
                        {"field": "users", "type": "quantitative", "title": "moves"},
                    ],
                },
            },
            *(
                {
                    "data": {"values": [node for node in nodes if node["side"] is is_left]},
                    "mark": {
                        "type": "text",
                        "align": "left" if is_left else "right",
                        "dx": 14 if is_left else -14,
                        "limit": 150,
                        "fontSize": 11,
                    },
                    "encoding": {
                        "x": {"field": "x", **span},
                        "y": {"field": "middle", **tall},
                        "text": {"field": "in"},
                    },
                }
                for is_left in (True, False)
            ),
        ],
    )


class _Side:
    """One side of the diagram: where each segment lies, and what of it is taken."""

    def __init__(self, sums: Mapping[int, int], total: int) -> None:
        self.nodes: dict[int, tuple[float, int]] = {}
        self._free: dict[int, float] = {}
        self._total = total
        low = 0.0
        for segment, users in sums.items():
            self.nodes[segment] = (low, users)
            self._free[segment] = low
            low += users / total + _GAP
        self.height = low - _GAP

    def names(self, apart: float) -> Iterator[float]:
        """Give where each segment's name stands: in its middle, or so far below the one before."""
        last = -apart
        for low, users in self.nodes.values():
            last = max(low + users / self._total / 2, last + apart)
            yield last

    def take(self, segment: int, users: int) -> float:
        """Give where the next ribbon of a segment begins."""
        low = self._free[segment]
        self._free[segment] += users / self._total
        return low


def _stacked(ways: Sequence[Flow], end: str, look: Look) -> _Side:
    sums: dict[int, int] = {}
    for way in ways:
        segment = getattr(way, end)
        sums[segment] = sums.get(segment, 0) + way.users
    order = sorted(sums, key=lambda each: (-sums[each], look.name(each)))
    return _Side({segment: sums[segment] for segment in order}, sum(sums.values()))
