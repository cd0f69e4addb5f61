"""Figures on pages: Markdown tables, and where they stand in a document."""

from __future__ import annotations

import re
from collections.abc import Sequence


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
