"""The pictures of an evaluation, PNG; the same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from consumer.offline.evaluate.contents import Contingency, Evaluation, Figures
from consumer.offline.evaluate.supervised import LabelConfusion
from consumer.report.fonts import Lettering
from consumer.report.palette import COLOURS, MARKERS
from consumer.report.placing import spread, wrapped
from consumer.report.projection import principal_plane
from consumer.report.wording import one_line

_INK, _FAINT, _NOBODY = "#1f2328", "#6e7781", "#d0d7de"
_DPI = 110
_POINTS = 4_000
_LABELS = 20
_SEGMENTS = 42
_LEGEND_ROWS, _LEGEND_CHARS = 24, 34
_NAME_CHARS = 24
# Of a label; longer ones are no words.
_LONGEST_NAME = 120


def pictures(evaluation: Evaluation) -> Iterator[tuple[str, bytes]]:
    """Draw the pictures that the figures allow; give file names and PNGs."""
    figures = evaluation.figures
    if figures.segments:
        yield "users.png", _png(draw_users(evaluation))
        yield "flapping.png", _png(draw_flapping(figures))
    if figures.stream and figures.label is not None:
        yield "stream.png", _png(draw_stream(figures))
    if figures.users_by_label is not None:
        yield "confusion.png", _png(draw_confusion(figures, figures.users_by_label))
    if figures.supervised is not None:
        yield "labels.png", _png(draw_labels(figures.supervised.confusion))


def write_pictures(evaluation: Evaluation, folder: Path) -> list[str]:
    """Write the pictures into a folder that is there; give their names."""
    names = []
    for name, content in pictures(evaluation):
        (folder / name).write_bytes(content)
        names.append(name)
    return names


def _png(figure: Figure) -> bytes:
    # Without the name and version of the program in the file, its bytes are the picture's alone.
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=_DPI,
        metadata={"Software": None},
        bbox_inches="tight",  # as large as the names need
        pad_inches=0.1,
    )
    return buffer.getvalue()


def _sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, color=_INK, parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, colors=_FAINT)
    return figure, axes


def draw_stream(figures: Figures) -> Figure:
    """Draw V-measures over the stream, with the number of segments below them."""
    figure, axes = _sheet(8, 4.2, "V-measure along the stream")
    events = [point.events for point in figures.stream]
    lines = {
        "prequential, all events so far": "prequential",
        "users with 10 events or more, at the moment": "steady_users",
    }
    for (name, attribute), colour in zip(lines.items(), COLOURS, strict=False):
        values = [
            np.nan if (found := getattr(point, attribute)) is None else found.v_measure
            for point in figures.stream
        ]
        axes.plot(events, values, label=name, color=colour, linewidth=2, alpha=0.8)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("V-measure", fontsize=9, color=_INK)
    axes.set_xlabel("events", fontsize=9, color=_INK)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    right = axes.twinx()
    segments = [point.segments for point in figures.stream]
    right.step(events, segments, where="post", color=_FAINT, linewidth=1, linestyle="--")
    right.set_ylim(0, 2 * max(segments) + 1)
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_ylabel("segments (dashed)", fontsize=9, color=_FAINT)
    right.tick_params(labelsize=8, colors=_FAINT)
    right.spines["top"].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=3)
    return figure


def draw_confusion(figures: Figures, table: Contingency) -> Figure:
    """Draw users by label and segment as a heat map: each row's share of its label's users."""
    counts = np.array(table.counts[:_LABELS], dtype=np.float64)[:, :_SEGMENTS]
    names = {segment.id: segment.label for segment in figures.segments}
    return _table(
        f"Users by {figures.label} and segment",
        counts,
        _Names.of(table.labels[:_LABELS], "label"),
        _Names.of([f"{id_} {names[id_]}" for id_ in table.segments[:_SEGMENTS]], "segment"),
    )


def draw_labels(confusion: LabelConfusion) -> Figure:
    """Draw labels given against labels predicted as a heat map: each row's share of its label."""
    names = _Names.of(confusion.labels[:_LABELS], "label")
    counts = np.array(confusion.counts, dtype=np.float64)[:_LABELS, :_LABELS]
    figure = _table("Label predicted before it was learned", counts, names, names)
    (axes,) = figure.axes
    axes.set_ylabel("given", fontsize=9, color=_INK)
    axes.set_xlabel("predicted", fontsize=9, color=_INK)
    return figure


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of rows or columns, as they can be drawn."""

    texts: list[str]
    font: FontProperties
    missing: str | None

    @classmethod
    def of(cls, names: Sequence[str], kind: str) -> _Names:
        """Take names whole, in several lines; for what no font can write, the kind and a number."""
        shown = [one_line(name, _LONGEST_NAME) for name in names]
        lettering = Lettering(shown)
        texts = []
        for place, name in enumerate(shown, 1):
            number = name.partition(" ")[0] if kind == "segment" else f"{place}"
            can = lettering.can_write(name)
            texts.append(wrapped(name, _NAME_CHARS) if can else f"{kind} {number}")
        return cls(texts, FontProperties(family=lettering.families, size=8), lettering.note)


def _table(title: str, counts: NDArray[np.float64], rows: _Names, columns: _Names) -> Figure:
    """Draw counts with the names of rows and columns, all of them whole."""
    lines = max((text.count("\n") + 1 for text in columns.texts), default=1)
    figure, axes = _sheet(
        3.2 + max(0.62, 0.28 * lines) * len(columns.texts),
        2.6 + sum(max(0.3, 0.15 * (text.count("\n") + 1)) for text in rows.texts),
        title,
    )
    _heat(axes, counts)
    # Without `parse_math` a label with a dollar sign would be read as mathematics.
    axes.set_yticks(
        range(len(rows.texts)), rows.texts, parse_math=False, fontproperties=rows.font, color=_INK
    )
    axes.set_xticks(
        range(len(columns.texts)),
        columns.texts,
        parse_math=False,
        fontproperties=columns.font,
        color=_INK,
    )
    for tick in axes.get_xticklabels():
        tick.set(rotation=35, ha="right", rotation_mode="anchor")
    if missing := rows.missing or columns.missing:
        figure.supxlabel(missing, fontsize=7, color=_FAINT)
    return figure


def _heat(axes: Axes, counts: NDArray[np.float64]) -> None:
    """Draw counts, each cell as dark as its share of the row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(counts > 0).tolist():
        axes.text(
            column,
            row,
            f"{int(counts[row, column]):,}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if shares[row, column] > 0.6 else _INK,
        )


