from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper
from tokenizers import Tokenizer

from models.embedding.batching import PackedLayout, PaddedLayout
from models.embedding.cache import cache_folder
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import UnsupportedModelError
from models.embedding.gpu.session import BoundSession
from models.embedding.making.bert_packed import build_packed, build_padded
from models.embedding.making.gpu_files import move_weights
from models.embedding.making.prepare import prepare_model
from models.embedding.making.pretrained import BertConfig, read_config, read_tensors
from models.embedding.making.weights import resolve_source
from models.embedding.manifest import Manifest
from models.embedding.runtime import open_session
from tests.models.embedding import bert_reference
from tests.models.embedding.gpu_operators import EvaluatedSession
from tests.models.embedding.padded_runs import run_batch
from tests.models.embedding.tiny_bert import HEADS, LAYERS, MAX_TOKENS, WORDS, TinyBert

TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3}
VARIANTS = ("packed", "fused", "plain")


def random_rows(*lengths: int, seed: int = 1) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [random.integers(1, len(WORDS), length) for length in lengths]


def build(variant: str, model: TinyBert, precision: Any = "fp32") -> onnx.ModelProto:
    config = read_config(model.folder)
    if variant == "packed":
        return build_packed(config, model.tensors, precision)
    return build_padded(config, model.tensors, precision, fused=variant == "fused")


def layout_of(variant: str, pooling: Any = "mean") -> PackedLayout | PaddedLayout:
    return PackedLayout(0, pooling) if variant == "packed" else PaddedLayout(0, MAX_TOKENS)


def embed(
    session: Any, layout: PackedLayout | PaddedLayout, rows: list[NDArray[np.int64]]
) -> NDArray[np.float32]:
    batch = layout.pack(rows, 128)
    vectors: NDArray[np.float32] = session.run(batch.feeds)[: batch.texts]
    return vectors


def reference(
    model: TinyBert, rows: list[NDArray[np.int64]], pooling: str = "mean", normalise: bool = True
) -> NDArray[np.float64]:
    settings = {"layers": LAYERS, "heads": HEADS, "pooling": pooling, "normalise": normalise}
    return np.array([bert_reference.embed(row, model.tensors, **settings) for row in rows])


def cosine(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, axis=1) / lengths)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("pooling", "normalise"), list(product(("mean", "cls"), (True, False))), ids=str
)
def test_every_gpu_graph_agrees_with_a_naive_float64_bert(
    variant: str, precision: str, pooling: str, normalise: bool, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_pooling(pooling, normalise=normalise)
    rows = random_rows(3, MAX_TOKENS, 9, 2, 1)
    expected = reference(tiny_bert, rows, pooling, normalise)
    session = EvaluatedSession(build(variant, tiny_bert, precision))
    actual = embed(session, layout_of(variant, pooling), rows)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=TOLERANCE[precision])
    assert cosine(actual, expected).min() >= 0.9995


@pytest.fixture(scope="module")
def shared_bert(tmp_path_factory: pytest.TempPathFactory) -> TinyBert:
    return TinyBert.write(tmp_path_factory.mktemp("gpu") / "bert")


@pytest.fixture(scope="module")
def evaluated(shared_bert: TinyBert) -> dict[tuple[str, str], EvaluatedSession]:
    return {
        (variant, precision): EvaluatedSession(build(variant, shared_bert, precision))
        for variant, precision in product(VARIANTS, ("fp32", "fp16"))
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(1, MAX_TOKENS), min_size=1, max_size=8), seed=st.integers(0, 99)
)
def test_a_texts_vector_does_not_depend_on_its_neighbours(
    variant: str,
    precision: str,
    lengths: list[int],
    seed: int,
    evaluated: dict[tuple[str, str], EvaluatedSession],
) -> None:
    session, layout = evaluated[variant, precision], layout_of(variant)
    rows = random_rows(*lengths, seed=seed)
    together = embed(session, layout, rows)
    alone = np.vstack([embed(session, layout, [row]) for row in rows])
    if precision == "fp32":
        np.testing.assert_allclose(together, alone, atol=1e-5)
    assert cosine(together, alone).min() >= 0.9995


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_text_that_overflows_fp16_spoils_no_neighbour(variant: str, tiny_bert: TinyBert) -> None:
    """Channel 5 of token 5 is so large that the feed-forward block leaves the range of fp16."""
    words = tiny_bert.tensors["embeddings.word_embeddings.weight"]
    words[5] = 0
    words[5, 5] = 50
    tiny_bert.tensors["encoder.layer.0.intermediate.dense.weight"][7, 5] = 20_000
    poison, fine = np.array([5, 5, 5]), np.array([4, 6, 7])
    session = EvaluatedSession(build(variant, tiny_bert, "fp16"))
    with np.errstate(all="ignore"):
        layout = layout_of(variant)
        together = embed(session, layout, [fine, poison, fine])
        alone = embed(session, layout, [fine])
    assert np.isnan(together[1]).any()
    assert np.isfinite(alone).all()
    np.testing.assert_array_equal(together[[0, 2]], np.vstack([alone, alone]))


