"""The pictures of an evaluation, PNG; the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from consumer.offline.evaluate.contents import Contingency, Evaluation, Figures
from consumer.offline.evaluate.supervised import LabelConfusion
from consumer.report.colours import COLOURS
from consumer.report.fonts import Lettering
from consumer.report.pictures import LIGHT, blank, dress, png
from consumer.report.placing import wrapped
from consumer.report.wording import one_line

_LABELS = 20
_SEGMENTS = 42
_NAME_CHARS = 24
_NUMBERS = (2, 3, 5, 7, 10, 15, 20, 30, 50, 90)
# Of a label; longer ones are no words.
_LONGEST_NAME = 120


def pictures(evaluation: Evaluation) -> Iterator[tuple[str, bytes]]:
    """Draw the pictures that the figures allow; give file names and PNGs."""
    figures = evaluation.figures
    if figures.segments:
        yield "users.png", png(evaluation.map.draw())
        yield "flapping.png", png(draw_flapping(figures))
    if figures.stream and figures.label is not None:
        yield "stream.png", png(draw_stream(figures))
    if figures.numbers:
        yield "numbers.png", png(draw_numbers(figures))
    if figures.users_by_label is not None:
        yield "confusion.png", png(draw_confusion(figures, figures.users_by_label))
    if figures.supervised is not None:
        yield "labels.png", png(draw_labels(figures.supervised.confusion))


def write_pictures(evaluation: Evaluation, folder: Path) -> list[str]:
    """Write the pictures into a folder that is there; give their names."""
    names = []
    for name, content in pictures(evaluation):
        (folder / name).write_bytes(content)
        names.append(name)
    return names


def draw_stream(figures: Figures) -> Figure:
    """Draw V-measures over the stream, with the number of segments below them."""
    figure = blank(8, 4.2)
    axes = figure.subplots()
    dress(axes, "V-measure along the stream", x="events", y="V-measure")
    events = [point.events for point in figures.stream]
    for name, found, colour in (
        (
            "prequential, all events so far",
            [point.prequential for point in figures.stream],
            COLOURS[0],
        ),
        (
            "users with 10 events or more, at the moment",
            [point.steady_users for point in figures.stream],
            COLOURS[1],
        ),
    ):
        values = [np.nan if each is None else each.v_measure for each in found]
        axes.plot(events, values, label=name, color=colour, linewidth=2, alpha=0.8)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    right = axes.twinx()
    dress(right, y="segments (dashed)")
    right.spines["right"].set_visible(True)
    segments = [point.segments for point in figures.stream]
    right.step(events, segments, where="post", color=LIGHT.faint, linewidth=1, linestyle="--")
    right.set_ylim(0, 2 * max(segments) + 1)
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=3)
    return figure


def draw_numbers(figures: Figures) -> Figure:
    """Draw how far apart the nearest two segments are, by the number of segments."""
    figure = blank(8, 3.2)
    axes = figure.subplots()
    title = f"How far apart the nearest two of so many segments are; found: {len(figures.segments)}"
    dress(axes, title, x="segments", y="as a share of what is asked")
    numbers = [point.segments for point in figures.numbers]
    axes.plot(
        numbers, [point.apart for point in figures.numbers], color=COLOURS[0], marker="o", ms=3
    )
    axes.axhline(1.0, color=LIGHT.faint, linewidth=1, linestyle="--")
    axes.axvline(len(figures.segments), color=COLOURS[1], linewidth=1)
    axes.set_yscale("symlog", linthresh=2.0)
    axes.set_xscale("log")
    axes.set_xticks([each for each in _NUMBERS if min(numbers) <= each <= max(numbers)])
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
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
    title = "Label predicted before it was learned"
    return _table(title, counts, names, names, x="predicted", y="given")


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


def _table(
    title: str,
    counts: NDArray[np.float64],
    rows: _Names,
    columns: _Names,
    *,
    x: str = "",
    y: str = "",
) -> Figure:
    """Draw counts with the names of rows and columns, all of them whole."""
    lines = max((text.count("\n") + 1 for text in columns.texts), default=1)
    figure = blank(
        3.2 + max(0.62, 0.28 * lines) * len(columns.texts),
        2.6 + sum(max(0.3, 0.15 * (text.count("\n") + 1)) for text in rows.texts),
    )
    axes = figure.subplots()
    dress(axes, title, x=x, y=y)
    # Each cell is as dark as its share of the row.
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
            color="white" if shares[row, column] > 0.6 else LIGHT.ink,
        )
    for axis, names in ((axes.yaxis, rows), (axes.xaxis, columns)):
        axis.set_ticks(
            range(len(names.texts)),
            names.texts,
            parse_math=False,
            fontproperties=names.font,
            color=LIGHT.ink,
        )
    for tick in axes.get_xticklabels():
        tick.set(rotation=35, ha="right", rotation_mode="anchor")
    if missing := rows.missing or columns.missing:
        figure.supxlabel(missing, fontsize=7, color=LIGHT.faint)
    return figure


def draw_flapping(figures: Figures) -> Figure:
    """Draw how many users had how many changes, the first one included."""
    figure = blank(7, 3.4)
    axes = figure.subplots()
    title = "Changes of segment a user, the first one included"
    dress(axes, title, x="changes", y="share of the users")
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
    figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=3)
    return figure
