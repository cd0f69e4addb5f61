"""A dashboard as a picture: its panels at their places, from what Prometheus has seen.

Grafana draws it otherwise. This shows what it has to draw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.dashboards import promql
from tests.dashboards.contents import panels_of, variables_of
from tests.dashboards.judge import values_of
from tests.dashboards.server import Prometheus

_COLUMNS = 24
_INCHES_WIDE = 15.0
_INCHES_A_UNIT = 0.27
_MARGIN_INCHES = 0.5
_SERIES_IN_A_LEGEND = 10
_GREY = "#9aa0a6"
_SCALES = {
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
    "s": ((86_400, "days"), (3_600, "h"), (60, "min")),
}
# From this width on a panel has its legend at the right, as in Grafana.
_WIDE = 12

Panel = dict[str, Any]
Series = dict[str, Any]


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Give a series its name, as Grafana does."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


def written(value: float, unit: str) -> str:
    """Write a number in one of Grafana's units that are in use."""
    if math.isnan(value):
        return "no data"
    if unit == "percentunit":
        return f"{value:.0%}" if value == round(value, 2) or abs(value) > 0.1 else f"{value:.2%}"
    for size, name in _SCALES.get(unit, ()):
        if abs(value) >= 2 * size:
            return f"{value / size:,.3g} {name}"
    rounded = f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.3g}"
    return rounded + {"s": " s", "cps": "/s", "eps": "/s", "ops": "/s"}.get(unit, "")


def draw(prometheus: Prometheus, board: Panel, path: Path) -> None:
    """Draw a dashboard into a PNG file, seconds since the start to the right."""
    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    placed = list(_placed(prometheus, board))
    units = max(place["y"] + place["h"] for _, place, _ in placed)
    high = units * _INCHES_A_UNIT
    figure = plt.figure(figsize=(_INCHES_WIDE, high))
    column, line = 1 / _COLUMNS, 1 / units
    x_margin, y_margin = _MARGIN_INCHES / _INCHES_WIDE, _MARGIN_INCHES / high
    for panel, place, values in placed:
        left, bottom = place["x"] * column, 1 - (place["y"] + place["h"]) * line
        title = promql.substituted(panel["title"], values)
        if panel["type"] == "row":
            figure.text(0.01, bottom + 0.2 * line, title, fontsize=12, weight="bold")
            continue
        width, height = place["w"] * column, place["h"] * line
        named = panel["type"] == "state-timeline"
        beside = (named or panel["type"] == "timeseries") and place["w"] >= _WIDE
        box = (
            left + (2.5 if named else 1.2) * x_margin,
            bottom + 0.7 * y_margin,
            (0.72 if beside and not named else 1) * width - (2.7 if named else 1.4) * x_margin,
            height - 1.4 * y_margin,
        )
        axes = figure.add_axes(box)
        axes.set_title(title, loc="left", fontsize=8 if place["w"] < 6 else 9)
        axes.tick_params(labelsize=7)
        _DRAWN[panel["type"]](axes, panel, prometheus, values)
    figure.savefig(path, dpi=75)
    plt.close(figure)


def _placed(
    prometheus: Prometheus, board: Panel
) -> Iterator[tuple[Panel, Mapping[str, int], Mapping[str, str]]]:
    """Give panels, each with its place and the variables' values, repeated ones as often."""
    values, down = values_of(board), 0
    sources = dict(variables_of(board))
    for panel in panels_of(board):
        place = panel["gridPos"] | {"y": panel["gridPos"]["y"] + down}
        if "repeat" not in panel:
            yield panel, place, values
            continue
        of = panel["repeat"]
        series, label = promql.label_values(promql.substituted(sources[of], values))
        for number, value in enumerate(prometheus.label_values(series, label)):
            lines, turn = divmod(number, panel["maxPerRow"])
            at = {"x": turn * place["w"], "y": place["y"] + lines * place["h"]}
            yield panel, place | at, {**values, of: value}
        down += lines * place["h"]


def _asked(
    panel: Panel, ask: Callable[[str], list[Series]], values: Mapping[str, str]
) -> Iterator[tuple[str, Series]]:
    """Give the panel's series with their names."""
    for target in panel["targets"]:
        found = ask(promql.substituted(target["expr"], values))
        for series in sorted(found, key=lambda each: str(each["metric"])):
            yield legend(target.get("legendFormat", ""), series["metric"]), series


