from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.embedding.making.calibration import LayerRanges, measure_ranges, round_up
from models.embedding.making.graph_writer import Weights
from models.embedding.making.pretrained import read_config
from tests.models.embedding import bert_reference
from tests.models.embedding.tiny_bert import HEADS, HIDDEN, INNER, LAYERS, WORDS, TinyBert


def random_rows(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [random.integers(1, len(WORDS), length) for length in lengths]


def measured(bert: TinyBert, rows: list[np.ndarray]) -> list[LayerRanges]:
    config = read_config(bert.folder)
    return list(measure_ranges(config, Weights(config, bert.tensors), rows))


def test_the_ranges_are_those_of_a_naive_bert(tiny_bert: TinyBert) -> None:
    rows = random_rows(3, 9, 1)
    inputs = [
        bert_reference.product_inputs(row, tiny_bert.tensors, layers=LAYERS, heads=HEADS)
        for row in rows
    ]
    for layer, ranges in enumerate(measured(tiny_bert, rows)):
        for name, size in (
            ("attention_input", HIDDEN),
            ("attention_output", HIDDEN),
            ("feed_forward_input", HIDDEN),
            ("neurons", INNER),
        ):
            found = getattr(ranges, name)
            assert found.shape == (size,)
            exact = np.abs(np.concatenate([text[layer][name] for text in inputs])).max(axis=0)
            assert np.all(found >= exact - 1e-9)
            assert np.all(found <= exact * (1 + 2**-5) + 1e-5)


def test_texts_are_measured_each_by_itself(tiny_bert: TinyBert) -> None:
    rows = random_rows(4, 8)
    together = measured(tiny_bert, rows)
    apart = [measured(tiny_bert, [row]) for row in rows]
    for layer, ranges in enumerate(together):
        largest = np.maximum(apart[0][layer].neurons, apart[1][layer].neurons)
        np.testing.assert_array_equal(ranges.neurons, largest)


def test_without_a_text_there_is_nothing_to_measure(tiny_bert: TinyBert, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows holds no text"):
        measured(tiny_bert, [])


@given(st.floats(1e-5, 1e6))
def test_rounding_up_keeps_six_bits_and_never_loses(value: float) -> None:
    rounded = float(round_up(np.array([value]))[0])
    assert value <= rounded <= value * (1 + 2**-5)
    mantissa, _ = np.frexp(rounded)
    assert float(mantissa * 64).is_integer()
    assert float(round_up(np.array([rounded]))[0]) == rounded
