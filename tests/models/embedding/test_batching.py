import doctest
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.embedding import batching
from models.embedding.batching import (
    PackedLayout,
    PaddedLayout,
    packed_batches,
    token_batches,
    token_bucket,
    token_buckets,
)

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


def rows_of(lengths: list[int]) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(sum(lengths))
    return [random.integers(1, 30_000, length) for length in lengths]


def test_the_examples_are_true() -> None:
    assert doctest.testmod(batching).failed == 0


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_a_bucket_holds_its_tokens_at_little_more(tokens: int, budget: int) -> None:
    bucket = token_bucket(tokens, budget)
    assert bucket >= tokens
    assert bucket <= max(64, 1.25 * tokens)
    if tokens <= budget:
        assert bucket <= budget
        assert bucket in token_buckets(budget)


@given(st.integers(1, 100_000))
def test_there_are_few_buckets(budget: int) -> None:
    buckets = token_buckets(budget)
    assert buckets[0] == budget
    assert buckets == sorted(set(buckets), reverse=True)
    assert len(buckets) <= 2 + 4 * 11


@given(LENGTHS, st.integers(1, 3000))
def test_packed_batches_hold_every_text_once_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    batches = packed_batches(sizes, budget)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(sizes.size))
    assert np.all(np.diff(sizes[order]) <= 0)
    for batch in batches:
        widest = -(-sizes[batch].max() // 8) * 8
        assert batch.size == 1 or (
            sizes[batch].sum() <= budget and batch.size * widest <= 2 * budget
        )
    for batch, following in pairwise(batches):
        more = batch.size + 1
        assert (
            sizes[batch].sum() + sizes[following[0]] > budget
            or more * -(-sizes[batch].max() // 8) * 8 > 2 * budget
        )


def test_padded_batches_may_have_a_bound_of_texts() -> None:
    batches = token_batches(np.full(10, 5, np.int64), 1000, most_texts=4)
    assert [batch.size for batch in batches] == [4, 4, 2]


def pack_one_by_one(
    rows: list[NDArray[np.int64]], total: int, width: int, pad_id: int
) -> dict[str, list[object]]:
    """What `PackedLayout.pack` gives, token by token."""
    texts = [row.tolist() for row in rows]
    while (used := sum(map(len, texts))) < total:
        texts.append([pad_id] * min(width, total - used))
    offsets, padding, grid, mask, bounds = [], [], [], [], [0]
    for number, text in enumerate(texts):
        start = bounds[-1]
        bounds.append(start + len(text))
        offsets += [number * width + place for place in range(len(text))]
        padding += [number * width + place for place in range(len(text), width)]
        grid.append([start + min(place, len(text) - 1) for place in range(width)])
        mask.append([[1.0] * len(text) + [0.0] * (width - len(text))])
    flat = offsets + padding
    return {
        "input_ids": [token for text in texts for token in text],
        "position_ids": [place for text in texts for place in range(len(text))],
        "token_offset": [flat[i : i + width] for i in range(0, len(flat), width)],
        "cumulative_sequence_length": bounds,
        "token_grid": grid,
        "token_mask": mask,
    }


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 900))
def test_packing_agrees_with_packing_one_by_one(lengths: list[int], budget: int) -> None:
    rows = rows_of(lengths)
    batch = PackedLayout(pad_id=7, pooling="mean").pack(rows, budget)
    total = token_bucket(sum(lengths), budget)
    width = -(-max(lengths) // 8) * 8
    expected = pack_one_by_one(rows, total, width, pad_id=7)
    assert {name: values.tolist() for name, values in batch.feeds.items()} == expected
    assert (batch.texts, batch.tokens) == (len(lengths), total)
    types = {name: values.dtype for name, values in batch.feeds.items()}
    assert types.pop("token_mask") == np.float32
    assert set(types.values()) == {np.dtype(np.int32)}


def test_pooling_by_the_first_token_needs_no_grid() -> None:
    batch = PackedLayout(pad_id=0, pooling="cls").pack(rows_of([3, 2]), 64)
    assert set(batch.feeds) == {
        "input_ids",
        "position_ids",
        "token_offset",
        "cumulative_sequence_length",
    }


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_padding_puts_every_token_in_its_place(lengths: list[int]) -> None:
    rows = rows_of(lengths)
    batch = PaddedLayout(pad_id=7, most_tokens=40).pack(rows, 64)
    width = batch.feeds["input_ids"].shape[1]
    assert max(lengths) <= width <= min(40, max(lengths) + 7)
    for row, ids, mask in zip(
        rows, batch.feeds["input_ids"], batch.feeds["attention_mask"], strict=True
    ):
        assert ids.tolist() == row.tolist() + [7] * (width - row.size)
        assert mask.tolist() == [1] * row.size + [0] * (width - row.size)
    assert batch.tokens == width * len(rows)


@pytest.mark.parametrize("budget", [1, 64, 1000, 16_384])
@pytest.mark.parametrize("longest", [16, 128, 512])
def test_the_warm_up_covers_every_bucket_the_largest_first(budget: int, longest: int) -> None:
    layout = PackedLayout(pad_id=0, pooling="mean")
    shapes = layout.warm_up(budget, longest)
    assert [sum(shape) for shape in shapes] == token_buckets(budget)
    for shape in shapes:
        assert max(shape) <= longest
        [batch] = layout.batches(np.array(shape), max(sum(shape), 8))
        assert batch.size == len(shape)
    for shape in PaddedLayout(0, longest, most_texts=50).warm_up(budget, longest):
        assert len(shape) == 1 or (sum(shape) <= budget and len(shape) <= 50)
