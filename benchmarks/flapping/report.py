"""From figures to the tables and the picture of docs/stability.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from benchmarks.markdown import Cell, columns, table
from consumer.report.colours import COLOURS, GREY
from consumer.report.pictures import blank, dress, png

Figures = Mapping[str, Any]
Thresholds = tuple[float, float, int, int, float]

NAMES = ("margin_share", "thin_margin_share", "dwell_events", "min_events", "min_confidence")

SHOWN: tuple[Thresholds, ...] = (
    (0, 0, 0, 1, 0),
    (0.06, 0, 0, 1, 0),
    (0.12, 0, 0, 1, 0),
    (0.24, 0, 0, 1, 0),
    (0, 0, 5, 1, 0),
    (0.06, 0, 5, 1, 0),
    (0.06, 0.24, 5, 1, 0),
    (0.06, 0.36, 5, 1, 0),
    (0.06, 0.24, 8, 1, 0),
    (0.06, 0.36, 0, 1, 0),
    (0.06, 0.36, 3, 1, 0),
    (0.06, 0.36, 8, 1, 0),
    (0.06, 0.36, 8, 2, 0),
    (0.06, 0.36, 8, 3, 0),
    (0.06, 0.48, 8, 1, 0),
    (0, 0, 8, 1, 0),
    (0.06, 0, 8, 1, 0),
    (0.12, 0.36, 8, 1, 0),
    (0, 0, 8, 1, 0.5),
    (0, 0, 8, 1, 0.7),
    (0, 0, 8, 1, 0.9),
)
"""Policies in the tables; the default is always among them."""

COLUMNS = ("stream", "steady", "real", "made_up", "torn")
"""Order of what confidence is compared in."""

BLUE, PALE_BLUE, RED = COLOURS[0], COLOURS[4], COLOURS[5]


def thresholds(row: Figures) -> Thresholds:
    """Both margins, dwell, least events and least confidence of a policy."""
    margin, thin, dwell, least, sure = (row[name] for name in NAMES)
    return margin, thin, dwell, least, sure


def shown(figures: Figures) -> list[Thresholds]:
    """Policies in the tables, in order."""
    return sorted({*SHOWN, thresholds(figures["default"])}, key=lambda each: (each[-1], *each[:-1]))


def by_policy(rows: Sequence[Figures]) -> dict[Thresholds, Figures]:
    """Rows by their thresholds."""
    return {thresholds(row): row for row in rows}


def _by_policy(
    figures: Figures, rows: Mapping[Thresholds, Figures], cells: Mapping[str, Cell]
) -> str:
    """Write a table of the policies that are shown, the default in bold."""
    default = thresholds(figures["default"])

    def policy(place: int) -> Cell:
        def cell(row: Figures) -> str:
            text = f"{row['policy'][place]:g}"
            return f"**{text}**" if row["policy"] == default else text

        return cell

    heads = ("margin", "of one text", "dwell", "min. events", "min. confidence")
    shown_rows = [{"policy": each, **rows[each]} for each in shown(figures)]
    return columns(shown_rows, {name: policy(i) for i, name in enumerate(heads)} | cells)


def policies_text(figures: Figures) -> str:
    """Changes and lag by policy, in every scenario."""
    found = {name: by_policy(scenario["rows"]) for name, scenario in figures["scenarios"].items()}
    rows = {
        policy: {name: rows[policy] for name, rows in found.items()} for policy in shown(figures)
    }
    cells: dict[str, Cell] = {
        scenario["label"]: f"{{{name}[changes]:.2f}} at {{{name}[lag]:.1f}}"
        for name, scenario in figures["scenarios"].items()
    }
    return _by_policy(figures, rows, cells)


def front(rows: Sequence[Figures]) -> list[Figures]:
    """The rows that no other one beats: less lag and no more changes, or the other way round."""
    best: list[Figures] = []
    for row in sorted(rows, key=lambda each: (each["lag"], each["changes"])):
        if not best or row["changes"] < best[-1]["changes"]:
            best.append(row)
    return best


def front_text(figures: Figures) -> str:
    """The best policies of those that let everybody in at once, with real texts."""
    rows = figures["scenarios"]["real"]["rows"]
    plain = [row for row in rows if row["min_events"] == 1 and not row["min_confidence"]]
    cells: dict[str, Cell] = {
        "margin": "{margin_share:g}",
        "of one text": "{thin_margin_share:g}",
        "dwell": "{dwell_events}",
        "changes": "{changes:.2f}",
        "lag": "{lag:.2f}",
        "wrong in the end": lambda row: f"{100 * row['wrong']:.1f} %",
    }
    return columns(front(plain), cells)


def stream_text(figures: Figures) -> str:
    """What the policies make of the stream."""
    cells: dict[str, Cell] = {
        "own moves": "{own_moves:.3f}",
        "of them flapping": "{flapping:.3f}",
        "moves by models": "{model_moves:.2f}",
        "V-measure": "{v_measure:.3f}",
        "in a segment": lambda row: f"{100 * row['covered']:.1f} %",
    }
    return _by_policy(figures, by_policy(figures["stream"]["rows"]), cells)


def sure_text(figures: Figures) -> str:
    """Who is how sure, by the number of segments."""
    least = figures["least_sure"]
    return table(
        ["segments", *(f"at least {each:g}" for each in least)],
        [
            [segments, *(f"{100 * share:.0f} %" for share in shares)]
            for segments, shares in figures["stream"]["sure"].items()
        ],
    )


def squeezed_text(figures: Figures) -> str:
    """What a constant in all vectors changes."""
    cells: dict[str, Cell] = {
        "users": "{users}",
        "any two texts": "{cosine:g}",
        "V, always the nearest": "{free[v_measure]:.3f}",
        "V, the default": "{default[v_measure]:.3f}",
        "own moves": "{default[own_moves]:.3f}",
        "moves by models": "{default[model_moves]:.2f}",
        "confidence: right": "{confidence:.3f}: {right:.3f}",
    }
    return columns(figures["squeezed"], cells)


def half_lives_text(figures: Figures) -> str:
    """Changes and lag by half-life."""
    gap = figures["scenarios"]["real"]["users"]["gap_days"]
    cells: dict[str, Cell] = {
        "half-life, days": "{days}",
        "in events": lambda row: f"{row['days'] / gap:.3g}",
        "always the nearest": "{free[changes]:.2f} at {free[lag]:.1f}",
        "the default": "{default[changes]:.2f} at {default[lag]:.1f}",
    }
    return columns(figures["half_lives"], cells)


def confidence_text(figures: Figures) -> str:
    """Confidence and how often it is right."""
    kinds = [figures["reliability"][name] for name in COLUMNS if name in figures["reliability"]]
    found = {kind["label"]: {each["from"]: each for each in kind["bins"]} for kind in kinds}
    edges = sorted({(each["from"], each["to"]) for kind in kinds for each in kind["bins"]})
    cell = "{confidence:.3f}: {right:.3f} ({decisions:,})"
    rows = [
        [
            f"{low:g} to {high:g}",
            *(cell.format_map(bins[low]) if low in bins else "" for bins in found.values()),
        ]
        for low, high in edges
    ]
    return table(["confidence", *found], rows)


PARTS: dict[str, Callable[[Figures], str]] = {
    "stability-policies": policies_text,
    "stability-front": front_text,
    "stability-stream": stream_text,
    "stability-sure": sure_text,
    "stability-squeezed": squeezed_text,
    "stability-half-lives": half_lives_text,
    "stability-confidence": confidence_text,
}
"""What is rendered, by the name of the page's marks."""