def draw_users(evaluation: Evaluation) -> Figure:
    """Draw users in the plane in which they differ most, coloured by segment."""
    plane = principal_plane(evaluation.vectors)
    count = len(evaluation.vectors)
    shown = np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64)
    points, segments = plane.project(evaluation.vectors[shown]), evaluation.segments[shown]
    centres = plane.project(evaluation.centres)
    figure, axes = _sheet(
        9.5, 5, f"{count:,} users, {plane.explained:.0%} of the variance in this plane"
    )
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    known = [segment.id for segment in evaluation.figures.segments]
    outside = points[~np.isin(segments, known)]
    axes.scatter(outside[:, 0], outside[:, 1], s=6, c=_NOBODY, linewidths=0)
    for row, segment in enumerate(known):
        colour, marker = COLOURS[row % len(COLOURS)], MARKERS[row % len(MARKERS)]
        own = points[segments == segment]
        axes.scatter(
            own[:, 0], own[:, 1], s=9, c=colour, marker=marker, alpha=0.6, linewidths=0, zorder=2
        )
        axes.plot(
            *centres[row],
            marker=marker,
            color=colour,
            markersize=10,
            markeredgecolor=_INK,
            zorder=3,
        )
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    ids = [
        axes.text(
            float(x),
            float(y),
            str(segment),
            fontsize=10,
            fontweight="bold",
            color=_INK,
            ha="center",
            va="center",
            path_effects=halo,
            zorder=4,
        )
        for segment, (x, y) in zip(known, centres, strict=True)
    ]
    _name_segments(figure, evaluation.figures)
    spread(axes, ids, centres, short=[""] * len(ids), size=5 * _DPI / 72, colour=_FAINT)
    return figure


def _name_segments(figure: Figure, figures: Figures) -> None:
    """Write the segments' names beside the picture, the first ones where there are many."""
    shown = figures.segments[:_LEGEND_ROWS]
    labels = [one_line(segment.label, _LONGEST_NAME) for segment in shown]
    lettering = Lettering(labels)
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[row % len(COLOURS)],
            marker=MARKERS[row % len(MARKERS)],
            linestyle="none",
            markersize=6,
        )
        for row in range(len(shown))
    ]
    rows = [
        wrapped(f"{segment.id}  {lettering.writable(label)}".strip(), _LEGEND_CHARS)
        for segment, label in zip(shown, labels, strict=True)
    ]
    if len(figures.segments) > len(shown):
        handles.append(Line2D([], [], linestyle="none"))
        rows.append(f"and {len(figures.segments) - len(shown)} more")
    legend = figure.legend(handles, ["-"] * len(rows), loc="outside right upper", frameon=False)
    # Texts are set afterwards: a label given here is read as mathematics, and left out where it
    # begins with an underscore.
    for entry, row in zip(legend.get_texts(), rows, strict=True):
        entry.set_parse_math(False)
        entry.set_fontproperties(FontProperties(family=lettering.families, size=8))
        entry.set_color(_INK)
        entry.set_text(row)
    if lettering.note:
        figure.supxlabel(lettering.note, fontsize=7, color=_FAINT)


def draw_flapping(figures: Figures) -> Figure:
    """Draw how many users had how many changes, the first one included."""
    figure, axes = _sheet(7, 3.4, "Changes of segment a user, the first one included")
    shown = [each for each in figures.flapping if each.users]
    width = 0.8 / max(len(shown), 1)
    for place, (each, colour) in enumerate(zip(shown, COLOURS, strict=False)):
        counts = np.array(each.users_by_changes)
        least = "all users" if each.least_events <= 1 else f"with ≥ {each.least_events} events"
        axes.bar(
            np.arange(len(counts)) + (place - (len(shown) - 1) / 2) * width,
            counts / each.users,
            width,
            color=colour,
            label=f"{least}: {each.changes_a_user:.2f} a user",
        )
    last = len(figures.flapping[0].users_by_changes) - 1
    axes.set_xticks(range(last + 1), [*map(str, range(last)), f"≥ {last}"])
    axes.set_xlabel("changes", fontsize=9, color=_INK)
    axes.set_ylabel("share of the users", fontsize=9, color=_INK)
    figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=3)
    return figure
