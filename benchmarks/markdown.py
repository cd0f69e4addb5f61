"""Figures on pages: Markdown tables, and where they stand in a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Cell = str | Callable[[Any], str]


def columns(rows: Iterable[Any], cells: Mapping[str, Cell], *, texts: int = 0) -> str:
    """Write a table of figures, one row each.

    Parameters
    ----------
    rows
        Figures by name.
    cells
        By the head of a column, how its cells are written: a format such as ``{changes:.2f}``, or
        what is called with the row.
    texts
        So many first columns stand to the left.
    """
    written = [
        [cell.format_map(row) if isinstance(cell, str) else cell(row) for cell in cells.values()]
        for row in rows
    ]
    return table(list(cells), written, texts=texts)


def named(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give rows that are kept by name with their `name` in them."""
    return [{"name": name, **row} for name, row in rows.items()]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 0) -> str:
    """Write a table with its numbers to the right, and so many first columns to the left."""
    marks = ["---"] * texts + ["--:"] * (len(head) - texts)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *rows))


def render(text: str, name: str, content: str) -> str:
    """Put content between a document's two marks of that name.

    Raises
    ------
    ValueError
        If the marks are not there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the document has no marks {begin} and {end}; put them back.")
    return pattern.sub(lambda _: f"{begin}\n{content.strip()}\n{end}", text)
