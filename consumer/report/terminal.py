"""What commands print for people: on a terminal of any width, in any encoding, or in a pipe."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Sequence
from typing import IO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 240
_GAP = 2
_LEAST_FIRST = 24
_PLAIN = {"“": '"', "”": '"', "→": ">", "…": ".", "█": "#", "≥": ">", "↓": "v"}
_PLAIN |= dict(zip("▁▂▃▄▅▆▇", "_.,:-=+", strict=True))


def console(
    file: IO[str] | None = None, *, width: int | None = None, whole: bool = False
) -> Console:
    """Give a console whose characters that the encoding does not have are replaced, not an error.

    Parameters
    ----------
    file
        Standard output where none is given.
    width
        Columns; those of the terminal where none are given.
    whole
        Nothing is cut off where there is no terminal.
    """
    file = file or sys.stdout
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="segmenter.plain")
    found = Console(file=file, width=width)
    return Console(file=file, width=_PIPE_WIDTH) if whole and not found.is_terminal else found


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in lost), error.end


codecs.register_error("segmenter.plain", _plain)


class FittedTable:
    """A table that is cut into several, one below the other, where the width does not suffice.

    Each begins with the first column, which says what its row is. rich by itself would squeeze that
    column to nothing, or cut the headings off.

    Parameters
    ----------
    title
        Above the first part; none where it is empty.
    columns
        Headings. The first column is aligned to the left and may be broken, the others to the right
        unless they are in `left`, and stay whole.
    left
        Headings of further columns that are aligned to the left.
    """

    def __init__(self, title: str, *columns: str, left: Sequence[str] = ()) -> None:
        self._title = title
        self._columns = columns
        self._left = {columns[0], *left}
        self._rows: list[tuple[Text, ...]] = []

    def add_row(self, *cells: str, style: str = "") -> None:
        """Add a row of plain texts; one with the first cell only is a heading of what follows."""
        self._rows.append(tuple(Text(cell, style) for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title:
            yield Text(self._title, style="bold")
        first = self._width(0)
        whole, broken = (
            self._parts(options.max_width - width) for width in (first, min(first, _LEAST_FIRST))
        )
        # The first column is broken into lines where that saves a part.
        for number, part in enumerate(broken if len(broken) < len(whole) else whole):
            if number:
                yield ""
            yield self._table(part)

    def _parts(self, room: int) -> list[list[int]]:
        """Give the further columns of each part, as many as go beside the first one."""
        parts: list[list[int]] = []
        left = 0
        for column in range(1, len(self._columns)):
            needed = _GAP + self._width(column)
            if needed > left:
                parts.append([])
                left = room
            parts[-1].append(column)
            left -= needed
        return parts

    def _width(self, column: int) -> int:
        cells = [row[column].cell_len for row in self._rows if len(row) > 1]
        return max([Text(self._columns[column]).cell_len, *cells])

    def _table(self, part: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False)
        for column in (0, *part):
            name = self._columns[column]
            table.add_column(
                Text(name),
                justify="left" if name in self._left else "right",
                # Whole, unless it is too wide for the terminal all by itself.
                no_wrap=column > 0 and len(part) > 1,
                overflow="fold",
            )
        for row in self._rows:
            table.add_row(*(row[column] for column in (0, *part) if column < len(row)))
        return table
