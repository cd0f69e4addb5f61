"""Tables of Markdown, and pages that hold tables made from the code between two markers.

A page has `<!-- begin NAME, by make docs -->` and `<!-- end NAME -->`, each in a line of its own;
what is between them is made, and not to be edited. `consumer.reference` has the tables by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_MADE = re.compile(
    r"^(<!-- begin (?P<name>.+?), by make docs -->\n).*?^(<!-- end (?P=name) -->)$",
    re.MULTILINE | re.DOTALL,
)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a heading may be empty."""
    return _line(headings) + "|" + "---|" * len(headings) + "\n" + "".join(map(_line, rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")


def code(*texts: str) -> str:
    """Write texts as code, separated by commas."""
    return ", ".join(f"`{text}`" for text in texts)


def made_parts(page: str) -> list[str]:
    """Give the names of the parts of a page that are made from the code."""
    return [found["name"] for found in _MADE.finditer(page)]


def fill(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Give a page with each of its made parts as it is by now.

    Raises
    ------
    KeyError
        If a part's name is none of the tables.
    """
    return _MADE.sub(lambda part: f"{part[1]}\n{tables[part['name']]()}\n{part[3]}", page)
