"""Parts of a page that are made from the code."""

from __future__ import annotations

import pytest

from consumer.report.markdown import code, fill, made_parts, table

PAGE = """Before.

<!-- begin topics, by make docs -->
old

<!-- end topics -->

Between.

<!-- begin rights of workers, by make docs -->
<!-- end rights of workers -->
After.
"""


def test_only_what_is_between_the_markers_of_a_part_is_made_anew():
    tables = {"topics": lambda: "new\n", "rights of workers": lambda: "all\n"}
    filled = fill(PAGE, tables)
    assert filled == PAGE.replace("docs -->\nold\n\n<", "docs -->\n\nnew\n\n<").replace(
        "docs -->\n<!-- end rights", "docs -->\n\nall\n\n<!-- end rights"
    )
    assert fill(filled, tables) == filled
    assert made_parts(filled) == ["topics", "rights of workers"]


def test_a_part_that_no_table_is_made_for_is_an_error():
    with pytest.raises(KeyError, match="rights of workers"):
        fill(PAGE, {"topics": str})


def test_a_table_has_a_line_for_each_row():
    made = table(("topic", "", "by"), [(code("a", "b"), "", "worker"), ("c", "d", "")])
    assert made == "| topic | | by |\n|---|---|---|\n| `a`, `b` | | worker |\n| c | d | |\n"
