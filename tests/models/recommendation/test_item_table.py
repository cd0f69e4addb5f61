"""The table of items against a dict of them.

The first chunks are of two rows, so that few items already make a table grow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommendation.rows import ITEM, ItemRows, empty_pairs
from models.recommendation.table import MOST_PAIRS, ItemTable, TooManySegmentsError
from schemas.segment_model import NO_SEGMENT
from tests.models.recommendation.naive import (
    DIMENSIONS,
    HALF_LIFE,
    MICROSECONDS,
    START,
    Event,
    counted,
)

ITEMS = [f"i{number}" for number in range(9)]
State = tuple[bytes, bytes, bytes]


def rows_of(seeds: dict[str, int]) -> ItemRows:
    """States with something in every column, of 0 to 9 pairs."""
    rows = ItemRows.empty(list(seeds), DIMENSIONS)
    rows.pairs = empty_pairs(len(seeds), 9)
    for row, seed in enumerate(seeds.values()):
        rng = np.random.default_rng(seed)
        for name in ITEM.names or ():
            rows.numbers[name][row] = rng.integers(0, 1000)
        count = int(rng.integers(0, 10))
        pairs = rows.pairs[row, :count]
        pairs["segment"] = rng.permutation(900)[:count]
        pairs["weight"] = rng.random(count)
        if rng.random() < 0.3:
            rows.numbers["texts"][row] = 0
        else:
            rows.numbers["texts"][row] += 1
            rows.sums[row] = rng.random(DIMENSIONS)
    return rows


def states(rows: ItemRows) -> list[State]:
    return [
        (rows.numbers[row].tobytes(), rows.pairs[row][:count].tobytes(), rows.sums[row].tobytes())
        for row, count in enumerate(rows.counts().tolist())
    ]


puts = st.dictionaries(st.sampled_from(ITEMS), st.integers(0, 2**32 - 1), min_size=1)
steps = st.lists(
    st.tuples(st.just("put"), puts) | st.tuples(st.just("remove"), st.sets(st.sampled_from(ITEMS))),
    max_size=12,
)


@given(steps)
def test_a_table_gives_back_what_was_put_last_of_each_item(done: list[tuple[str, Any]]):
    table, model = ItemTable(DIMENSIONS, first=2), dict[str, State]()
    for kind, what in done:
        if kind == "put":
            rows = rows_of(what)
            table.put(rows)
            model |= zip(what, states(rows), strict=True)
        else:
            table.remove(what)
            model = {item: state for item, state in model.items() if item not in what}
    unknown = states(ItemRows.empty(["?"], DIMENSIONS))[0]
    asked = [*ITEMS, "never"]
    assert states(table.gather(asked)) == [model.get(item, unknown) for item in asked]
    assert len(table) == len(model)
    assert [item in table for item in asked] == [item in model for item in asked]
    held = table.held()
    items = table.items(held.seats)
    assert sorted(items) == sorted(model)
    assert [each.tobytes() for each in held.numbers] == [model[item][0] for item in items]
    for number, item in enumerate(items):
        assert held.pairs[held.owners == number].tobytes() == model[item][1]
        assert table.sums(held.seats)[number].tobytes() == model[item][2]


def test_items_that_are_silent_or_too_many_are_told():
    table = ItemTable(DIMENSIONS)
    days = {"old": 0, "heavy": 20, "new": 40}
    counted(
        [
            Event(item, 1, 8.0 if item == "heavy" else 1.0, START + day * MICROSECONDS, None, None)
            for item, day in days.items()
        ],
        table,
    )
    assert table.silent(START + 20 * MICROSECONDS) == ["old"]
    now = START + 40 * MICROSECONDS
    assert table.lightest(1, now, HALF_LIFE) == ["old", "new"]
    assert table.lightest(3, now, HALF_LIFE) == table.lightest(9, now, HALF_LIFE) == []


def test_an_item_with_more_segments_than_there_can_be_is_refused_by_name():
    rows = ItemRows.empty(["fine", "wide"], DIMENSIONS)
    rows.pairs = empty_pairs(2, MOST_PAIRS + 1)
    rows.pairs["segment"][1] = np.arange(MOST_PAIRS + 1)
    table = ItemTable(DIMENSIONS)
    with pytest.raises(TooManySegmentsError, match="item 'wide' has 4097 segments"):
        table.put(rows)
    assert len(table) == 0


def test_a_hundred_thousand_items_of_fifty_segments_fit_into_200_megabytes():
    count, segments, each, dimensions = 100_000, 50, 5, 384
    table, rng = ItemTable(dimensions), np.random.default_rng(0)
    for start in range(0, count, 10_000):
        items = [f"item-{number:08d}" for number in range(start, start + 10_000)]
        rows = ItemRows.empty(items, dimensions)
        rows.numbers["texts"] = 1
        rows.pairs = empty_pairs(len(items), each)
        rows.pairs["segment"] = rng.integers(0, segments, rows.pairs.shape)
        table.put(rows)
    # A name of 13 letters, its number and its place in a dict and a list: 62 + 32 + 84 + 8 bytes.
    assert table.bytes + count * (62 + 32 + 84 + 8) < 200e6
    assert (table.gather(["item-00099999"]).pairs["segment"] != NO_SEGMENT).sum() == each