def test_the_packed_graph_is_made_of_the_fused_operators(tiny_bert: TinyBert) -> None:
    model = build("packed", tiny_bert, "fp16")
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators == {
        "PackedMultiHeadAttention": LAYERS,
        "SkipLayerNormalization": 2 * LAYERS + 1,
        "BiasGelu": LAYERS,
        "MatMul": 6 * LAYERS + 1,
        "Gather": 3,
        "Cast": 1,
        "ReduceSum": 1,
        "Squeeze": 1,
        "ReduceL2": 1,
        "Max": 1,
        "Div": 2,
    }
    assert all(
        constant.data_type != onnx.TensorProto.DOUBLE for constant in model.graph.initializer
    )


def test_the_graph_for_tensorrt_is_of_standard_operators_alone(tiny_bert: TinyBert) -> None:
    model = build("plain", tiny_bert, "fp16")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_runtime_accepts_the_packed_graph_but_for_the_cpus_lack_of_its_kernel(
    precision: str, tiny_bert: TinyBert
) -> None:
    """Types and shapes are inferred before kernels are looked for: nothing else is wrong."""
    path = tiny_bert.folder / "packed.onnx"
    onnx.save(build("packed", tiny_bert, precision), path)
    with pytest.raises(
        Exception, match=r"(implementation|kernel) for \S*PackedMultiHeadAttention\(1\)"
    ):
        open_session(path, "cpu")


def test_onnx_runtime_would_refuse_a_packed_graph_of_wrong_shapes(tiny_bert: TinyBert) -> None:
    model = build("packed", tiny_bert)
    model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 3
    path = tiny_bert.folder / "packed.onnx"
    onnx.save(model, path)
    with pytest.raises(Exception, match="ShapeInferenceError"):
        open_session(path, "cpu")