def draw(figures: Figures, path: Path) -> None:
    """Draw flapping against lag, and confidence against what is right, into a PNG."""
    figure = blank(11, 4.8)
    left, right = figure.subplots(1, 2)
    _draw_flapping(left, figures)
    _draw_confidence(right, figures)
    for axes in (left, right):
        # Outside: inside there is no place that no curve comes to.
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    path.write_bytes(png(figure))


def _draw_flapping(axes: Axes, figures: Figures) -> None:
    rows = [row for row in figures["scenarios"]["real"]["rows"] if row["min_events"] == 1]
    thin = figures["default"]["thin_margin_share"]
    plain = [r for r in rows if not r["min_confidence"] and r["thin_margin_share"] == thin]
    for dwell, colour in ((0, "#b8cfe8"), (3, PALE_BLUE), (5, BLUE), (8, "#0f3257")):
        line = [row for row in plain if row["dwell_events"] == dwell]
        _line(axes, line, colour, f"margins, dwell {dwell}", x="lag", y="changes")
    sure = [row for row in rows if row["min_confidence"] and row["dwell_events"] == 8]
    _line(axes, sure, RED, "confidences, dwell 8", x="lag", y="changes")
    default = by_policy(rows)[thresholds(figures["default"])]
    star = {"marker": "*", "s": 260, "color": "black", "zorder": 4}
    axes.scatter(default["lag"], default["changes"], **star, label="default")
    axes.plot([0, 7, 7], [1.4, 1.4, 0], color=GREY, linestyle=":", label="goal")
    axes.set_xlim(5, 10)
    axes.set_ylim(1, 2.6)
    dress(
        axes,
        x="events after the change until the user is in the right segment",
        y="changes of segment a user (the truth is 1)",
        grid=True,
    )


def _line(axes: Axes, rows: Sequence[Figures], colour: str, label: str, *, x: str, y: str) -> None:
    places = [[row[name] for row in rows] for name in (x, y)]
    axes.plot(*places, marker="o", markersize=4, color=colour, label=label, zorder=3)


def _draw_confidence(axes: Axes, figures: Figures) -> None:
    axes.plot([0.3, 1], [0.3, 1], color=GREY, linestyle=":", label="as often right as sure")
    colours = {"stream": BLUE, "steady": PALE_BLUE, "real": RED}
    for name, colour in colours.items():
        column = figures["reliability"][name]
        _line(axes, column["bins"], colour, column["label"], x="confidence", y="right")
    dress(axes, x="confidence", y="share that is right", grid=True)
