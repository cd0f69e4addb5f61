"""The map: users as points in two dimensions, coloured by segment."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from consumer.report.fonts import Lettering
from consumer.report.palette import COLOURS, MARKERS
from consumer.report.placing import spread, wrapped
from consumer.report.projection import Plane, principal_plane
from consumer.report.wording import one_line, percent, plural
from consumer.tryout.demo.contents import ReportData
from schemas.arrays import decode_array

# Crosses fill less of their square.
_AREAS = {"P": 1.7, "X": 1.7}
_NOBODY = "#8a8a8a"

_POINTS = 4_000
_ARROWS = 10
_LEGEND_ROWS, _LEGEND_CHARS = 24, 36
_MARK_POINTS = 6.5
# Columns of a name on the map, where segments are few and where they are many.
_MAP_CHARS, _MANY_CHARS, _MANY = 30, 22, 10
# Of a label; longer ones are no words.
_LONGEST_NAME = 120
_DPI = 130


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of the paper and of what is written on it."""

    paper: str
    ink: str
    faint: str


LIGHT = Theme(paper="#ffffff", ink="#1f2328", faint="#6e7781")
DARK = Theme(paper="#161b22", ink="#e6edf3", faint="#9198a1")


@dataclass(frozen=True, eq=False, slots=True)
class _Sheet:
    """All that the parts of the picture need; styles and names are by segment id."""

    data: ReportData
    plane: Plane
    theme: Theme
    styles: dict[int, tuple[str, str]]
    names: dict[int, str]
    font: FontProperties
    missing: str | None


def draw_map(data: ReportData, theme: Theme = LIGHT) -> bytes:
    """Draw the map as PNG; the same data give the same bytes."""
    # Without the name and version of the program in the file, its bytes are the picture's alone.
    buffer = io.BytesIO()
    map_figure(data, theme).savefig(
        buffer,
        format="png",
        dpi=_DPI,
        facecolor=theme.paper,
        metadata={"Software": None},
        bbox_inches="tight",  # as large as the names of the legend need
        pad_inches=0.15,
    )
    return buffer.getvalue()


def map_figure(data: ReportData, theme: Theme = LIGHT) -> Figure:
    """Make the map.

    The plane is the one in which the users differ most. Each segment's centre carries its label.
    Arrows lead some users who moved from where they were to where they are.
    """
    labels = {record.id: one_line(record.label, _LONGEST_NAME) for record in data.model.segments}
    lettering = Lettering(labels.values())
    sheet = _Sheet(
        data=data,
        plane=principal_plane(data.vectors),
        theme=theme,
        styles={record.id: _style(row) for row, record in enumerate(data.model.segments)},
        names={id_: f"{id_}  {lettering.writable(label)}".strip() for id_, label in labels.items()},
        font=FontProperties(family=lettering.families),
        missing=lettering.note,
    )
    figure = Figure(figsize=(10, 6.2), dpi=_DPI, facecolor=theme.paper)
    axes = figure.add_axes((0.01, 0.05, 0.71, 0.87), facecolor=theme.paper)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()
    _draw_users(axes, sheet)
    _draw_arrows(axes, sheet)
    _draw_centres(axes, sheet)
    _draw_legend(figure, sheet)
    _draw_captions(figure, sheet)
    return figure


def _style(row: int) -> tuple[str, str]:
    """Colour and marker; no two of the first 42 segments share both."""
    return COLOURS[row % len(COLOURS)], MARKERS[row % len(MARKERS)]


def _draw_users(axes: Axes, sheet: _Sheet) -> None:
    count = len(sheet.data.user_ids)
    # Where there are too many, evenly spread ones.
    shown = np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64)
    points = sheet.plane.project(sheet.data.vectors[shown])
    segments = sheet.data.segments[shown]
    size = 22.0 if len(shown) <= 1_000 else 9.0
    outside = points[~np.isin(segments, list(sheet.styles))]
    axes.scatter(outside[:, 0], outside[:, 1], s=size, c=_NOBODY, marker=".", linewidths=0)
    for segment, (colour, marker) in sheet.styles.items():
        own = points[segments == segment]
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=size * _AREAS.get(marker, 1.0),
            c=colour,
            marker=marker,
            alpha=0.65,
            linewidths=0,
            zorder=2,
        )


