"""Slabs: rows by number, in chunks that stay where they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.profiles.slab import SizedSlabs, Slab

WIDTH = 3


def slab() -> Slab:
    return Slab(np.dtype("<u8"), WIDTH, first=2)


def rows_of(numbers: list[int]) -> np.ndarray:
    return np.array([[number] * WIDTH for number in numbers], np.uint64).reshape(-1, WIDTH)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=30), st.randoms())
def test_a_slab_equals_a_dict_and_gives_no_row_to_two(steps, random) -> None:
    held, model, number = slab(), {}, 0
    for grow, count in steps:
        if grow:
            rows = held.allocate(count)
            assert len(set(rows.tolist())) == count
            assert not set(rows.tolist()) & model.keys()
            values = list(range(number, number + count))
            number += count
            held.put(rows, rows_of(values))
            model |= dict(zip(rows.tolist(), values, strict=True))
        else:
            left = random.sample(sorted(model), min(count, len(model)))
            held.release(np.array(left, np.int64))
            for row in left:
                del model[row]
        assert held.in_use == len(model)
        rows = np.array(random.sample(sorted(model), len(model)), np.int64)
        assert held.take(rows).tolist() == rows_of([model[row] for row in rows.tolist()]).tolist()
    # Rows that were given back are given out before there are new ones.
    assert held.used <= 9 * len(steps)
    free = held.used - held.in_use
    used = held.used
    held.allocate(free)
    assert held.used == used


def test_what_is_there_stays_where_it_is_when_a_slab_grows() -> None:
    held = slab()
    rows = held.allocate(5)
    held.put(rows, rows_of([1, 2, 3, 4, 5]))
    before = held.views()
    held.put(held.allocate(1_000), rows_of(list(range(1_000))))
    after = held.views()
    assert all(np.shares_memory(one, two) for one, two in zip(before, after, strict=False))
    assert sum(map(len, after)) == 1_005
    # Each chunk is three times as large as all before: their number grows like a logarithm.
    assert len(after) == 6


def test_a_chunk_of_which_nothing_is_in_use_gives_its_memory_back() -> None:
    held = slab()
    rows = held.allocate(8)  # chunks of 2 and 6
    held.put(rows, rows_of(list(range(8))))
    reader = held.views()
    held.release(rows[2:7])
    assert all(np.shares_memory(*pair) for pair in zip(reader, held.views(), strict=True))
    held.release(rows[7:])
    shared = [np.shares_memory(*pair) for pair in zip(reader, held.views(), strict=True)]
    assert shared == [True, False]
    # Who reads it still sees what was there, whatever comes to its rows.
    again = held.allocate(6)
    assert sorted(again.tolist()) == rows[2:].tolist()
    held.put(again, rows_of([9] * 6))
    assert reader[1].tolist() == rows_of([2, 3, 4, 5, 6, 7]).tolist()
    assert held.take(rows).tolist() == rows_of([0, 1, *[9] * 6]).tolist()


def test_rows_move_between_sizes_and_keep_their_slot_otherwise() -> None:
    small, large = Slab(np.dtype("<u8"), 1, first=2), Slab(np.dtype("<u8"), 2, first=2)
    sizes = SizedSlabs([small, large])
    classes, slots = np.array([-1, -1, -1], np.int8), np.zeros(3, np.int32)
    sizes.move(classes, slots, np.array([0, 0, 1]))
    assert (classes.tolist(), slots.tolist()) == ([0, 0, 1], [0, 1, 0])
    sizes.move(classes, slots, np.array([1, 0, -1]))
    assert classes.tolist() == [1, 0, -1]
    # The slot that the third left goes to the first, of the same call.
    assert slots[:2].tolist() == [0, 1]
    assert (small.in_use, large.in_use) == (1, 1)
