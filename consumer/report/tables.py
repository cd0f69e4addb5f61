"""Tables for a terminal of any width: the first column stays, whatever has to go below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GAP = 2
_LEAST_FIRST = 24
_PIPE_WIDTH = 240  # nothing is cut off where no terminal sets a width


def standard_output() -> Console:
    """Give standard output, wide where it is no terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPE_WIDTH)


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

    def add_row(self, *cells: Text) -> None:
        """Add a row; one with the first cell only is a heading of those that follow."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first = self._first(options.max_width)
        for number, part in enumerate(self._parts(options.max_width - first)):
            if number:
                yield Text()
            yield self._table(part, self._title if number == 0 else "", first)

    def _first(self, width: int) -> int:
        """Choose the width of the first column: broken into lines where that saves a part."""
        others = [_GAP + self._width(column) for column in range(1, len(self._columns))]
        beside_all = width - sum(others)
        beside_one = width - max(others, default=0)
        if beside_all >= _LEAST_FIRST:
            return min(self._width(0), beside_all)
        room = max(width // 2, _LEAST_FIRST)
        return min(self._width(0), room, max(beside_one, _LEAST_FIRST // 2))

    def _parts(self, width: int) -> Iterator[list[int]]:
        """Give the further columns of each part, as many as go beside the first one."""
        part: list[int] = []
        room = width
        for column in range(1, len(self._columns)):
            needed = _GAP + self._width(column)
            if part and needed > room:
                yield part
                part, room = [], width
            part.append(column)
            room -= needed
        yield part

    def _width(self, column: int) -> int:
        cells = [row[column].cell_len for row in self._rows if len(row) > 1]
        return max([Text(self._columns[column]).cell_len, *cells])

    def _table(self, part: list[int], title: str, first: int) -> Table:
        table = Table(
            title=Text(title, style="bold") if title else None,
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for column in (0, *part):
            name = self._columns[column]
            table.add_column(
                Text(name),
                justify="left" if name in self._left else "right",
                # Whole, unless it is too wide for the terminal all by itself.
                no_wrap=column > 0 and len(part) > 1,
                overflow="fold",
                min_width=first if column == 0 and len(part) > 1 else None,
            )
        for row in self._rows:
            table.add_row(*(row[column] for column in (0, *part) if column < len(row)))
        return table
