"""The map: users as points in two dimensions, coloured by segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from consumer.report.colours import GREY
from consumer.report.fonts import Lettering
from consumer.report.pictures import LIGHT, Theme, blank, style
from consumer.report.placing import spread, wrapped
from consumer.report.projection import Plane, principal_plane
from consumer.report.wording import one_line, percent, plural

# Crosses fill less of their square.
_AREAS = {"P": 1.7, "X": 1.7}
_POINTS = 4_000
_ARROWS = 10
_LEGEND_ROWS, _LEGEND_CHARS = 24, 36
_MARK_POINTS = 6.5
# Columns of a name on the map, where segments are few and where they are many.
_MAP_CHARS, _MANY_CHARS, _MANY = 30, 22, 10
# Of a label; longer ones are no words.
_LONGEST_NAME = 120


@dataclass(frozen=True, eq=False, slots=True)
class UserMap:
    """What is drawn.

    Parameters
    ----------
    vectors
        float[n, d]. Profiles of n users, of unit length.
    segments
        int64[n]. Ids of their segments; those that have no label are drawn as none.
    labels
        Labels of the K segments, by id.
    centres
        float[K, d]. In the order of the labels.
    ways
        float[2, m, d]. Where m users were before they moved, and where they are.
    """

    vectors: NDArray[np.floating]
    segments: NDArray[np.int64]
    labels: Mapping[int, str]
    centres: ArrayLike
    ways: ArrayLike = ()

    def draw(self, theme: Theme = LIGHT) -> Figure:
        """Draw the map.

        The plane is the one in which the users differ most. Each segment's centre carries its
        label. Arrows lead some users who moved from where they were to where they are.
        """
        labels = {id_: one_line(label, _LONGEST_NAME) for id_, label in self.labels.items()}
        lettering = Lettering(labels.values())
        names = {
            id_: f"{id_}  {lettering.writable(label)}".strip() for id_, label in labels.items()
        }
        font = FontProperties(family=lettering.families)
        plane = principal_plane(self.vectors)
        figure = blank(10, 6.2, theme)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.01, 0.05, 0.7, 0.87))
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_axis_off()
        self._draw_users(axes, plane)
        self._draw_ways(axes, plane, theme)
        self._draw_centres(axes, plane, theme, names, font)
        self._draw_legend(figure, theme, names, font)
        title = f"{plural(len(self.vectors), 'user')} in {plural(len(labels), 'segment')}"
        figure.text(0.02, 0.945, title, fontsize=13, fontweight="bold", color=theme.ink)
        variance = percent(round(1_000 * plane.explained), 1_000)
        note = f"First two principal components of the profiles: {variance} of the variance"
        if np.size(self.ways):
            note += ".  Arrows: users who moved"
        if lettering.note:
            note += f"\n{lettering.note}"
        figure.text(0.02, 0.03, note, fontsize=8, color=theme.faint, va="top")
        return figure

    def sizes(self) -> dict[int, int]:
        """Users of each segment by its id, the largest first; 0 where there are none."""
        counts = Counter(self.segments.tolist())
        sizes = {id_: counts[id_] for id_ in self.labels}
        return dict(sorted(sizes.items(), key=lambda each: (-each[1], each[0])))

    @property
    def outside(self) -> int:
        """Users who are in none of the segments."""
        return len(self.segments) - sum(self.sizes().values())

    def _styles(self) -> dict[int, tuple[str, str]]:
        return {id_: style(row) for row, id_ in enumerate(self.labels)}

    def _draw_users(self, axes: Axes, plane: Plane) -> None:
        count = len(self.vectors)
        # Where there are too many, evenly spread ones.
        shown = np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64)
        points, segments = plane.project(self.vectors[shown]), self.segments[shown]
        size = 22.0 if len(shown) <= 1_000 else 9.0
        outside = points[~np.isin(segments, list(self.labels))]
        axes.scatter(outside[:, 0], outside[:, 1], s=size, c=GREY, marker=".", linewidths=0)
        for segment, (colour, marker) in self._styles().items():
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

    def _draw_ways(self, axes: Axes, plane: Plane, theme: Theme) -> None:
        if not np.size(self.ways):
            return
        starts, ends = map(plane.project, np.asarray(self.ways))
        # The longest ways tell the most, and many arrows tell nothing.
        longest = np.argsort(-np.linalg.norm(ends - starts, axis=1), kind="stable")
        for index in longest[:_ARROWS]:
            axes.annotate(
                "",
                xy=ends[index],
                xytext=starts[index],
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": theme.faint,
                    "linewidth": 0.9,
                    "alpha": 0.7,
                    "shrinkA": 1,
                    "shrinkB": 2,
                    "connectionstyle": "arc3,rad=0.12",
                },
                zorder=3,
            )

    def _draw_centres(
        self, axes: Axes, plane: Plane, theme: Theme, names: Mapping[int, str], font: FontProperties
    ) -> None:
        centres = dict(zip(self.labels, plane.project(self.centres), strict=True))
        for id_, (colour, marker) in self._styles().items():
            axes.plot(
                *centres[id_],
                marker=marker,
                markersize=11,
                markerfacecolor=colour,
                markeredgecolor=theme.ink,
                markeredgewidth=1.4,
                zorder=4,
            )
        # The largest first: those are looked for. The legend has all names, so where there is no
        # room for one the id is enough, and then the colour.
        order = list(self.sizes())
        columns = _MAP_CHARS if len(order) <= _MANY else _MANY_CHARS
        texts = [
            axes.text(
                centres[id_][0],
                centres[id_][1],
                wrapped(names[id_], columns),
                fontproperties=font,
                fontsize=9.5,
                color=theme.ink,
                ha="center",
                va="center",
                path_effects=[patheffects.withStroke(linewidth=3, foreground=theme.paper)],
                parse_math=False,
                zorder=5,
            )
            for id_ in order
        ]
        spread(
            axes,
            texts,
            np.array([centres[id_] for id_ in order]),
            short=[str(id_) for id_ in order],
            points=_MARK_POINTS,
            colour=theme.faint,
        )

    def _draw_legend(
        self, figure: Figure, theme: Theme, names: Mapping[int, str], font: FontProperties
    ) -> None:
        sizes, styles = self.sizes(), self._styles()
        rows = [
            (f"{names[id_]}  ({users:,})", *styles[id_])
            for id_, users in list(sizes.items())[:_LEGEND_ROWS]
        ]
        if more := len(sizes) - len(rows):
            rows.append((f"and {plural(more, 'smaller segment')}", theme.paper, "."))
        if self.outside:
            rows.append((f"no segment  ({self.outside:,})", GREY, "."))
        # Texts are set afterwards: a label given here is read as mathematics, and left out where it
        # begins with an underscore.
        legend = figure.legend(
            [
                Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=7)
                for _, colour, marker in rows
            ],
            ["-"] * len(rows),
            loc="upper left",
            bbox_to_anchor=(0.72, 0.93),
            frameon=False,
            borderaxespad=0,
            handletextpad=0.3,
        )
        for entry, (row, *_) in zip(legend.get_texts(), rows, strict=True):
            entry.set_parse_math(False)
            entry.set_fontproperties(font)
            entry.set_fontsize(9)
            entry.set_color(theme.ink)
            entry.set_text(wrapped(row, _LEGEND_CHARS))
