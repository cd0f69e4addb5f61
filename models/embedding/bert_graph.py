"""Writes a BERT encoder as an ONNX graph straight from its weights: no torch, no tracing.

Inputs ``input_ids``, ``attention_mask``, ``token_type_ids``: int64 (batch, sequence), padded on the
right. Output ``embedding``: float32 (batch, hidden), pooled and, if the model says so, of length
one. Bringing one pooled vector back from the device instead of every token's is part of the point.

Which operators, and why:

* Attention is ONNX Runtime's fused ``Attention`` (``QAttention`` in int8), the activation its
  ``BiasGelu``, with the exact error function.
* Normalisation is ``Add`` and ``LayerNormalization`` rather than the fused
  ``SkipLayerNormalization``: on the CPU the fused kernel is six times slower than the two
  (1.31). On a GPU, ONNX Runtime fuses them again by itself when all optimisations are on.

How int8 works: weights are quantised here, activations at run time by ``DynamicQuantizeMatMul``,
which takes one scale for all it is given. Two things follow.

* Texts must not share a run, or they would share a scale, and a text's vector would depend on its
  neighbours.
* BERT puts values of up to eighty standard deviations into one channel of the first token
  (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948), and one scale for the text rounds
  every other token away. So the two feed-forward products are given rows divided by their largest
  value, and multiply it back: a scale for each token, at the cost of a few passes. On
  all-MiniLM-L6-v2 it lowers the mean of 1 - cosine to fp32 from 0.0065 to 0.0018.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from models.embedding.checkpoint import BertConfig
from models.embedding.graph_writer import CONTRIB, OUTPUT, GraphWriter, Precision, Weights
from models.embedding.quantize import quantize_symmetric

_GELU_FLOOR = 0.17
"""GELU is never below -0.17, so a row's largest value, or this, bounds the row's magnitude."""


def build_bert(
    config: BertConfig, tensors: Mapping[str, NDArray[np.float32]], precision: Precision
) -> onnx.ModelProto:
    """Write the graph of a BERT encoder with its pooling.

    The same weights give the same bytes, on any machine.

    Raises
    ------
    UnsupportedModelError
        If a weight is missing or not of the shape that `config` says.
    """
    graph = GraphWriter(precision)
    weights = Weights(tensors)
    graph.constant("last_axis", np.array([-1]))
    graph.constant("sequence_axis", np.array([1]))
    hidden = _embeddings(graph, weights, config)
    graph.add("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
    graph.add("ReduceSum", ["mask_int32", "sequence_axis"], "text_lengths", keepdims=0)
    for layer in range(config.layers):
        hidden = _layer(graph, weights, config, hidden, layer)
    pooled = _pooling(graph, config, hidden)
    if config.normalise:
        _unit_length(graph, pooled)
    else:
        graph.add("Identity", [pooled], OUTPUT)
    return graph.model(config.hidden)


def _embeddings(graph: GraphWriter, weights: Weights, config: BertConfig) -> str:
    """Token, position and type embeddings, summed and normalised: (batch, sequence, hidden)."""
    words = weights("embeddings.word_embeddings.weight", config.vocabulary, config.hidden)
    positions = weights("embeddings.position_embeddings.weight", config.positions, config.hidden)
    types = weights("embeddings.token_type_embeddings.weight", config.token_types, config.hidden)
    if graph.precision == "int8":  # half of a small model's size is here, and nothing is lost
        quantised, scale = quantize_symmetric(words, axis=1)
        table = graph.constant("words.quantised", quantised)
        scales = graph.constant("words.scale", scale)
        graph.add("Gather", [table, "input_ids"], "words.steps")
        graph.add("Cast", ["words.steps"], "words.steps_float", to=TensorProto.FLOAT)
        graph.add("Gather", [scales, "input_ids"], "words.step")
        graph.add("Mul", ["words.steps_float", "words.step"], "words")
    else:
        graph.add("Gather", [graph.constant("words.table", words), "input_ids"], "words")
    graph.add("Shape", ["input_ids"], "sequence_length", start=1, end=2)
    table = graph.constant("positions.table", positions)
    start = graph.constant("positions.start", np.array([0]))
    graph.add("Slice", [table, start, "sequence_length"], "positions")
    graph.add("Gather", [graph.constant("types.table", types), "token_type_ids"], "types")
    graph.add("Add", ["words", "positions"], "words_at_positions")
    graph.add("Add", ["words_at_positions", "types"], "embeddings.sum")
    return _layer_norm(graph, weights, config, "embeddings.sum", "embeddings")


def _layer(
    graph: GraphWriter, weights: Weights, config: BertConfig, hidden: str, layer: int
) -> str:
    """One encoder block: attention, then feed-forward, each added to its input and normalised."""
    name, size, inner = f"encoder.layer.{layer}", config.hidden, config.intermediate
    block = f"{name}.attention"
    attended = _attention(graph, weights, config, hidden, block)
    projection = weights.dense(f"{block}.output.dense", size, size)
    bias = weights(f"{block}.output.dense.bias", size)
    projected = _product(graph, f"{block}.output.dense", attended, projection, bias=bias)
    graph.add("Add", [projected, hidden], f"{block}.sum")
    hidden = _layer_norm(graph, weights, config, f"{block}.sum", f"{block}.output")

    wide = weights.dense(f"{name}.intermediate.dense", size, inner)
    bias = weights(f"{name}.intermediate.dense.bias", inner)
    row_size = _row_magnitude(graph, hidden, f"{name}.intermediate")
    widened = _product(graph, f"{name}.intermediate.dense", hidden, wide, row_size=row_size)
    shift = graph.constant(f"{name}.intermediate.dense.bias", bias)
    active = graph.add("BiasGelu", [widened, shift], f"{name}.gelu", domain=CONTRIB)

    narrow = weights.dense(f"{name}.output.dense", inner, size)
    bias = weights(f"{name}.output.dense.bias", size)
    row_size = _row_magnitude(graph, active, f"{name}.output", floor=_GELU_FLOOR)
    narrowed = _product(graph, f"{name}.output.dense", active, narrow, bias=bias, row_size=row_size)
    graph.add("Add", [narrowed, hidden], f"{name}.sum")
    return _layer_norm(graph, weights, config, f"{name}.sum", f"{name}.output")


def _attention(
    graph: GraphWriter, weights: Weights, config: BertConfig, hidden: str, block: str
) -> str:
    """Multi-head self-attention over the tokens that the mask keeps, before its projection."""
    size, parts = config.hidden, [f"{block}.self.{part}" for part in ("query", "key", "value")]
    weight = np.concatenate([weights.dense(part, size, size) for part in parts], axis=1)
    bias = graph.constant(
        f"{block}.bias", np.concatenate([weights(f"{part}.bias", size) for part in parts])
    )
    heads: dict[str, Any] = {"num_heads": config.heads, "domain": CONTRIB}
    if graph.precision == "fp32":
        table = graph.constant(f"{block}.weight", weight)
        return graph.add("Attention", [hidden, table, bias, "text_lengths"], block, **heads)
    steps, step, zero = (f"{block}.input_{part}" for part in ("steps", "step", "zero"))
    graph.add("DynamicQuantizeLinear", [hidden], steps, step, zero)
    table, scale, weight_zero = _quantised(graph, block, weight)
    inputs = [steps, table, bias, step, scale, "text_lengths", zero, weight_zero]
    return graph.add("QAttention", inputs, block, **heads)


def _product(
    graph: GraphWriter,
    name: str,
    rows: str,
    weight: NDArray[np.float32],
    *,
    bias: NDArray[np.float32] | None = None,
    row_size: str | None = None,
) -> str:
    """``rows @ weight + bias``; in int8 with rows divided by `row_size` and multiplied back."""
    output = name if bias is None else f"{name}.product"
    if graph.precision == "fp32":
        graph.add("MatMul", [rows, graph.constant(f"{name}.weight", weight)], output)
    elif row_size is None:
        graph.add(
            "DynamicQuantizeMatMul",
            [rows, *_quantised(graph, name, weight)],
            output,
            domain=CONTRIB,
        )
    else:
        graph.add("Reciprocal", [row_size], f"{name}.row_factor")
        even = graph.add("Mul", [rows, f"{name}.row_factor"], f"{name}.even_rows")
        inputs = [even, *_quantised(graph, name, weight)]
        graph.add("DynamicQuantizeMatMul", inputs, f"{name}.even_product", domain=CONTRIB)
        graph.add("Mul", [f"{name}.even_product", row_size], output)
    if bias is None:
        return output
    return graph.add("Add", [output, graph.constant(f"{name}.bias", bias)], name)


def _row_magnitude(
    graph: GraphWriter, rows: str, name: str, floor: float | None = None
) -> str | None:
    """Bound each row's magnitude: positive, (batch, sequence, 1); fp32 needs none.

    With a `floor` that bounds the negative values already, their magnitudes are not looked at.
    """
    if graph.precision == "fp32":
        return None
    if floor is None:
        floor = float(np.finfo(np.float32).tiny)  # only keeps a row of zeros from dividing by zero
        rows = graph.add("Abs", [rows], f"{name}.magnitudes")
    graph.add("ReduceMax", [rows, "last_axis"], f"{name}.largest", keepdims=1)
    least = graph.constant(f"{name}.floor", np.array(floor, np.float32))
    return graph.add("Max", [f"{name}.largest", least], f"{name}.row_size")


def _quantised(graph: GraphWriter, name: str, weight: NDArray[np.float32]) -> tuple[str, str, str]:
    """Constants of an int8 weight, (inputs, outputs), with a scale for each output."""
    quantised, scale = quantize_symmetric(weight, axis=0)
    return (
        graph.constant(f"{name}.quantised", quantised),
        graph.constant(f"{name}.scale", scale[0]),
        graph.constant(f"{name}.zero", np.zeros(scale.size, np.int8)),
    )


def _layer_norm(
    graph: GraphWriter, weights: Weights, config: BertConfig, rows: str, name: str
) -> str:
    scale = graph.constant(f"{name}.norm.scale", weights(f"{name}.LayerNorm.weight", config.hidden))
    shift = graph.constant(f"{name}.norm.shift", weights(f"{name}.LayerNorm.bias", config.hidden))
    return graph.add(
        "LayerNormalization", [rows, scale, shift], f"{name}.norm", axis=-1, epsilon=config.epsilon
    )


def _pooling(graph: GraphWriter, config: BertConfig, hidden: str) -> str:
    """One vector a text: the first token's, or the mean of the tokens that the mask keeps."""
    if config.pooling == "cls":
        first = graph.constant("first_token", np.array(0))
        return graph.add("Gather", [hidden, first], "pooled", axis=1)
    graph.add("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["mask_float", "last_axis"], "mask")
    graph.add("Mul", [hidden, "mask"], "kept")
    graph.add("ReduceSum", ["kept", "sequence_axis"], "kept_sum", keepdims=0)
    graph.add("ReduceSum", ["mask", "sequence_axis"], "kept_count", keepdims=0)
    return graph.add("Div", ["kept_sum", "kept_count"], "pooled")


def _unit_length(graph: GraphWriter, pooled: str) -> None:
    graph.add("ReduceL2", [pooled, "last_axis"], "length", keepdims=1)
    least = graph.constant("least_length", np.array(1e-12, np.float32))  # as torch's normalize
    graph.add("Max", ["length", least], "safe_length")
    graph.add("Div", [pooled, "safe_length"], OUTPUT)