def _points(values: Sequence[Sequence[Any]], started: float) -> tuple[list[float], list[float]]:
    return [time - started for time, _ in values], [float(value) for _, value in values]


def _timeseries(axes: Any, panel: Panel, prometheus: Prometheus, values: Mapping[str, str]) -> None:
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415

    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    base: dict[float, float] = {}
    for name, series in _asked(panel, prometheus.over_time, values):
        times, numbers = _points(series["values"], prometheus.started)
        latest = f"{name}  {written(numbers[-1], unit)}"
        if stacked:
            below = [base.get(time, 0.0) for time in times]
            numbers = [low + number for low, number in zip(below, numbers, strict=True)]
            base.update(zip(times, numbers, strict=True))
            axes.fill_between(times, below, numbers, label=latest, alpha=0.5, linewidth=0)
        else:
            axes.plot(times, numbers, label=latest, linewidth=1.1)
    for step in defaults.get("thresholds", {}).get("steps", ()):
        if step["value"] is not None and (step["value"] <= axes.get_ylim()[1] * 1.5):
            axes.axhline(step["value"], color=step["color"], linestyle="--", linewidth=1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.set_ylim(bottom=defaults.get("min"))
    axes.grid(alpha=0.3)
    handles, names = axes.get_legend_handles_labels()
    if names:
        shown = slice(_SERIES_IN_A_LEGEND)
        if panel["gridPos"]["w"] >= _WIDE:
            at = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.03), "frameon": False}
        else:
            at = {"loc": "upper left", "ncols": 2}
        axes.legend(handles[shown], names[shown], fontsize=6.5, **at)


def _stat(axes: Any, panel: Panel, prometheus: Prometheus, values: Mapping[str, str]) -> None:
    axes.set_axis_off()
    defaults = panel["fieldConfig"]["defaults"]
    found = [float(series["value"][1]) for _, series in _asked(panel, prometheus.at_once, values)]
    value = found[0] if found else math.nan
    color = _color(value, defaults["thresholds"]["steps"])
    text = written(value, defaults["unit"])
    axes.text(0, 0.3, text, fontsize=20, color=color, transform=axes.transAxes)


def _color(value: float, steps: Sequence[Mapping[str, Any]]) -> str:
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    found: str = reached[-1]["color"]
    return found if found != "transparent" else _GREY


def _states(axes: Any, panel: Panel, prometheus: Prometheus, values: Mapping[str, str]) -> None:
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    names = []
    for line, (name, series) in enumerate(_asked(panel, prometheus.over_time, values)):
        times, numbers = _points(series["values"], prometheus.started)
        for value, state in mapping["options"].items():
            there = [(time, 1.0) for time, number in zip(times, numbers, strict=True)
                     if number == float(value)]  # fmt: skip
            axes.broken_barh(there, (line - 0.4, 0.8), color=state["color"])
        names.append(name)
    axes.set_yticks(range(len(names)), names)


def _bars(axes: Any, panel: Panel, prometheus: Prometheus, values: Mapping[str, str]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    for line, (name, series) in enumerate(_asked(panel, prometheus.at_once, values)):
        value = float(series["value"][1])
        axes.barh(line, max(value, 0.0), color=_color(value, defaults["thresholds"]["steps"]))
        axes.text(0, line, f" {name}  {written(value, defaults['unit'])}", fontsize=7, va="center")
    axes.set_yticks([])


def _matrix(axes: Any, panel: Panel, prometheus: Prometheus, values: Mapping[str, str]) -> None:
    axes.set_axis_off()
    (options,) = (each["options"] for each in panel["transformations"])
    cells: dict[tuple[str, str], float] = {}
    for _, series in _asked(panel, prometheus.at_once, values):
        of = series["metric"]
        place = of.get(options["rowField"], ""), of.get(options["columnField"], "")
        cells[place] = float(series["value"][1])
    rows, columns = (sorted({place[n] for place in cells}) for n in (0, 1))
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if cells:
        text = [
            [
                written(cells[row, column], unit) if (row, column) in cells else ""
                for column in columns
            ]
            for row in rows
        ]
        table = axes.table(text, rowLabels=rows, colLabels=columns, bbox=(0.12, 0, 0.88, 1))
        table.auto_set_font_size(False)
        table.set_fontsize(7)


_DRAWN: Mapping[str, Callable[[Any, Panel, Prometheus, Mapping[str, str]], None]] = {
    "timeseries": _timeseries,
    "stat": _stat,
    "state-timeline": _states,
    "bargauge": _bars,
    "table": _matrix,
}
