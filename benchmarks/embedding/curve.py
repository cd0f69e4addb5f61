"""Speed against fidelity, as a picture: one point a way of embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.text import Text

from benchmarks.embedding.lineup import CALLS, WORKER
from benchmarks.shared import Figures
from consumer.report.colours import COLOURS, GREY
from consumer.report.pictures import blank, dress, png
from consumer.report.placing import spread

LEAST_LOSS = 1e-7
"""A loss below it is rounding, and is drawn there."""


def points(figures: Figures) -> list[Figures]:
    """What the curve is drawn from: tokens/s and 1 - mean cosine of each, fastest first."""
    found = [
        {
            "name": row["name"],
            "label": row["label"],
            "peer": row["peer"],
            "tokens_per_second": row["tokens_per_second"],
            "loss": max(1 - row["cosine"]["mean"], 0.0),
        }
        for row in figures["contenders"]
        if row["cosine"] is not None and row["name"] not in {CALLS, WORKER}
    ]
    return sorted(found, key=lambda point: -float(point["tokens_per_second"]))


def draw(drawn: list[Figures], path: Path) -> None:
    """Draw points into a PNG; the product's in one colour, its peers' in another."""
    figure = blank(9, 5)
    axes = figure.subplots()
    dress(
        axes,
        x="1 - mean cosine to fp32 (smaller is more faithful)",
        y="thousand tokens/s",
        grid=True,
    )
    axes.set_xscale("log")
    axes.margins(x=0.3, y=0.12)
    names: list[Text] = []
    places: list[tuple[float, float]] = []
    for peer, colour, name in ((False, COLOURS[0], "segmenter"), (True, GREY, "peers")):
        group = [point for point in drawn if point["peer"] is peer]
        if not group:
            continue
        losses = [max(point["loss"], LEAST_LOSS) for point in group]
        speeds = [point["tokens_per_second"] / 1000 for point in group]
        axes.scatter(losses, speeds, color=colour, label=name, zorder=3)
        for point, place in zip(group, zip(losses, speeds, strict=True), strict=True):
            label = point["label"].removeprefix("segmenter, ")
            names.append(
                axes.text(*place, label, fontsize=8, color=colour, ha="center", va="center")
            )
            places.append(place)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, ncols=2)
    spread(axes, names, np.array(places), short=[""] * len(names), points=5, colour=GREY)
    path.write_bytes(png(figure))
