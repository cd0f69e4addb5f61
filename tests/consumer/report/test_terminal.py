"""Tables in a narrow terminal keep the column that says what their rows are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from consumer.report.terminal import FittedTable, console

HEADINGS = ["what", "clusters", "silhouette", "cohesion", "separation", "Calinski-Harabasz"]
ROWS = ["segmenter", "MiniBatchKMeans, one pass over all of it", "咖啡豆, 手冲"]


def printed(table: FittedTable, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue().splitlines()


@pytest.fixture
def table() -> FittedTable:
    made = FittedTable("Measures", *HEADINGS)
    made.add_row("40 users")
    for number, name in enumerate(ROWS):
        made.add_row(name, *(f"{number}.{column}" for column in range(1, 6)))
    return made


def test_where_there_is_room_it_is_one_table(table: FittedTable) -> None:
    lines = printed(table, 120)
    assert all(heading in lines[1] for heading in HEADINGS)
    assert sum("segmenter" in line for line in lines) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_each_part_has_the_first_column_and_nothing_is_cut_off(
    table: FittedTable, width: int
) -> None:
    lines = printed(table, width)
    text = "\n".join(lines)
    assert "…" not in text
    assert all(Text(line).cell_len <= width for line in lines)
    parts = text.split("what ")[1:]
    for part in parts:
        assert "40 users" in part
        assert "segmenter" in part
        assert "手冲" in part
    cells = [f"{number}.{column}" for number in range(3) for column in range(1, 6)]
    assert all(text.count(each) == 1 for each in cells)
    assert all(heading in text for heading in HEADINGS)


def test_the_first_column_is_broken_where_that_keeps_the_table_in_one(table: FittedTable) -> None:
    lines = printed(table, 100)
    assert sum("what" in line for line in lines) == 1
    assert "one pass over all of it" not in "\n".join(lines)


def test_a_column_too_wide_for_the_terminal_is_broken_and_not_cut() -> None:
    table = FittedTable("", "name", "folder", left=["folder"])
    table.add_row("a", "/long/" * 20)
    text = "".join(line[26:].strip() for line in printed(table, 60))
    assert text.replace("folder", "").count("/long/") >= 1
    assert "…" not in text


def test_what_an_old_terminal_cannot_show_is_replaced_and_no_error() -> None:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding="ascii", newline="\n")
    table = FittedTable("Agreement with “topic”", "given ↓ predicted →", "très bon")
    table.add_row("with ≥ 5 events", "咖啡")
    console(file, width=60).print(table)
    file.flush()
    lines = [line.strip() for line in buffer.getvalue().decode().splitlines()]
    assert lines[0] == 'Agreement with "topic"'
    assert lines[1].split() == ["given", "v", "predicted", ">", "tr?s", "bon"]
    assert lines[2].split() == ["with", ">", "5", "events", "??"]


def test_only_a_pipe_that_is_to_be_whole_is_as_wide_as_need_be() -> None:
    widths = [console(io.StringIO(), whole=whole).width for whole in (False, True)]
    assert widths[0] < 200 < widths[1]
