"""From figures to the tables and the picture of docs/drift.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Annotation

from benchmarks.markdown import Cell, columns, named
from consumer.report import pictures
from models.drift.check import TESTS

Figures = Mapping[str, Any]

COLOURS = dict(zip(TESTS, pictures.COLOURS, strict=False))


def stationary(figures: Figures) -> str:
    """Table of false alarms."""
    cells: dict[str, Cell] = {
        "nothing changes": "{name}",
        "runs": "{runs}",
        "looks": "{looks}",
        "runs with an alarm": "{alarms}",
        "with one of a segment": "{segment_alarms}",
        "highest statistic / threshold": lambda row: f"{max(row['highest'].values()):.2f}",
        "runs in which ADWIN fires": "{detections}",
    }
    return columns(named(figures["stationary"]), cells, texts=1)


def shifts(figures: Figures) -> str:
    """Table of delays."""

    def delay(key: str) -> Cell:
        return lambda row: "" if row[key] is None else f"{row[key]:,.0f}"

    cells: dict[str, Cell] = {
        "change": "{name}",
        "runs": "{runs}",
        "found": "{found}",
        "false alarms before": "{false_before}",
        "events until, median": delay("delay_median"),
        "least": delay("delay_least"),
        "most": delay("delay_most"),
        "with a segment named": "{with_segments}",
    }
    return columns(named(figures["shifts"]), cells, texts=1)


def fewer(figures: Figures) -> str:
    """Table of delays with fewer users."""
    return shifts(figures["fewer"])


def tests(figures: Figures) -> str:
    """Table of which tests are over their threshold when a change is found."""
    by_test = {f"`{test}`": f"{{found_by[{test}]}} of {{found}}" for test in TESTS}
    return columns(named(figures["shifts"]), {"change": "{name}", **by_test}, texts=1)


def detectors(figures: Figures) -> str:
    """Table of River's detectors."""
    by_kind = {kind: f"{{found[{kind}]}} of {n}" for kind, n in figures["streams"].items()}
    cells = {"detector": "{detector}", **by_kind, "µs a value": "{us:,.1f}"}
    return columns(figures["detectors"], cells, texts=1)


def costs(figures: Figures) -> str:
    """Sentence about time."""
    cost = figures["cost"]
    machine, every = figures["machine"]["cpu"], figures["settings"]["every"]
    return (
        f"With {cost['users']:,} users on either side, on {machine}: "
        f"{cost['reference_ms']:,.0f} ms for a new reference, "
        f"{cost['version_ms']:,.0f} ms for a new version of the segments, "
        f"{cost['look_ms']:,.0f} ms a look, which is {cost['us_a_sample']:,} µs a sample with a "
        f"look after every {every}. The random features are within "
        f"{figures['mmd']['most_percent']} % of the exact squared MMD between each topic and the "
        "others."
    )


PARTS: Mapping[str, Callable[[Figures], str]] = {
    "stationary": stationary,
    "shifts": shifts,
    "fewer": fewer,
    "tests": tests,
    "detectors": detectors,
    "costs": costs,
}
"""What the page's marks are filled with."""


def draw(figures: Figures, path: Path) -> None:
    """Draw the statistics over the real stream into a PNG."""
    figure = pictures.blank(11, 7.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    stream = figures["stream"]
    x, y = "events of the stream, in the order in which they were written", "statistic / threshold"
    pictures.dress(upper, "one reference, kept", y=y, grid=True)
    pictures.dress(lower, "each alarm makes a new reference", x=x, y=y, grid=True)
    for axes, name in ((upper, "kept"), (lower, "retrained")):
        axes.xaxis.grid(visible=False)
        _draw_looks(axes, stream["looks"][name], joined=name == "kept")
        _mark_topics(axes, stream["topics"])
        axes.axhline(1.0, color="black", linewidth=1, zorder=2)
        axes.set_yscale("log")
        axes.set_ylim(0.1, 100)
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside upper right", ncols=5)
    figure.draw_without_rendering()
    for axes in (upper, lower):
        _apart([text for text in axes.texts if isinstance(text, Annotation)])
    path.write_bytes(pictures.png(figure))


def _apart(names: list[Annotation]) -> None:
    """Move names of topics that begin close to one another into rows below each other."""
    placed: list[Annotation] = []
    for name in names:
        while any(name.get_window_extent().overlaps(each.get_window_extent()) for each in placed):
            x, y = name.get_position()
            name.set_position((x, y - 11))
        placed.append(name)


def _draw_looks(axes: Axes, rows: list[list[float]], *, joined: bool) -> None:
    events = [row[0] for row in rows]
    for place, (name, colour) in enumerate(COLOURS.items(), start=1):
        axes.plot(
            events,
            [max(row[place], 0.1) for row in rows],
            color=colour,
            linestyle="-" if joined else "none",
            linewidth=1.4,
            marker="o",
            markersize=3 if joined else 5,
            label=name,
            zorder=3,
        )
    if not joined:
        for row in rows:
            if max(row[1 : 1 + len(COLOURS)]) > 1:
                axes.axvspan(row[0] - 60, row[0] + 60, color="#f6dcc9", zorder=1)


def _mark_topics(axes: Axes, topics: list[Figures]) -> None:
    for topic in topics:
        if topic["first"] == 0:
            continue
        axes.axvline(topic["first"], color="#b02a2a", linestyle="--", linewidth=1, zorder=2)
        axes.annotate(
            topic["name"].rsplit("-", 1)[0],
            (topic["first"], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -10),
            textcoords="offset points",
            fontsize=8,
            color="#b02a2a",
        )
