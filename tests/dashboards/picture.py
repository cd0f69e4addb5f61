"""Some of the dashboard's panels as a picture, from what Prometheus has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.dashboards import promql
from tests.dashboards.contents import panels_of
from tests.dashboards.judge import values_of
from tests.dashboards.server import Prometheus

PANELS = (
    "All tests against their thresholds",
    "Segments' drift over time",
    "Users by segment",
    "Changes by reason",
    "Quality, each profile judged before it is learned",
    "Churn",
)
_PERCENT = "percentunit"


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Give a series its name, as Grafana does."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)


def draw(prometheus: Prometheus, board: dict[str, Any], path: Path) -> None:
    """Draw `PANELS` into a PNG file, seconds since the start to the right."""
    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415

    panels = {panel["title"]: panel for panel in panels_of(board)}
    values = values_of(board)
    figure, grid = plt.subplots(3, 2, figsize=(12, 10), layout="constrained", sharex=True)
    for axes, title in zip(grid.flat, PANELS, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        for target in panels[title]["targets"]:
            expr = promql.substituted(target["expr"], values)
            for series in sorted(prometheus.over_time(expr), key=lambda each: str(each["metric"])):
                axes.plot(
                    *_points(series["values"], prometheus.started),
                    label=legend(target["legendFormat"], series["metric"]),
                    linewidth=1.2,
                )
        defaults = panels[title]["fieldConfig"]["defaults"]
        if defaults["unit"] == _PERCENT:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        for step in defaults.get("thresholds", {}).get("steps", ()):
            if step["value"] is not None:
                axes.axhline(step["value"], color=step["color"], linestyle="--", linewidth=1)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=7, ncols=2, loc="upper left")
        axes.grid(alpha=0.3)
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _points(values: Sequence[Sequence[Any]], started: float) -> tuple[list[float], list[float]]:
    return [time - started for time, _ in values], [float(value) for _, value in values]
