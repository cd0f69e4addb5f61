"""How every picture is made: its paper, its colours, its axes and its file."""

from __future__ import annotations

import io
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from consumer.report.colours import COLOURS, PALE

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_DPI = 120


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of the paper and of what is written on it."""

    paper: str
    ink: str
    faint: str


LIGHT = Theme(paper="#ffffff", ink="#1f2328", faint="#6e7781")
DARK = Theme(paper="#161b22", ink="#e6edf3", faint="#9198a1")


def style(row: int) -> tuple[str, str]:
    """Give the colour and marker of a segment; no two of the first 42 share both."""
    return COLOURS[row % len(COLOURS)], MARKERS[row % len(MARKERS)]


def blank(width: float, height: float, theme: Theme = LIGHT) -> Figure:
    """Give a sheet of so many inches."""
    return Figure(figsize=(width, height), dpi=_DPI, facecolor=theme.paper, layout="constrained")


def dress(axes: Axes, title: str = "", *, x: str = "", y: str = "", grid: bool = False) -> None:
    """Give axes their title, their labels and, where they are to be read off, a grid."""
    # Without `parse_math` a title with a dollar sign would be read as mathematics.
    axes.set_title(title, loc="left", fontsize=11, color=LIGHT.ink, parse_math=False)
    axes.set_xlabel(x, fontsize=9, color=LIGHT.ink)
    axes.set_ylabel(y, fontsize=9, color=LIGHT.ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=LIGHT.faint)
    if grid:
        axes.grid(visible=True, color=PALE, zorder=0)


def png(figure: Figure) -> bytes:
    """Give a figure as PNG, as large as its names need; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # Without the name and version of the program in the file.
    figure.savefig(
        buffer, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.15
    )
    return buffer.getvalue()
