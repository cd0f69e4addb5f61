"""What each embedding model makes of each language, and at what price: `make bench-languages`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from benchmarks.shared import Figures
from consumer.report.colours import COLOURS, GREY
from consumer.report.pictures import blank, dress, png

_WIDTH = 0.2


def draw(figures: Figures, models: Sequence[str], path: Path) -> None:
    """Draw V-measures, and texts a second of a core, into a PNG.

    Parameters
    ----------
    figures
        As `benchmarks.languages` writes them.
    models
        In the order in which they are drawn.
    path
        Where the picture goes.
    """
    figure = blank(10, 4.5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    sets = list(figures["sets"].values())
    dress(left, "How well segments fit the labels", x="V-measure (1 is perfect)", grid=True)
    dress(right, "How fast", x="texts a second of a core", grid=True)
    right.set_xscale("log")
    _bars(left, sets, models, v_measure, "{:.2f}")
    _bars(right, sets, models, texts_a_second, "{:,.0f}")
    left.set_xlim(0, 1.12)
    right.margins(x=0.25)
    left.set_yticks(range(len(sets)), [each["title"].replace(", ", ",\n", 1) for each in sets])
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", frameon=False, ncols=len(models))
    path.write_bytes(png(figure))


def v_measure(row: Figures) -> float:
    """Give the V-measure of users' segments; of texts alone that of k-means on their vectors."""
    own = row["v_measure"]
    return float(row["offline_v_measure"] if own is None else own)


def texts_a_second(row: Figures) -> float:
    """Give the texts of a second of processor time."""
    return 1000 / float(row["cost"]["cpu_ms"])


def _bars(
    axes: Axes,
    sets: Sequence[Figures],
    models: Sequence[str],
    value: Callable[[Figures], float],
    form: str,
) -> None:
    places = np.arange(len(sets))
    for number, model in enumerate(models):
        values = [value(each["models"][model]) for each in sets]
        shift = (number - (len(models) - 1) / 2) * _WIDTH
        bars = axes.barh(
            places + shift, values, 0.9 * _WIDTH, color=COLOURS[number], label=model, zorder=3
        )
        names = [form.format(each) for each in values]
        axes.bar_label(bars, names, padding=2, fontsize=7, color=GREY)
