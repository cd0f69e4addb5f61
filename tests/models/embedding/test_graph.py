import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.embedding.cache import cache_folder
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.runners import run_unpadded
from models.embedding.errors import UnsupportedModelError
from models.embedding.making.bert_graph import build_bert
from models.embedding.making.bert_int8 import quantize_symmetric
from models.embedding.making.pretrained import read_config, read_tensors
from models.embedding.making.weights import resolve_source
from models.embedding.runtime import open_session
from tests.models.embedding import bert_reference
from tests.models.embedding.padded_runs import run_batch
from tests.models.embedding.tiny_bert import HEADS, LAYERS, MAX_TOKENS, WORDS, TinyBert

TEXTS = {
    "short": "Great coffee, would buy again!",
    "long": "The grinder broke after a week and nobody answered. " * 60,
    "chinese": "物流很快,包装完好,味道也不错。",
    "emoji": "I ❤️ this phone 📱🔥 but the battery 🪫…",
    "code": "Why does `x = [1, 2]; y = x` make y change when I append to x?",
}


def run(model: onnx.ModelProto, rows: list[NDArray[np.int64]], folder: Path) -> NDArray[np.float32]:
    path = folder / f"{os.urandom(4).hex()}.onnx"
    onnx.save(model, path)
    return run_batch(open_session(path, "cpu"), rows, pad_id=0)


def random_rows(*lengths: int, seed: int = 1) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [random.integers(1, len(WORDS), length) for length in lengths]


@pytest.mark.parametrize("name", TEXTS)
def test_the_fp32_graph_agrees_with_a_naive_float64_bert(
    name: str, exact_model_folder: Path
) -> None:
    weights = resolve_source("default", cache_folder()).fetch()
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    token_ids = np.array(tokenizer.encode(TEXTS[name]).ids)
    expected = bert_reference.embed(
        token_ids,
        read_tensors(weights / "model.safetensors"),
        layers=6,
        heads=12,
        pooling="mean",
        normalise=True,
    )
    with OnnxEmbedder.load(exact_model_folder, threads=1, device="cpu") as embedder:
        actual = embedder.embed([TEXTS[name]])
    np.testing.assert_allclose(actual[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "normalise"), list(product(("mean", "cls"), (True, False))), ids=str
)
def test_pooling_and_normalisation_are_the_checkpoints_own(
    pooling: str, normalise: bool, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_pooling(pooling, normalise=normalise)
    rows = random_rows(3, MAX_TOKENS, 9, 2)
    model = build_bert(read_config(tiny_bert.folder), tiny_bert.tensors)
    expected = [
        bert_reference.embed(
            row,
            tiny_bert.tensors,
            layers=LAYERS,
            heads=HEADS,
            pooling=pooling,
            normalise=normalise,
        )
        for row in rows
    ]
    padded_batch = run(model, rows, tiny_bert.folder)
    np.testing.assert_allclose(padded_batch, expected, atol=1e-5)


def test_the_graph_is_made_of_the_fused_operators(tiny_bert: TinyBert) -> None:
    model = build_bert(read_config(tiny_bert.folder), tiny_bert.tensors)
    onnx.checker.check_model(model, full_check=True)
    operators = Counter(node.op_type for node in model.graph.node)
    expected = {"Attention": 2, "BiasGelu": 2, "LayerNormalization": 5, "MatMul": 7}
    assert {name: operators[name] for name in expected} == expected
    assert not {"Gelu", "SkipLayerNormalization", "Softmax"} & set(operators)


def test_the_same_weights_give_the_same_bytes_in_every_process(tiny_bert: TinyBert) -> None:
    script = (
        "import hashlib, pathlib, sys\n"
        "from models.embedding.making.bert_graph import build_bert\n"
        "from models.embedding.making.pretrained import read_config, read_tensors\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "model = build_bert(read_config(folder), read_tensors(folder / 'model.safetensors'))\n"
        "data = model.SerializeToString(deterministic=True)\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(tiny_bert.folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1")
    }
    model = build_bert(read_config(tiny_bert.folder), tiny_bert.tensors)
    here = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    assert digests == {here}


def test_a_task_models_names_and_tensorflows_names_are_understood(tiny_bert: TinyBert) -> None:
    config = read_config(tiny_bert.folder)
    renamed = {
        "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in tiny_bert.tensors.items()
    }
    assert build_bert(config, renamed) == build_bert(config, tiny_bert.tensors)


def test_a_missing_weight_is_named(tiny_bert: TinyBert) -> None:
    name = "encoder.layer.1.output.dense.weight"
    del tiny_bert.tensors[name]
    with pytest.raises(UnsupportedModelError, match=name):
        build_bert(read_config(tiny_bert.folder), tiny_bert.tensors)


def test_weights_that_do_not_fit_the_config_are_refused(tiny_bert: TinyBert) -> None:
    config = replace(read_config(tiny_bert.folder), intermediate=128)
    with pytest.raises(UnsupportedModelError, match=r"intermediate.*\(64, 32\).*\(128, 32\)"):
        build_bert(config, tiny_bert.tensors)


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-8, 8, width=16)),
    st.sampled_from([0, 1]),
)
def test_quantising_rounds_to_half_a_step_at_most(weights: NDArray[np.float32], axis: int) -> None:
    quantised, scale = quantize_symmetric(weights, axis)
    assert quantised.dtype == np.int8
    assert quantised.min() >= -127
    half_step = scale / 2 * np.float32(1.001)
    assert np.all(np.abs(quantised * scale - weights) <= half_step)


def test_quantising_gives_each_column_or_row_its_own_scale() -> None:
    weights = np.array([[127.0, 0.5], [-1.0, 0.25], [0.0, 0.0]], dtype=np.float32)
    by_column, scale = quantize_symmetric(weights, axis=0)
    np.testing.assert_array_equal(by_column, [[127, 127], [-1, 64], [0, 0]])
    np.testing.assert_allclose(scale, [[1.0, 0.5 / 127]])
    by_row, scale = quantize_symmetric(weights, axis=1)
    np.testing.assert_array_equal(by_row, [[127, 0], [-127, 32], [0, 0]])
    np.testing.assert_allclose(scale, [[1.0], [1 / 127], [1.0]])


@pytest.mark.parametrize("words", [5, 40, 120])
def test_neighbours_of_the_same_length_do_not_change_a_vector_by_a_bit(
    words: int, exact_model_folder: Path
) -> None:
    rows = np.random.default_rng(words).integers(1000, 20_000, (3, words))
    session = open_session(exact_model_folder / "model.onnx", "cpu")
    alone = np.vstack([run_unpadded(session, row[np.newaxis]) for row in rows])
    np.testing.assert_array_equal(run_unpadded(session, rows), alone)