@pytest.mark.parametrize("variant", ["fused", "plain"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_runtime_runs_the_padded_graphs_on_the_cpu(
    variant: str, precision: str, tiny_bert: TinyBert
) -> None:
    path = tiny_bert.folder / "padded.onnx"
    onnx.save(build(variant, tiny_bert, precision), path)
    session = open_session(path, "cpu")
    rows = random_rows(3, MAX_TOKENS, 9, 2)
    expected = reference(tiny_bert, rows)
    tolerance = TOLERANCE[precision]
    np.testing.assert_allclose(run_batch(session, rows, pad_id=0), expected, atol=tolerance)
    bound = embed(BoundSession(session, "cpu"), layout_of(variant), rows)
    np.testing.assert_allclose(bound, expected, atol=tolerance)


def with_standard_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """The packed graph with attention of standard operators: every pair of tokens, masked.

    The CPU has kernels of all the rest.
    """
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    for name, value in {
        "test.one": np.array(1, np.int32),
        "test.axes": np.array([0]),
        "test.last": np.array([-1]),
        "test.split": np.array([0, HEADS, -1]),
        "test.join": np.array([0, -1]),
        "test.far": np.array(-1e9, np.float32),
        "test.thirds": np.array([32, 32, 32]),
        "test.scale": np.array(1 / np.sqrt(32 / HEADS), np.float32),
        "test.before_the_first": np.array(0, np.int32),
    }.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    # A token's text: how many texts begin at or before it.
    add("Shape", ["input_ids"], "test.tokens")
    add("Cast", ["test.tokens"], "test.tokens32", to=onnx.TensorProto.INT32)
    add("Squeeze", ["test.tokens32"], "test.count")
    add("Range", ["test.before_the_first", "test.count", "test.one"], "test.range")
    add("Unsqueeze", ["test.range", "test.last"], "test.column")
    add("GreaterOrEqual", ["test.column", "cumulative_sequence_length"], "test.begun")
    add("Cast", ["test.begun"], "test.begun64", to=onnx.TensorProto.INT64)
    add("ReduceSum", ["test.begun64", "test.last"], "test.text", keepdims=1)
    add("Transpose", ["test.text"], "test.other_text", perm=[1, 0])
    add("Equal", ["test.text", "test.other_text"], "test.same")
    for node in model.graph.node:
        if node.op_type != "PackedMultiHeadAttention":
            nodes.append(node)
            continue
        name = node.output[0]
        shifts = [f"{name}.shift{part}" for part in range(3)]
        nodes.append(helper.make_node("Split", [node.input[3], "test.thirds"], shifts, axis=0))
        parts = []
        for part, order in enumerate(([1, 0, 2], [1, 2, 0], [1, 0, 2])):
            add("Add", [node.input[part], shifts[part]], f"{name}.biased{part}")
            add("Reshape", [f"{name}.biased{part}", "test.split"], f"{name}.heads{part}")
            parts.append(
                add("Transpose", [f"{name}.heads{part}"], f"{name}.part{part}", perm=order)
            )
        add("MatMul", parts[:2], f"{name}.products")
        add("Mul", [f"{name}.products", "test.scale"], f"{name}.scores")
        add("Where", ["test.same", f"{name}.scores", "test.far"], f"{name}.own")
        add("Softmax", [f"{name}.own"], f"{name}.shares", axis=-1)
        add("MatMul", [f"{name}.shares", parts[2]], f"{name}.context")
        add("Transpose", [f"{name}.context"], f"{name}.by_token", perm=[1, 0, 2])
        add("Reshape", [f"{name}.by_token", "test.join"], name)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_onnx_runtime_runs_all_of_the_packed_graph_but_its_attention(
    pooling: str, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_pooling(pooling, normalise=True)
    path = tiny_bert.folder / "packed.onnx"
    onnx.save(with_standard_attention(build("packed", tiny_bert)), path)
    session = BoundSession(open_session(path, "cpu"), "cpu")
    for lengths in ((3, MAX_TOKENS, 9, 2, 1), (1,), (MAX_TOKENS,) * 12, (2,) * 40):
        rows = random_rows(*lengths)
        actual = embed(session, layout_of("packed", pooling), rows)
        np.testing.assert_allclose(actual, reference(tiny_bert, rows, pooling), atol=1e-5)


def test_an_fp16_model_keeps_its_weights_once_for_both_graphs(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    folder = prepare_model(str(tiny_bert.folder), "fp16", tmp_path / "cache")
    manifest = Manifest.read(folder)
    assert manifest.precision == "fp16"
    assert set(manifest.files) == {"packed.onnx", "model.onnx", "weights.bin", "tokenizer.json"}
    rows = random_rows(3, MAX_TOKENS, 9, 2)
    expected = reference(tiny_bert, rows)
    for name, variant in (("packed.onnx", "packed"), ("model.onnx", "plain")):
        session = EvaluatedSession(onnx.load(folder / name))
        actual = embed(session, layout_of(variant), rows)
        assert cosine(actual, expected).min() >= 0.9995
        places = {
            constant.name: [entry.value for entry in constant.external_data]
            for constant in onnx.load(folder / name, load_external_data=False).graph.initializer
        }
        assert places["encoder.layer.0.output.dense.weight"][0] == "weights.bin"
    halves = sum(tensor.size * 2 for tensor in tiny_bert.tensors.values())
    pages = 4096 * len(tiny_bert.tensors)
    assert (folder / "weights.bin").stat().st_size < halves + pages


def test_weights_of_the_same_name_but_other_bytes_are_both_kept(tmp_path: Path) -> None:
    def model_of(value: float) -> onnx.ModelProto:
        array = np.full(2000, value, np.float32)
        graph = helper.make_graph(
            [helper.make_node("Identity", ["w"], ["o"])],
            "g",
            [],
            [helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, [2000])],
            [onnx.numpy_helper.from_array(array, "w")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])

    models = [model_of(1.0), model_of(2.0), model_of(1.0)]
    move_weights(models, tmp_path / "weights.bin")
    for index, (model, value) in enumerate(zip(models, (1.0, 2.0, 1.0), strict=True)):
        (tmp_path / f"{index}.onnx").write_bytes(model.SerializeToString())
        loaded = onnx.load(tmp_path / f"{index}.onnx")
        array = onnx.numpy_helper.to_array(loaded.graph.initializer[0])
        np.testing.assert_array_equal(array, value)


def test_weights_too_large_for_fp16_are_refused_by_name(tiny_bert: TinyBert) -> None:
    tiny_bert.tensors["encoder.layer.1.output.dense.bias"][3] = 1e5
    with pytest.raises(UnsupportedModelError, match=r"layer\.1\.output\.dense\.bias .*'fp32'"):
        build("packed", tiny_bert, "fp16")


def test_the_real_model_without_padding_is_near_its_fp32_vectors(exact_model_folder: Path) -> None:
    """Two short texts: the evaluator is slow."""
    weights = resolve_source("default", cache_folder()).fetch()
    config: BertConfig = replace(read_config(weights))
    session = EvaluatedSession(
        build_packed(config, read_tensors(weights / "model.safetensors"), "fp16")
    )
    texts = ["Great coffee, would buy again!", "The battery died."]
    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.no_padding()
    rows = [np.array(tokenizer.encode(text).ids) for text in texts]
    actual = embed(session, PackedLayout(config.pad_id, config.pooling), rows)
    with OnnxEmbedder.load(exact_model_folder, threads=1, device="cpu") as embedder:
        assert cosine(actual, embedder.embed(texts)).min() >= 0.9999
