"""Where names go in a picture: beside what they name, none over another, none cut off."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text as Cells

_GAP = 3.0
# Ways from the point to the middle of its name, above first; further and further out.
_DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
_RINGS = 4
_FAR_RINGS = 2


def wrapped(text: str, columns: int) -> str:
    """Break a text into lines of so many columns; a Chinese character takes two."""
    lines = Cells(text).wrap(Console(width=columns), columns, tab_size=1)
    return "\n".join(line.plain.rstrip() for line in lines)


def spread(
    axes: Axes,
    texts: Sequence[Text],
    places: NDArray[np.float64],
    *,
    short: Sequence[str],
    points: float,
    colour: str,
) -> None:
    """Move texts beside their places, so that none lies on another, on a mark, or outside.

    Parameters
    ----------
    axes
        Whose limits are set, and in which the texts are.
    texts
        In order of their importance, centred; their positions are changed.
    places
        float64[K, 2], what each names, in coordinates of the data.
    short
        What to write in place of a text for which there is no room; where there is none for that
        either, nothing is written.
    points
        How far the mark of a place reaches from it, in points of the printer.
    colour
        Of the line from a place to a text that is some way from it.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes are in no figure")
    figure.draw_without_rendering()
    within = axes.get_window_extent()
    size = points * figure.dpi / 72
    pixels = axes.transData.transform(places)
    taken = [Bbox([pixel - size, pixel + size]) for pixel in pixels]
    to_data = axes.transData.inverted().transform
    for text, pixel, shorter in zip(texts, pixels, short, strict=True):
        found = _place(text, pixel, size, taken, within)
        if found is None:
            text.set_text(shorter)
            found = _place(text, pixel, size, taken, within)
        if found is None:
            text.set_visible(False)
            continue
        box, is_far = found
        taken.append(box)
        middle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2
        text.set_position(tuple(to_data(middle)))
        if is_far:
            ends = to_data([pixel, np.clip(pixel, box.min, box.max)])
            axes.plot(*ends.T, color=colour, linewidth=0.7, scalex=False, scaley=False, zorder=3)


def _place(
    text: Text, pixel: NDArray[np.float64], size: float, taken: Sequence[Bbox], within: Bbox
) -> tuple[Bbox, bool] | None:
    """Find the nearest free place of a text, and whether it is some way from its point."""
    extent = text.get_window_extent()
    half = np.array([extent.width, extent.height]) / 2 + _GAP
    for ring, direction in product(range(_RINGS), _DIRECTIONS):
        middle = pixel + np.array(direction) * (half + size + ring * half[1])
        box = Bbox([middle - half, middle + half])
        is_inside = within.contains(*box.min) and within.contains(*box.max)
        if is_inside and not box.count_overlaps(taken):
            return box, ring >= _FAR_RINGS
    return None
