"""The int8 graph: near fp32, exactly independent of neighbours, the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.runners import CpuRunner, equal_lengths, run_unpadded
from models.embedding.making.bert_int8 import Int8Recipe, build_int8
from models.embedding.making.calibration import measure_ranges
from models.embedding.making.graph_writer import Weights
from models.embedding.making.pretrained import read_config
from models.embedding.runtime import open_session
from tests.models.embedding import bert_reference
from tests.models.embedding.tiny_bert import HEADS, LAYERS, MAX_TOKENS, WORDS, TinyBert

TEXTS = {
    "short": "Great coffee, would buy again!",
    "long": "The grinder broke after a week and nobody answered. " * 60,
    "chinese": "物流很快,包装完好,味道也不错。",
    "emoji": "I ❤️ this phone 📱🔥 but the battery 🪫…",
    "code": "Why does `x = [1, 2]; y = x` make y change when I append to x?",
    "one word": "bad",
    "refund": "Not what I ordered, and the refund took a month to arrive.",
}


def random_rows(*lengths: int, seed: int = 1) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [random.integers(1, len(WORDS), length) for length in lengths]


def graph(bert: TinyBert, recipe: Int8Recipe | None = None, seed: int = 9) -> onnx.ModelProto:
    config = read_config(bert.folder)
    weights = Weights(config, bert.tensors)
    rows = random_rows(*range(2, MAX_TOKENS), seed=seed)
    return build_int8(config, weights, measure_ranges(config, weights, rows), recipe)


def run(model: onnx.ModelProto, rows: list[NDArray[np.int64]], folder: Path) -> NDArray[np.float32]:
    path = folder / f"{os.urandom(4).hex()}.onnx"
    onnx.save(model, path)
    session = open_session(path, "cpu")
    return np.vstack([run_unpadded(session, row[np.newaxis]) for row in rows])


def reference(bert: TinyBert, rows: list[NDArray[np.int64]], **how: object) -> NDArray[np.float64]:
    named = {"pooling": "mean", "normalise": True, **how}
    return np.array(
        [
            bert_reference.embed(row, bert.tensors, layers=LAYERS, heads=HEADS, **named)
            for row in rows
        ]
    )


def test_int8_stays_near_fp32_on_the_real_model(
    model_folder: Path, exact_model_folder: Path
) -> None:
    with (
        OnnxEmbedder.load(model_folder) as quantised,
        OnnxEmbedder.load(exact_model_folder, device="cpu") as exact,
    ):
        texts = list(TEXTS.values())
        cosine = np.sum(quantised.embed(texts) * exact.embed(texts), axis=1)
    assert cosine.min() > 0.995
    assert cosine.mean() > 0.998


@pytest.mark.parametrize("smoothing", [0.0, 0.75])
@pytest.mark.parametrize("outliers", [0, 4])
@pytest.mark.parametrize("float_layers", [0, 1, LAYERS])
def test_every_recipe_stays_near_a_naive_float64_bert(
    smoothing: float, outliers: int, float_layers: int, tiny_bert: TinyBert
) -> None:
    rows = random_rows(3, MAX_TOKENS, 9, 2)
    recipe = Int8Recipe(smoothing, outliers, float_layers)
    vectors = run(graph(tiny_bert, recipe), rows, tiny_bert.folder)
    cosine = np.sum(vectors * reference(tiny_bert, rows), axis=1)
    assert cosine.min() > 0.998
    if float_layers == LAYERS:
        assert cosine.min() > 0.9999  # only the words are in eight bits


@pytest.mark.parametrize(("pooling", "normalise"), [("cls", True), ("mean", False)])
def test_pooling_and_normalisation_are_the_checkpoints_own(
    pooling: str, normalise: bool, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_pooling(pooling, normalise=normalise)
    rows = random_rows(3, 9)
    vectors = run(graph(tiny_bert), rows, tiny_bert.folder)
    expected = reference(tiny_bert, rows, pooling=pooling, normalise=normalise)
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(expected, axis=1), rtol=0.05)
    cosine = np.sum(vectors * expected, axis=1) / lengths / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.998


def test_a_neuron_of_huge_values_does_not_round_the_others_away(tiny_bert: TinyBert) -> None:
    """As in trained BERTs: one unit of the feed-forward blocks fires at the first token alone."""
    words = tiny_bert.tensors["embeddings.word_embeddings.weight"]
    words[2] = 0
    words[2, 5] = 50
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        tiny_bert.tensors[f"{name}.intermediate.dense.weight"][7, 5] = 300
        tiny_bert.tensors[f"{name}.intermediate.dense.bias"][7] = -1000
        tiny_bert.tensors[f"{name}.output.dense.weight"][:, 7] *= 0.1
    rows = [np.array([2, *row]) for row in random_rows(10, 6, 12)]
    config = read_config(tiny_bert.folder)
    weights = Weights(config, tiny_bert.tensors)
    ranges = measure_ranges(config, weights, rows)
    exact = reference(tiny_bert, rows)

    def worst(recipe: Int8Recipe) -> float:
        model = build_int8(config, weights, ranges, recipe)
        return float(1 - np.sum(run(model, rows, tiny_bert.folder) * exact, axis=1).min())

    apart, together = worst(Int8Recipe(outlier_neurons=1)), worst(Int8Recipe(outlier_neurons=0))
    assert apart < 0.001
    assert together > 10 * apart


def test_activations_of_zero_give_no_nan(tiny_bert: TinyBert) -> None:
    for name, tensor in tiny_bert.tensors.items():
        if "LayerNorm" in name or name.endswith("bias"):
            tensor[:] = 0
    np.testing.assert_array_equal(run(graph(tiny_bert), random_rows(4), tiny_bert.folder), 0)


def test_the_graph_is_made_of_the_operators_that_are_fast(tiny_bert: TinyBert) -> None:
    operators = Counter(node.op_type for node in graph(tiny_bert).graph.node)
    expected = {
        "MatMulIntegerToFloat": 7 * LAYERS,  # query, key, value, projection, wide, outliers, narrow
        "MatMul": LAYERS + 1,  # the outliers' way back, the mean
        "Attention": LAYERS,
        "Gelu": 2 * LAYERS,
        "LayerNormalization": 2 * LAYERS + 1,
        "QuantizeLinear": 4 * LAYERS,
    }
    assert {name: operators[name] for name in expected} == expected
    assert not {"Softmax", "Split", "Transpose", "SkipLayerNormalization"} & set(operators)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, MAX_TOKENS), min_size=1, max_size=10), seed=st.integers(0, 99)
)
def test_neighbours_do_not_change_a_vector_by_a_bit(
    lengths: list[int], seed: int, session: object
) -> None:
    rows = random_rows(*lengths, seed=seed)
    for chosen in equal_lengths(np.array(lengths), budget=64):
        together = run_unpadded(session, np.stack([rows[i] for i in chosen]))
        for place, index in enumerate(chosen):
            alone = run_unpadded(session, rows[index][np.newaxis])
            np.testing.assert_array_equal(together[place], alone[0])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("int8")
    bert = TinyBert.write(folder / "bert")
    onnx.save(graph(bert), folder / "model.onnx")
    return open_session(folder / "model.onnx", "cpu")


@pytest.mark.parametrize("words", [5, 17, 40, 120])
def test_neighbours_do_not_change_a_vector_of_the_real_model_by_a_bit(
    words: int, model_folder: Path
) -> None:
    random = np.random.default_rng(words)
    rows = random.integers(1000, 20_000, (4, words))
    real = open_session(model_folder / "model.onnx", "cpu")
    alone = np.vstack([run_unpadded(real, row[np.newaxis]) for row in rows])
    np.testing.assert_array_equal(run_unpadded(real, rows), alone)


def test_the_same_weights_give_the_same_bytes_in_every_process(tiny_bert: TinyBert) -> None:
    script = (
        "import hashlib, sys, pathlib\n"
        "from tests.models.embedding.test_int8 import graph\n"
        "from tests.models.embedding.tiny_bert import TinyBert, random_weights\n"
        "bert = TinyBert(pathlib.Path(sys.argv[1]), random_weights(0))\n"
        "print(hashlib.sha256(graph(bert).SerializeToString(deterministic=True)).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(tiny_bert.folder)],
            env={**os.environ, "PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed, threads in (("0", "1"), ("1", "2"))
    }
    here = graph(tiny_bert).SerializeToString(deterministic=True)
    assert digests == {hashlib.sha256(here).hexdigest()}


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600))
def test_runs_are_of_one_length_and_hold_every_text_once(lengths: list[int], budget: int) -> None:
    runs = equal_lengths(np.array(lengths, dtype=np.int64), budget)
    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    firsts = []
    for chosen in runs:
        (length,) = {lengths[index] for index in chosen}
        assert chosen.size == 1 or chosen.size * length <= budget
        assert list(chosen) == sorted(chosen)
        firsts.append(length)
    assert firsts == sorted(firsts, reverse=True)


class Fragile:
    """A session that fails on texts with token 7, and gives no number for those with token 8."""

    def get_inputs(self) -> list[str]:
        return ["input_ids"]

    def run(self, _: object, feeds: dict[str, NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        token_ids = feeds["input_ids"]
        if np.any(token_ids == 7):
            raise RuntimeError("no")
        vectors = np.stack([token_ids.sum(axis=1), token_ids[:, 0]], axis=1).astype(np.float32)
        vectors[np.any(token_ids == 8, axis=1)] = np.inf
        return [vectors]


@given(st.lists(st.lists(st.integers(5, 9), min_size=1, max_size=4), max_size=12))
def test_a_text_that_the_model_fails_on_fails_alone(texts: list[list[int]]) -> None:
    rows = [np.array(text, dtype=np.int64) for text in texts]
    runner = CpuRunner(Fragile(), dimensions=2, threads=2)
    try:
        vectors = runner.run(rows)
    finally:
        runner.close()
    expected = np.array(
        [[np.nan] * 2 if {7, 8} & set(text) else [sum(text), text[0]] for text in texts]
    ).reshape(-1, 2)
    np.testing.assert_array_equal(vectors, expected)
    assert runner.totals.failed_texts == np.isnan(expected[:, 0]).sum()
