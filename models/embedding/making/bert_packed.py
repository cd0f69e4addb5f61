"""Writes a BERT encoder for GPUs, in fp16 or fp32: without padding, or padded.

No GPU has run these graphs yet. What has: the padded ones run on the CPU; the packed one is
evaluated by the reference evaluator of onnx, with ONNX Runtime's operators written out in numpy.

Packed (`build_packed`, for CUDA): the tokens of all texts follow one another, and nothing is
computed for padding. The inputs are made on the host (`models.embedding.batching`), so that
no operator of the graph waits for a number from the device:

=============================  ========  ==================  =====================================
input                          type      shape               meaning
=============================  ========  ==================  =====================================
``input_ids``                  int32     (tokens,)           token ids, text after text
``position_ids``               int32     (tokens,)           place of each token in its text
``token_offset``               int32     (texts, longest)    places in a padded batch: first those
                                                             of the tokens, then those of padding
``cumulative_sequence_length`` int32     (texts + 1,)        where each text begins
``token_grid``                 int32     (texts, longest)    index of each text's tokens, its last
                                                             repeated up to the longest
``token_mask``                 float32   (texts, 1, longest) 1 for a text's tokens, 0 beyond
=============================  ========  ==================  =====================================

The last two are only there for mean pooling. The output ``embedding`` is float32 (texts, hidden).

* Attention is ``PackedMultiHeadAttention``. With query, key and value apart it runs
  FlashAttention-2 over variable lengths for fp16, from compute capability 8.0 on; given them as one
  tensor, or to ``PackedAttention``, it does not below 513 tokens (packed_multihead_attention.cc).
  Its kernels want heads of a multiple of 8; 32 and 64 are the usual ones. The values of
  ``token_offset`` are read by the unfused kernel only, which is what fp32 below 256 tokens gets.
* ``SkipLayerNormalization`` adds the projection's bias and the residual and normalises in one
  kernel. (On the CPU it is the slow way, see `models.embedding.making.bert_graph`.)
* Pooling is a gather of each text's tokens and a product with its mask, in fp32. A text's sum takes
  in its own tokens alone, so neither the rounding nor a neighbour's infinity reaches it, as it
  would through one product with a (texts, tokens) selector. It costs texts times longest, which the
  batches keep below twice the tokens. ``ScatterND`` would cost the tokens alone, but adds in an
  order that changes from run to run.

Padded (`build_padded`): the inputs of `graph_writer.INPUTS`, right padding.

* Fused: ``Attention`` with the lengths as its mask, ``SkipLayerNormalization``, ``BiasGelu``.
* Not fused: operators of the ONNX standard alone. TensorRT fuses those by itself and knows none of
  ONNX Runtime's own; the CPU runs them too, fp16 by way of fp32.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.embedding.errors import UnsupportedModelError
from models.embedding.making.graph_writer import (
    CONTRIB,
    QKV,
    BertWriter,
    TableFile,
    Weights,
    in_parts,
)
from models.embedding.making.pretrained import BertConfig
from models.embedding.manifest import Precision

MASKED = -10_000.0
"""Added to the scores of padding: its softmax is then 0 in fp16 too, which can hold it."""

_BUT_THE_LAST = (("from", 0), ("to", -1))
_MASK_AXES = (("row", 1), ("token", 2))


def build_packed(
    config: BertConfig,
    tensors: Mapping[str, NDArray[np.float32]],
    precision: Precision,
    beside: TableFile | None = None,
) -> onnx.ModelProto:
    """Write the graph that takes texts without padding.

    The same weights give the same bytes, on any machine. A word table that is too large for the
    graph goes to the file `beside`.

    Raises
    ------
    UnsupportedModelError
        If a weight is missing, not of the shape that `config` says, or too large for fp16.
    """
    graph = _Graph(config, tensors, precision, beside)
    words = graph.words()
    places = graph.number("places.table", graph.weights.positions + graph.weights.token_types[0])
    graph.add("Gather", [words, "input_ids"], "words")
    graph.add("Gather", [places, "position_ids"], "places")
    hidden = graph.fused_norm("words", "places", "embeddings")
    for layer in range(config.layers):
        hidden = graph.fused_layer(hidden, layer, graph.packed_attention)
    if config.pooling == "cls":
        bounds = [graph.constant(f"starts.{end}", np.array([at])) for end, at in _BUT_THE_LAST]
        graph.add("Slice", ["cumulative_sequence_length", *bounds], "starts")
        graph.add("Gather", [hidden, "starts"], "first_tokens")
        graph.single("first_tokens", "pooled")
    else:
        graph.add("Gather", [hidden, "token_grid"], "tokens_of_texts")
        graph.single("tokens_of_texts", "tokens_of_texts.fp32")
        graph.mean("tokens_of_texts.fp32")
    graph.unit_length()
    return graph.model(config.hidden, _packed_inputs(config))


def build_padded(
    config: BertConfig,
    tensors: Mapping[str, NDArray[np.float32]],
    precision: Precision,
    *,
    fused: bool,
    beside: TableFile | None = None,
) -> onnx.ModelProto:
    """Write the graph that takes texts padded on the right.

    Parameters
    ----------
    config, tensors, precision
        The model; ``fp16`` or ``fp32``.
    fused
        With ONNX Runtime's own operators, for CUDA. Otherwise with the standard's alone, for
        TensorRT.
    beside
        The file for a word table that is too large for the graph.

    Raises
    ------
    UnsupportedModelError
        As `build_packed`.
    """
    graph = _Graph(config, tensors, precision, beside)
    words = graph.words()
    positions = graph.number("positions.table", graph.weights.positions)
    types = graph.number("types.table", graph.weights.token_types)
    graph.constant("last_axis", np.array([-1]))
    graph.constant("sequence_axis", np.array([1]))
    graph.add("Gather", [words, "input_ids"], "words")
    graph.add("Shape", ["input_ids"], "sequence_length", start=1, end=2)
    start = graph.constant("positions.start", np.array([0]))
    graph.add("Slice", [positions, start, "sequence_length"], "positions")
    graph.add("Gather", [types, "token_type_ids"], "types")
    graph.add("Add", ["words", "positions"], "words_at_positions")
    hidden = graph.norm("words_at_positions", "types", "embeddings")
    if fused:
        graph.add("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
        graph.add("ReduceSum", ["mask_int32", "sequence_axis"], "text_lengths", keepdims=0)
    else:
        _additive_mask(graph)
    for layer in range(config.layers):
        if fused:
            hidden = graph.fused_layer(hidden, layer, graph.fused_attention)
        else:
            hidden = graph.plain_layer(hidden, layer)
    if config.pooling == "cls":
        graph.add("Gather", [hidden, graph.constant("first", np.array(0))], "first_tokens", axis=1)
        graph.single("first_tokens", "pooled")
    else:
        graph.single(hidden, "tokens.fp32")
        graph.add("Cast", ["attention_mask"], "mask_fp32", to=TensorProto.FLOAT)
        graph.add("Unsqueeze", ["mask_fp32", "sequence_axis"], "token_mask")
        graph.mean("tokens.fp32")
    graph.unit_length()
    return graph.model(config.hidden)


def _additive_mask(graph: "_Graph") -> None:
    """``scores_mask``, (texts, 1, 1, sequence): 0 where there is a token, `MASKED` where not."""
    axes = graph.constant("head_and_query_axes", np.array([1, 2]))
    graph.add("Cast", ["attention_mask"], "mask_number", to=graph.element)
    graph.add("Sub", [graph.scalar("one", 1.0), "mask_number"], "padding")
    graph.add("Mul", ["padding", graph.scalar("masked", MASKED)], "padding_scores")
    graph.add("Unsqueeze", ["padding_scores", axes], "scores_mask")


def _packed_inputs(config: BertConfig) -> list[onnx.ValueInfoProto]:
    integers: dict[str, list[Any]] = {
        "input_ids": ["tokens"],
        "position_ids": ["tokens"],
        "token_offset": ["texts", "longest"],
        "cumulative_sequence_length": ["texts_and_one"],
    }
    if config.pooling == "mean":
        integers["token_grid"] = ["texts", "longest"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, shape)
        for name, shape in integers.items()
    ]
    if config.pooling == "mean":
        mask: list[Any] = ["texts", 1, "longest"]
        inputs.append(helper.make_tensor_value_info("token_mask", TensorProto.FLOAT, mask))
    return inputs


class _Graph(BertWriter):
    """A graph of one precision, with the pieces that the packed and the padded share."""

    def __init__(
        self,
        config: BertConfig,
        tensors: Mapping[str, NDArray[np.float32]],
        precision: Precision,
        beside: TableFile | None,
    ) -> None:
        super().__init__(config, Weights(config, tensors), beside)
        self._precision = precision
        self._type = np.float16 if precision == "fp16" else np.float32
        self.element = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT

    def number(self, name: str, values: NDArray[np.float32]) -> str:
        """Keep weights in the graph's precision."""
        return self.constant(name, self._rounded(name, values))

    def words(self) -> str:
        """Keep the table of words in the graph's precision, in the graph or beside it."""
        parts = in_parts(self.weights.words)
        return self.table("words.table", (self._rounded("words.table", part) for part in parts))

    def _rounded(self, name: str, values: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # told by the error below
            rounded = values.astype(self._type)
        if not np.isfinite(rounded).all():
            raise UnsupportedModelError(
                f"weight {name} has values beyond {np.finfo(self._type).max:.0f}, which "
                f"{self._precision} cannot hold; use precision 'fp32'."
            )
        return rounded

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, self._type))

    def dense(self, rows: str, name: str, inputs: int, outputs: int) -> str:
        """Multiply by a layer's weight; its bias is left to the next operator."""
        weight = self.number(f"{name}.weight", self.weights.dense(name, inputs, outputs))
        return self.add("MatMul", [rows, weight], f"{name}.product")

    def bias(self, name: str, size: int) -> str:
        return self.number(f"{name}.bias", self.weights.bias(name, size))

    def fused_norm(self, rows: str, skip: str, name: str, *bias: str) -> str:
        """``LayerNorm(rows + bias + skip)`` in one kernel."""
        return self.add(
            "SkipLayerNormalization",
            [rows, skip, *self._scale_and_shift(name), *bias],
            f"{name}.norm",
            domain=CONTRIB,
            epsilon=self._config.epsilon,
        )

    def norm(self, rows: str, skip: str, name: str) -> str:
        """``LayerNorm(rows + skip)`` with operators of the standard."""
        self.add("Add", [rows, skip], f"{name}.sum")
        inputs = [f"{name}.sum", *self._scale_and_shift(name)]
        epsilon = self._config.epsilon
        return self.add("LayerNormalization", inputs, f"{name}.norm", axis=-1, epsilon=epsilon)

    def _scale_and_shift(self, name: str) -> tuple[str, str]:
        scale, shift = self.weights.norm(name)
        return self.number(f"{name}.norm.scale", scale), self.number(f"{name}.norm.shift", shift)

    def fused_layer(self, hidden: str, layer: int, attention: Any) -> str:
        """One encoder block of ONNX Runtime's operators."""
        name, size, inner = f"encoder.layer.{layer}", self._config.hidden, self._config.intermediate
        block = f"{name}.attention"
        projected = self.dense(attention(hidden, block), f"{block}.output.dense", size, size)
        bias = self.bias(f"{block}.output.dense", size)
        hidden = self.fused_norm(projected, hidden, f"{block}.output", bias)
        wide = self.dense(hidden, f"{name}.intermediate.dense", size, inner)
        bias = self.bias(f"{name}.intermediate.dense", inner)
        active = self.add("BiasGelu", [wide, bias], f"{name}.gelu", domain=CONTRIB)
        narrow = self.dense(active, f"{name}.output.dense", inner, size)
        bias = self.bias(f"{name}.output.dense", size)
        return self.fused_norm(narrow, hidden, f"{name}.output", bias)

    def packed_attention(self, hidden: str, block: str) -> str:
        size = self._config.hidden
        parts = [self.dense(hidden, f"{block}.self.{part}", size, size) for part in QKV]
        bias = self._qkv_bias(block)
        return self.add(
            "PackedMultiHeadAttention",
            [*parts, bias, "token_offset", "cumulative_sequence_length"],
            block,
            domain=CONTRIB,
            num_heads=self._config.heads,
        )

    def fused_attention(self, hidden: str, block: str) -> str:
        size = self._config.hidden
        parts = [self.weights.dense(f"{block}.self.{part}", size, size) for part in QKV]
        weight = self.number(f"{block}.weight", np.concatenate(parts, axis=1))
        inputs = [hidden, weight, self._qkv_bias(block), "text_lengths"]
        heads = self._config.heads
        return self.add("Attention", inputs, block, domain=CONTRIB, num_heads=heads)

    def _qkv_bias(self, block: str) -> str:
        parts = [self.weights.bias(f"{block}.self.{part}", self._config.hidden) for part in QKV]
        return self.number(f"{block}.bias", np.concatenate(parts))

    def plain_layer(self, hidden: str, layer: int) -> str:
        """One encoder block of the standard's operators."""
        name, size, inner = f"encoder.layer.{layer}", self._config.hidden, self._config.intermediate
        block = f"{name}.attention"
        attended = self._plain_attention(hidden, block)
        projected = self._biased(attended, f"{block}.output.dense", size, size)
        hidden = self.norm(projected, hidden, f"{block}.output")
        wide = self._biased(hidden, f"{name}.intermediate.dense", size, inner)
        active = self._gelu(wide, f"{name}.gelu")
        narrow = self._biased(active, f"{name}.output.dense", inner, size)
        return self.norm(narrow, hidden, f"{name}.output")

    def _biased(self, rows: str, name: str, inputs: int, outputs: int) -> str:
        product = self.dense(rows, name, inputs, outputs)
        return self.add("Add", [product, self.bias(name, outputs)], f"{name}.output")

    def _gelu(self, rows: str, name: str) -> str:
        """GELU with the exact error function; the standard has it as one operator from 20 on."""
        self.add("Div", [rows, self.scalar(f"{name}.root_of_two", math.sqrt(2))], f"{name}.scaled")
        self.add("Erf", [f"{name}.scaled"], f"{name}.erf")
        self.add("Add", [f"{name}.erf", self.scalar(f"{name}.one", 1.0)], f"{name}.erf_and_one")
        self.add("Mul", [rows, f"{name}.erf_and_one"], f"{name}.twice")
        return self.add("Mul", [f"{name}.twice", self.scalar(f"{name}.half", 0.5)], name)

    def _plain_attention(self, hidden: str, block: str) -> str:
        config = self._config
        size, heads, width = config.hidden, config.heads, config.hidden // config.heads
        split = self.constant(f"{block}.split", np.array([0, 0, heads, width]))
        join = self.constant(f"{block}.join", np.array([0, 0, size]))
        parts = []
        for part, order in zip(QKV, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True):
            name = f"{block}.self.{part}"
            rows = self._biased(hidden, name, size, size)
            self.add("Reshape", [rows, split], f"{name}.heads")
            parts.append(self.add("Transpose", [f"{name}.heads"], f"{name}.by_head", perm=order))
        query, key, value = parts
        scale = self.scalar(f"{block}.scale", 1 / math.sqrt(width))
        self.add("Mul", [query, scale], f"{block}.scaled_query")
        self.add("MatMul", [f"{block}.scaled_query", key], f"{block}.scores")
        self.add("Add", [f"{block}.scores", "scores_mask"], f"{block}.masked_scores")
        self.add("Softmax", [f"{block}.masked_scores"], f"{block}.shares", axis=-1)
        self.add("MatMul", [f"{block}.shares", value], f"{block}.context")
        self.add("Transpose", [f"{block}.context"], f"{block}.by_token", perm=[0, 2, 1, 3])
        return self.add("Reshape", [f"{block}.by_token", join], block)

    def single(self, rows: str, output: str) -> str:
        """Cast to fp32, which pooling and the length are computed in."""
        return self.add("Cast", [rows], output, to=TensorProto.FLOAT)

    def mean(self, rows: str) -> None:
        """``pooled``: the mean of `rows`, (texts, longest, hidden), under ``token_mask``."""
        self.add("MatMul", ["token_mask", rows], "token_sum")
        axes = [self.constant(f"{name}_axis", np.array([at])) for name, at in _MASK_AXES]
        self.add("ReduceSum", ["token_mask", axes[1]], "token_count", keepdims=1)
        self.add("Div", ["token_sum", "token_count"], "token_mean")
        self.add("Squeeze", ["token_mean", axes[0]], "pooled")

    def unit_length(self) -> None:
        """Write the output: ``pooled``, of length one if the model says so."""
        axis = ""
        if self._config.normalise:
            axis = self.constant("hidden_axis", np.array([-1]))
        self.write_output(axis)