def _draw_arrows(axes: Axes, sheet: _Sheet) -> None:
    rows = {user_id: row for row, user_id in enumerate(sheet.data.user_ids)}
    movers = [user_id for user_id in sheet.data.earlier if user_id in rows]
    if not movers:
        return
    starts = sheet.plane.project([sheet.data.earlier[user_id] for user_id in movers])
    ends = sheet.plane.project(sheet.data.vectors[[rows[user_id] for user_id in movers]])
    # The longest ways tell the most, and many arrows tell nothing.
    lengths = np.linalg.norm(ends - starts, axis=1)
    longest = sorted(range(len(movers)), key=lambda index: (-lengths[index], movers[index]))
    for index in longest[:_ARROWS]:
        axes.annotate(
            "",
            xy=(ends[index, 0], ends[index, 1]),
            xytext=(starts[index, 0], starts[index, 1]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": sheet.theme.faint,
                "linewidth": 0.9,
                "alpha": 0.7,
                "shrinkA": 1,
                "shrinkB": 2,
                "connectionstyle": "arc3,rad=0.12",
            },
            zorder=3,
        )


def _draw_centres(axes: Axes, sheet: _Sheet) -> None:
    segments = sheet.data.model.segments
    centres = sheet.plane.project([decode_array(record.centre, "<f8") for record in segments])
    for record, (x, y) in zip(segments, centres, strict=True):
        colour, marker = sheet.styles[record.id]
        axes.plot(
            x,
            y,
            marker=marker,
            markersize=11,
            markerfacecolor=colour,
            markeredgecolor=sheet.theme.ink,
            markeredgewidth=1.4,
            zorder=4,
        )
    halo = [patheffects.withStroke(linewidth=3, foreground=sheet.theme.paper)]

    # The largest first: those are looked for. The legend has all names, so where there is no room
    # for one the id is enough, and then the colour.
    users = sheet.data.shares()
    order = sorted(range(len(segments)), key=lambda row: -users.get(segments[row].id, 0))
    ids = [segments[row].id for row in order]
    columns = _MAP_CHARS if len(segments) <= _MANY else _MANY_CHARS
    texts = [
        axes.text(
            float(centres[row][0]),
            float(centres[row][1]),
            wrapped(sheet.names[segments[row].id], columns),
            fontproperties=sheet.font,
            fontsize=9.5,
            color=sheet.theme.ink,
            ha="center",
            va="center",
            path_effects=halo,
            parse_math=False,
            zorder=5,
        )
        for row in order
    ]
    spread(
        axes,
        texts,
        centres[order],
        short=[str(id_) for id_ in ids],
        size=_MARK_POINTS * _DPI / 72,
        colour=sheet.theme.faint,
    )


def _draw_legend(figure: Figure, sheet: _Sheet) -> None:
    shares = sheet.data.shares()
    shown = list(shares.items())[:_LEGEND_ROWS]
    rows = [f"{sheet.names[segment]}  ({users:,})" for segment, users in shown]
    handles = [_handle(*sheet.styles[segment]) for segment, _ in shown]
    if len(shares) > len(shown):
        rows.append(f"and {plural(len(shares) - len(shown), 'smaller segment')}")
        handles.append(_handle(sheet.theme.paper, "."))
    if outside := sheet.data.without_segment():
        rows.append(f"no segment  ({outside:,})")
        handles.append(_handle(_NOBODY, "."))
    # Texts are set afterwards: a label given here is read as mathematics, and left out where it
    # begins with an underscore.
    legend = figure.legend(
        handles,
        ["-"] * len(rows),
        loc="upper left",
        bbox_to_anchor=(0.72, 0.93),
        frameon=False,
        borderaxespad=0,
        handletextpad=0.3,
    )
    for entry, row in zip(legend.get_texts(), rows, strict=True):
        entry.set_parse_math(False)
        entry.set_fontproperties(sheet.font)
        entry.set_fontsize(9)
        entry.set_color(sheet.theme.ink)
        entry.set_text(wrapped(row, _LEGEND_CHARS))


def _handle(colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=7)


def _draw_captions(figure: Figure, sheet: _Sheet) -> None:
    data, theme = sheet.data, sheet.theme
    title = f"{plural(len(data.user_ids), 'user')} in {plural(len(data.model.segments), 'segment')}"
    figure.text(0.02, 0.945, title, fontsize=13, fontweight="bold", color=theme.ink)
    variance = percent(round(1_000 * sheet.plane.explained), 1_000)
    note = f"First two principal components of the profiles: {variance} of the variance"
    if data.earlier:
        note += ".  Arrows: users who moved"
    if sheet.missing:
        note += f"\n{sheet.missing}"
    figure.text(0.02, 0.03, note, fontsize=8, color=theme.faint, va="top")
