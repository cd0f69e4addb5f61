"""Long texts: how they are cut, and the mean of their chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.embedding.engine.chunks import Frame, combine, cut_text, unit_or_nan, without_broken
from models.embedding.errors import UnsupportedModelError
from models.embedding.runner_types import TokenIds, Vectors
from tests.models.embedding.tiny_bert import MAX_TOKENS, PLAIN, tiny_tokenizer

CLS, SEP = 2, 3
ROOM = MAX_TOKENS - 2

words = st.lists(st.sampled_from(PLAIN), min_size=1, max_size=80).map(" ".join)


def ids_of(tokenizer: Tokenizer, text: str) -> TokenIds:
    return np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)


# --- cutting --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(words)
def test_chunks_are_what_the_tokenizer_itself_makes_of_a_text_and_its_overflow(text: str) -> None:
    tokenizer = tiny_tokenizer()
    cut = cut_text(ids_of(tokenizer, text), Frame.of(tokenizer, MAX_TOKENS), 1000)
    tokenizer.enable_truncation(MAX_TOKENS)
    encoding = tokenizer.encode_batch_fast([text])[0]
    reference = [encoding.ids, *(part.ids for part in encoding.overflowing)]
    assert [row.tolist() for row in cut.rows] == reference
    assert not cut.truncated


@given(words, st.integers(1, 4))
def test_what_is_beyond_the_last_chunk_counts_as_truncated(text: str, most: int) -> None:
    tokenizer = tiny_tokenizer()
    ids, frame = ids_of(tokenizer, text), Frame.of(tokenizer, MAX_TOKENS)
    whole, cut = cut_text(ids, frame, 1000), cut_text(ids, frame, most)
    kept = whole.rows[:most]
    assert [row.tolist() for row in cut.rows] == [row.tolist() for row in kept]
    assert cut.weights == whole.weights[:most]
    assert cut.truncated == (len(whole.rows) > most)


@given(words, st.sampled_from(["", "the : ", "great coffee ! "]), st.integers(8, 30))
def test_every_chunk_begins_with_the_prefix_and_none_is_too_long(
    text: str, prefix: str, max_tokens: int
) -> None:
    tokenizer = tiny_tokenizer()
    frame = Frame.of(tokenizer, max_tokens, prefix)
    cut = cut_text(ids_of(tokenizer, prefix + text), frame, 1000)
    before = [CLS, *ids_of(tokenizer, prefix)]
    own = []
    for row, weight in zip(cut.rows, cut.weights, strict=True):
        assert row.dtype == np.int64
        assert row[: len(before)].tolist() == before
        assert row[-1] == SEP
        assert row.size <= max_tokens
        own += row[len(before) : -1].tolist()
        assert weight == row.size - len(before) - 1
    assert own == ids_of(tokenizer, text).tolist()
    assert all(row.size == max_tokens for row in cut.rows[:-1])


def test_a_prefix_that_is_melted_into_the_first_word_stands_in_the_first_chunk_only() -> None:
    frame = Frame(np.array([CLS]), np.array([SEP]), prefix=np.array([7, 8]), max_tokens=5)
    cut = cut_text(np.array([9, 10, 11, 12]), frame, 10)
    assert [row.tolist() for row in cut.rows] == [[CLS, 9, 10, 11, SEP], [CLS, 12, SEP]]
    assert cut.weights == [3, 1]


def test_a_text_without_tokens_is_one_chunk_of_special_tokens() -> None:
    frame = Frame.of(tiny_tokenizer(), MAX_TOKENS)
    cut = cut_text(np.array([], dtype=np.int64), frame, 3)
    assert ([row.tolist() for row in cut.rows], cut.weights) == ([[CLS, SEP]], [1])
    assert not cut.truncated


def test_a_tokenizer_without_special_tokens_has_an_empty_frame() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.post_processor = None  # type: ignore[assignment]
    frame = Frame.of(tokenizer, 4)
    assert (frame.head.size, frame.tail.size) == (0, 0)
    rows = cut_text(np.arange(9), frame, 9).rows
    assert [row.tolist() for row in rows] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_a_frame_without_room_for_a_text_is_refused() -> None:
    Frame.of(tiny_tokenizer(), 4, "great")
    with pytest.raises(UnsupportedModelError, match=r"max_tokens is 3, .* alone take 3"):
        Frame.of(tiny_tokenizer(), 3, "great")


# --- the mean -------------------------------------------------------------------------------------


def naive_combine(vectors: Vectors, weights: list[int], counts: list[int]) -> list[list[float]]:
    combined, start = [], 0
    for count in counts:
        if count == 1:
            combined.append([float(x) for x in vectors[start]])
        else:
            total = [0.0] * vectors.shape[1]
            for chunk in range(start, start + count):
                for d in range(vectors.shape[1]):
                    total[d] += weights[chunk] * float(vectors[chunk, d])
            mean = [x / sum(weights[start : start + count]) for x in total]
            length = sum(x * x for x in mean) ** 0.5
            combined.append([x / length for x in mean])
        start += count
    return combined


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_the_mean_is_weighted_by_tokens_and_of_length_one(counts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = unit_or_nan(random.normal(size=(sum(counts), 7)).astype(np.float32))
    weights = random.integers(1, 300, sum(counts)).tolist()
    combined = combine(vectors, weights, counts)
    assert (combined.shape, combined.dtype) == ((len(counts), 7), np.float32)
    np.testing.assert_allclose(combined, naive_combine(vectors, weights, counts), atol=1e-5)
    starts = np.cumsum(counts) - counts
    for text, (start, count) in enumerate(zip(starts, counts, strict=True)):
        alone = combine(vectors[start : start + count], weights[start : start + count], [count])
        np.testing.assert_array_equal(combined[text], alone[0])
        if count == 1:
            np.testing.assert_array_equal(combined[text], vectors[start])


def test_a_text_with_a_failed_chunk_has_no_vector_and_others_are_unharmed() -> None:
    unit = np.eye(3, dtype=np.float32)
    vectors = np.stack([unit[0], np.full(3, np.nan, np.float32), unit[1], unit[2]])
    combined = combine(vectors, [5, 5, 3, 3], [2, 2])
    assert np.isnan(combined[0]).all()
    np.testing.assert_allclose(combined[1], [0, 0.5**0.5, 0.5**0.5], atol=1e-7)


def test_chunks_that_cancel_each_other_have_no_mean() -> None:
    vectors = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    assert np.isnan(combine(vectors, [4, 4], [2])).all()
    np.testing.assert_array_equal(combine(vectors, [4, 3], [2]), [[1, 0]])


# --- vectors that are none ------------------------------------------------------------------------

BROKEN = np.array(
    [[0, 0], [np.nan, 1], [np.inf, 1], [np.inf, -np.inf], [3e38, 3e38]], dtype=np.float32
)


def test_what_has_no_direction_becomes_a_row_of_nan_without_a_warning() -> None:
    vectors = np.vstack([[[3, 4]], BROKEN, [[0, 1e-10]]]).astype(np.float32)
    units = unit_or_nan(vectors)
    assert units.dtype == np.float32
    np.testing.assert_allclose(units[[0, -1]], [[0.6, 0.8], [0, 1]], rtol=1e-6)
    assert np.isnan(units[1:-1]).all()


def test_of_a_model_that_normalises_only_broken_rows_are_touched() -> None:
    good = np.array([[0.6, 0.8], [0.61, 0.8]], dtype=np.float32)
    assert without_broken(good) is good
    cleaned = without_broken(np.vstack([good, BROKEN]))
    np.testing.assert_array_equal(cleaned[:2], good)
    assert np.isnan(cleaned[2:]).all()
