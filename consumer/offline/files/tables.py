"""CSV, TSV and the like: a header, then a record a row.

A cell is text; an empty one is a field that is absent. A row with more or fewer cells than the
header becomes a JSON array of them, which is refused by itself like any record that is no object.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from consumer.offline.files.errors import FormError
from consumer.offline.files.lines import Numbered

_DELIMITERS = {",": "CSV", "\t": "TSV", ";": "CSV with semicolons", "|": "CSV with bars"}
_LONGEST_NAME = 100
_LONGEST_CELL = 16_000_000

csv.field_size_limit(_LONGEST_CELL)  # one for the process; the default is a long review


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is written.

    Attributes
    ----------
    delimiter
        Between two cells.
    quoted
        Whether a cell in double quotes may hold delimiters and ends of lines. Tables with tabs are
        often written without: a quote in them is a character like others.
    """

    delimiter: str
    quoted: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return _DELIMITERS[self.delimiter]


def table_of(head: str) -> Table | None:
    """Tell how the beginning of a file is written as a table; None where it begins with no header.

    Parameters
    ----------
    head
        The beginning of the file, whole lines where it has any.
    """
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        return None
    found = {
        delimiter: names
        for delimiter in _DELIMITERS
        if _is_header(names := _cells(lines[0], delimiter))
    }
    if not found:
        return None
    delimiter = max(found, key=lambda each: len(found[each]))
    tabs = {line.count(delimiter) for line in lines}
    return Table(delimiter, quoted=delimiter != "\t" or len(tabs) > 1)


def rows(stream: BinaryIO, table: Table) -> Numbered:
    """Give the rows as JSON objects.

    Raises
    ------
    FormError
        If the header names a column twice, or a quoted cell is not closed or goes on behind its
        quotes: where the next row begins cannot be known.
    """
    # What is no UTF-8 is carried along, so that a row with some is refused by itself.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    cells = _quoted(text, table) if table.quoted else _plain(text, table)
    header: list[str] = []
    for number, row in cells:
        if not any(row):
            continue
        if not header:
            header = [name.strip() for name in row]
            _check_header(header)
            continue
        found: object = row
        if len(row) == len(header):
            found = {
                name: cell for name, cell in zip(header, row, strict=True) if name and cell.strip()
            }
        written = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        yield number, written.encode("utf-8", "surrogateescape")


def _quoted(lines: Iterable[str], table: Table) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=table.delimiter, strict=True)
    begins = 1
    try:
        for row in reader:
            yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise FormError(
            f"the row that begins on line {begins:,} is no {table.name}: {error}; a cell with "
            "quotes in it must be quoted and have them doubled"
        ) from None


def _plain(lines: Iterable[str], table: Table) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        yield number, _cells(line.rstrip("\r\n"), table.delimiter)


def _cells(line: str, delimiter: str) -> list[str]:
    """Split a line; a cell that is quoted as a whole loses its quotes."""
    if delimiter == "\t":
        return [_unquoted(cell) for cell in line.split(delimiter)]
    return next(csv.reader([line], delimiter=delimiter), [])


def _unquoted(cell: str) -> str:
    inside = cell[1:-1]
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"'
    if is_quoted and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return cell


def _is_header(names: list[str]) -> bool:
    """Whether cells are names of columns, and not those of a row of data."""
    if len(names) < 2 or not all(len(name) <= _LONGEST_NAME for name in names):
        return False
    given = [name.strip() for name in names if name.strip()]
    return len(given) > 1 and not any(_is_number(name) for name in given)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_header(header: list[str]) -> None:
    for place, name in enumerate(header):
        if name and name in header[:place]:
            raise FormError(f"its header names the column {name!r} twice")
