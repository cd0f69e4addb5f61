"""Writes a BERT encoder as an fp32 ONNX graph straight from its weights: no torch, no tracing.

Inputs ``input_ids``, ``attention_mask``, ``token_type_ids``: int64 (batch, sequence), padded on the
right. Output ``embedding``: float32 (batch, hidden), pooled and, if the model says so, of length
one. Bringing one pooled vector back from the device instead of every token's is part of the point.

Which operators, and why:

* Attention is ONNX Runtime's fused ``Attention``, the activation its ``BiasGelu``, with the exact
  error function.
* Normalisation is ``Add`` and ``LayerNormalization`` rather than the fused
  ``SkipLayerNormalization``: on the CPU the fused kernel is six times slower than the two
  (1.31). On a GPU, ONNX Runtime fuses them again by itself when all optimisations are on.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from models.embedding.making.graph_writer import CONTRIB, GraphWriter, Weights
from models.embedding.making.pretrained import BertConfig
from models.embedding.manifest import OUTPUT


def build_bert(config: BertConfig, tensors: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Write the graph of a BERT encoder with its pooling.

    The same weights give the same bytes, on any machine.

    Raises
    ------
    UnsupportedModelError
        If a weight is missing or not of the shape that `config` says.
    """
    graph = GraphWriter()
    weights = Weights(tensors)
    graph.constant("last_axis", np.array([-1]))
    graph.constant("sequence_axis", np.array([1]))
    hidden = _embeddings(graph, weights, config)
    graph.add("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
    graph.add("ReduceSum", ["mask_int32", "sequence_axis"], "text_lengths", keepdims=0)
    for layer in range(config.layers):
        hidden = _layer(graph, weights, config, hidden, layer)
    pooled = _pooling(graph, config, hidden)
    write_output(graph, config, pooled, "last_axis")
    return graph.model(config.hidden)


def _embeddings(graph: GraphWriter, weights: Weights, config: BertConfig) -> str:
    """Token, position and type embeddings, summed and normalised: (batch, sequence, hidden)."""
    words = weights("embeddings.word_embeddings.weight", config.vocabulary, config.hidden)
    positions = weights("embeddings.position_embeddings.weight", config.positions, config.hidden)
    types = weights("embeddings.token_type_embeddings.weight", config.token_types, config.hidden)
    graph.add("Gather", [graph.constant("words.table", words), "input_ids"], "words")
    graph.add("Shape", ["input_ids"], "sequence_length", start=1, end=2)
    table = graph.constant("positions.table", positions)
    start = graph.constant("positions.start", np.array([0]))
    graph.add("Slice", [table, start, "sequence_length"], "positions")
    graph.add("Gather", [graph.constant("types.table", types), "token_type_ids"], "types")
    graph.add("Add", ["words", "positions"], "words_at_positions")
    graph.add("Add", ["words_at_positions", "types"], "embeddings.sum")
    return layer_norm(graph, weights, config, "embeddings.sum", "embeddings")


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
    hidden = layer_norm(graph, weights, config, f"{block}.sum", f"{block}.output")

    wide = weights.dense(f"{name}.intermediate.dense", size, inner)
    bias = weights(f"{name}.intermediate.dense.bias", inner)
    widened = _product(graph, f"{name}.intermediate.dense", hidden, wide)
    shift = graph.constant(f"{name}.intermediate.dense.bias", bias)
    active = graph.add("BiasGelu", [widened, shift], f"{name}.gelu", domain=CONTRIB)

    narrow = weights.dense(f"{name}.output.dense", inner, size)
    bias = weights(f"{name}.output.dense.bias", size)
    narrowed = _product(graph, f"{name}.output.dense", active, narrow, bias=bias)
    graph.add("Add", [narrowed, hidden], f"{name}.sum")
    return layer_norm(graph, weights, config, f"{name}.sum", f"{name}.output")


def _attention(
    graph: GraphWriter, weights: Weights, config: BertConfig, hidden: str, block: str
) -> str:
    """Multi-head self-attention over the tokens that the mask keeps, before its projection."""
    size, parts = config.hidden, [f"{block}.self.{part}" for part in ("query", "key", "value")]
    weight = np.concatenate([weights.dense(part, size, size) for part in parts], axis=1)
    bias = graph.constant(
        f"{block}.bias", np.concatenate([weights(f"{part}.bias", size) for part in parts])
    )
    table = graph.constant(f"{block}.weight", weight)
    inputs = [hidden, table, bias, "text_lengths"]
    return graph.add("Attention", inputs, block, num_heads=config.heads, domain=CONTRIB)


def _product(
    graph: GraphWriter,
    name: str,
    rows: str,
    weight: NDArray[np.float32],
    *,
    bias: NDArray[np.float32] | None = None,
) -> str:
    """``rows @ weight + bias``; without a bias where the next operator adds it."""
    output = name if bias is None else f"{name}.product"
    graph.add("MatMul", [rows, graph.constant(f"{name}.weight", weight)], output)
    if bias is None:
        return output
    return graph.add("Add", [output, graph.constant(f"{name}.bias", bias)], name)


def layer_norm(
    graph: GraphWriter, weights: Weights, config: BertConfig, rows: str, name: str
) -> str:
    """Normalise rows with the scale and shift of `name`."""
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
    # A product, since ReduceSum adds one text's tokens in another order than several texts'.
    graph.add("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["mask_float", "sequence_axis"], "mask")
    graph.add("MatMul", ["mask", hidden], "kept_sums")
    graph.add("Squeeze", ["kept_sums", "sequence_axis"], "kept_sum")
    graph.add("ReduceSum", ["mask_float", "last_axis"], "kept_count", keepdims=1)
    return graph.add("Div", ["kept_sum", "kept_count"], "pooled")


def write_output(graph: GraphWriter, config: BertConfig, pooled: str, axis: str) -> None:
    """Write the graph's output: pooled vectors, along `axis` of length one if the model says so."""
    if not config.normalise:
        graph.add("Identity", [pooled], OUTPUT)
        return
    graph.add("ReduceL2", [pooled, axis], "length", keepdims=1)
    least = graph.constant("least_length", np.array(1e-12, np.float32))  # as torch's normalize
    graph.add("Max", ["length", least], "safe_length")
    graph.add("Div", [pooled, "safe_length"], OUTPUT)
