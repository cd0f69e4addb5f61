"""Writes a BERT encoder as an int8 graph for CPUs: fixed scales, no padding, exact neighbours.

Input ``input_ids``: int64 (batch, sequence), texts of one length. Output as in
`models.embedding.making.bert_graph`. There is no mask, because there is nothing to mask: texts of
other lengths go into other runs. Every step works on a token or a text by itself with scales that
were fixed when the model was made, so a text's vector does not depend on its neighbours by a single
bit.

Products are ``MatMulIntegerToFloat``: uint8 activations, int8 weights with a scale for each output,
sums in 32 bits, and the bias in the same pass. ONNX Runtime runs them on VNNI and AMX units.
Fixed scales save the passes that scales found at run time cost (the largest value of each token,
dividing by it, multiplying back), which take a third of the time of all that is not a product.
What makes them good enough:

* Ranges are measured for each channel on sample texts (`models.embedding.making.calibration`), and
  channels with large values hand a part of their size on to their weights (SmoothQuant, Xiao et al.
  2023, https://arxiv.org/abs/2211.10438). Of the attention's output that is free: the values'
  weights take it. Of the normalised activations it costs one multiplication.
* A few neurons of the feed-forward blocks get values of five times all others', mostly at the
  first token (Bondarenko et al. 2021, https://arxiv.org/abs/2109.12948). The widest of each block
  are multiplied in fp32 beside the others (as in LLM.int8(), Dettmers et al. 2022,
  https://arxiv.org/abs/2208.07339), so the others have a range of their own.

GELU is never below -0.17, so its uint8 has nearly all of its steps above zero.

Attention is the ``Attention`` of ONNX 23, which on a CPU reads heads where they lie: a fifth faster
than ONNX Runtime's own ``MultiHeadAttention``, and with long texts twice as fast as ``QAttention``
(1.31).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.embedding.making.calibration import Floats, LayerRanges, round_up
from models.embedding.making.graph_writer import (
    CONTRIB,
    QKV,
    BertWriter,
    TableFile,
    Weights,
    in_parts,
)
from models.embedding.making.pretrained import BertConfig

OPSET = 23
"""The first with an ``Attention`` of its own."""

INPUT = "input_ids"

_MIDDLE = 128
"""The uint8 that stands for zero where values have both signs."""

_GELU_LEAST = 0.17
"""GELU's smallest value is -0.16997."""

_LEAST_WEIGHT = 1e-6
"""What a channel's weights count as that are all zero: any factor suits them."""


_INT8_LIMIT = np.float32(127.0)  # -128 stays unused, which keeps the zero point at 0


@dataclass(frozen=True)
class Int8Recipe:
    """What of a model is quantised, and how: points on the curve of speed against fidelity.

    Parameters
    ----------
    smoothing
        Share of a channel's size that goes to its weights, 0 to 1; SmoothQuant's alpha. 0 is none.
    outlier_neurons
        Neurons of each feed-forward block that are multiplied in fp32.
    float_layers
        So many of the first blocks stay in fp32 altogether.
    """

    smoothing: float = 0.75
    outlier_neurons: int = 16
    float_layers: int = 0


def build_int8(
    config: BertConfig,
    weights: Weights,
    ranges: Sequence[LayerRanges],
    recipe: Int8Recipe | None = None,
    beside: TableFile | None = None,
) -> onnx.ModelProto:
    """Write the int8 graph of a BERT encoder with its pooling.

    The same arguments give the same bytes, on any machine.

    Parameters
    ----------
    config, weights
        The encoder.
    ranges
        What `measure_ranges` gave for each block.
    recipe
        What is quantised, by default all that `Int8Recipe` says.
    beside
        The file for a word table that is too large for the graph.

    Raises
    ------
    UnsupportedModelError
        If a weight is missing or not of the shape that `config` says.
    """
    return _Builder(config, weights, recipe or Int8Recipe(), beside).build(ranges)


@dataclass(frozen=True)
class _Steps:
    """How values become uint8: ``value / size + zero``, rounded and kept within 0 to 255."""

    size: float
    zero: int

    @classmethod
    def of_gelu(cls, largest: float) -> Self:
        """Span GELU's least value to the largest that was measured."""
        size = (largest + _GELU_LEAST) / 255
        return cls(size, round(_GELU_LEAST / size))

    @classmethod
    def even(cls, largest: Floats) -> Self:
        """Span values of both signs, given each channel's largest magnitude."""
        return cls(float(largest.max()) / 127, _MIDDLE)


class _Builder(BertWriter):
    def __init__(
        self, config: BertConfig, weights: Weights, recipe: Int8Recipe, beside: TableFile | None
    ) -> None:
        super().__init__(config, weights, beside)
        self._recipe = recipe

    def build(self, ranges: Sequence[LayerRanges]) -> onnx.ModelProto:
        self.constant("last_axis", np.array([-1]))
        self.constant("sequence_axis", np.array([1]))
        hidden = self._embeddings()
        for layer, measured in enumerate(ranges):
            quantised = measured if layer >= self._recipe.float_layers else None
            hidden = self._attention(f"encoder.layer.{layer}", hidden, quantised)
            hidden = self._feed_forward(f"encoder.layer.{layer}", hidden, quantised)
        if self._config.pooling == "cls":
            self.pool_first(hidden)
        else:
            self._mean(hidden)
        self.write_output("last_axis")
        token_ids = helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["batch", "sequence"])
        return self.model(self._config.hidden, [token_ids], opset=OPSET)

    def _embeddings(self) -> str:
        """Token and position embeddings, normalised.

        The type is always the first, so it is added to the positions beforehand.
        """
        weights = self.weights
        # Half of a small model's size.
        steps: list[NDArray[np.float32]] = []

        def quantised() -> Iterator[NDArray[np.int8]]:
            for part in in_parts(weights.words):
                values, scale = quantize_symmetric(part, axis=1)
                steps.append(scale)
                yield values

        table = self.table("words.quantised", quantised())
        scales = self.constant("words.scale", np.concatenate(steps))
        self.add("Gather", [table, INPUT], "words.steps")
        self.add("Cast", ["words.steps"], "words.steps_float", to=TensorProto.FLOAT)
        self.add("Gather", [scales, INPUT], "words.step")
        self.add("Mul", ["words.steps_float", "words.step"], "words")
        self.add("Shape", [INPUT], "sequence_length", start=1, end=2)
        table = self.constant("positions.table", weights.positions + weights.token_types[0])
        start = self.constant("positions.start", np.array([0]))
        self.add("Slice", [table, start, "sequence_length"], "positions")
        self.add("Add", ["words", "positions"], "embeddings.sum")
        return self.layer_norm("embeddings.sum", "embeddings")

    def _mean(self, hidden: str) -> None:
        """Average the tokens of each text.

        As a product: ReduceMean adds one text's tokens in another order than several texts'.
        """
        one_row = self.constant("one_row", np.array([1, 1]))
        self.add("Concat", [one_row, "sequence_length"], "mean.shape", axis=0)
        one = numpy_helper.from_array(np.array([1], np.float32))
        self.add("ConstantOfShape", ["mean.shape"], "mean.ones", value=one)
        self.add("MatMul", ["mean.ones", hidden], "mean.sums")
        self.add("Squeeze", ["mean.sums", "sequence_axis"], "mean.sum")
        self.add("Cast", ["sequence_length"], "mean.count", to=TensorProto.FLOAT)
        self.add("Div", ["mean.sum", "mean.count"], "pooled")

    def _attention(self, block: str, hidden: str, ranges: LayerRanges | None) -> str:
        """Self-attention and its projection, added to the input and normalised."""
        weights, size = self.weights, self._config.hidden
        name = f"{block}.attention"
        parts = [f"{name}.self.{part}" for part in QKV]
        dense: list[NDArray[Any]] = [weights.dense(part, size, size) for part in parts]
        biases: list[NDArray[Any]] = [weights.bias(part, size) for part in parts]
        projection: NDArray[Any] = weights.dense(f"{name}.output.dense", size, size)
        bias = weights.bias(f"{name}.output.dense", size)
        steps = None
        if ranges is not None:
            # What the values give away, the projection takes: a weighted mean keeps a factor.
            factor = self._smoothing(ranges.attention_output, projection)
            dense[2], biases[2] = dense[2] / factor, biases[2] / factor
            projection = projection * factor[:, np.newaxis]
            steps = _Steps.even(ranges.attention_output / factor)
        query, key, value = self._smoothed(
            hidden,
            None if ranges is None else ranges.attention_input,
            list(zip(parts, dense, biases, strict=True)),
        )
        heads = self._config.heads
        self.add("Attention", [query, key, value], name, q_num_heads=heads, kv_num_heads=heads)
        projected = self._product(f"{name}.output.dense", name, projection, bias, steps)
        self.add("Add", [projected, hidden], f"{name}.sum")
        return self.layer_norm(f"{name}.sum", f"{name}.output")

    def _feed_forward(self, block: str, hidden: str, ranges: LayerRanges | None) -> str:
        """Write the two wide products, added to the input and normalised."""
        weights, size, inner = self.weights, self._config.hidden, self._config.intermediate
        wide = weights.dense(f"{block}.intermediate.dense", size, inner)
        wide_bias = weights.bias(f"{block}.intermediate.dense", inner)
        narrow = weights.dense(f"{block}.output.dense", inner, size)
        bias = weights.bias(f"{block}.output.dense", size)
        usual, outliers = np.arange(inner), np.arange(0)
        if ranges is not None and self._recipe.outlier_neurons:
            by_size = np.argsort(ranges.neurons, kind="stable")
            usual = np.sort(by_size[: -self._recipe.outlier_neurons])
            outliers = np.sort(by_size[-self._recipe.outlier_neurons :])
        groups = [(f"{block}.intermediate.dense", usual)]
        if outliers.size:
            groups.append((f"{block}.intermediate.outliers", outliers))
        widened = self._smoothed(
            hidden,
            None if ranges is None else ranges.feed_forward_input,
            [(name, wide[:, chosen], wide_bias[chosen]) for name, chosen in groups],
        )
        active = [self.add("Gelu", [name], f"{name}.gelu") for name in widened]
        steps = None if ranges is None else _Steps.of_gelu(float(ranges.neurons[usual].max()))
        output = self._product(f"{block}.output.dense", active[0], narrow[usual], bias, steps)
        if outliers.size:
            apart = f"{block}.output.outliers"
            table = self.constant(f"{apart}.weight", narrow[outliers])
            self.add("MatMul", [active[1], table], apart)
            output = self.add("Add", [output, apart], f"{block}.output.whole")
        self.add("Add", [output, hidden], f"{block}.sum")
        return self.layer_norm(f"{block}.sum", f"{block}.output")

    def _smoothed(
        self,
        rows: str,
        largest: Floats | None,
        parts: Sequence[tuple[str, NDArray[Any], NDArray[Any]]],
    ) -> list[str]:
        """Products of one input with several weights: it is smoothed and quantised once."""
        if largest is None:
            return [self._product(name, rows, weight, bias, None) for name, weight, bias in parts]
        first = parts[0][0]
        factor = self._smoothing(largest, np.concatenate([part[1] for part in parts], axis=1))
        if self._recipe.smoothing:
            reciprocal = self.constant(f"{first}.smoothing", (1 / factor).astype(np.float32))
            rows = self.add("Mul", [rows, reciprocal], f"{first}.smoothed")
        steps = _Steps.even(largest / factor)
        quantised = self._quantised(f"{first}.input", rows, steps)
        return [
            self._integer_product(name, quantised, weight * factor[:, np.newaxis], bias)
            for name, weight, bias in parts
        ]

    def _smoothing(self, largest: Floats, weight: NDArray[np.float32]) -> Floats:
        """Give what each channel is divided by, around 1: (channels,)."""
        share = self._recipe.smoothing
        if not share:
            return np.ones(largest.size)
        size = np.maximum(np.abs(weight).max(axis=1).astype(np.float64), _LEAST_WEIGHT)
        factor = largest**share / size ** (1 - share)
        return round_up(factor / np.median(factor))

    def _product(
        self,
        name: str,
        rows: str,
        weight: NDArray[Any],
        bias: NDArray[np.float32],
        steps: _Steps | None,
    ) -> str:
        """``rows @ weight + bias``, in int8 if there are steps."""
        if steps is None:
            table = self.constant(f"{name}.weight", weight.astype(np.float32))
            self.add("MatMul", [rows, table], f"{name}.product")
            return self.add("Add", [f"{name}.product", self.constant(f"{name}.bias", bias)], name)
        quantised = self._quantised(f"{name}.input", rows, steps)
        return self._integer_product(name, quantised, weight, bias)

    def _quantised(self, name: str, rows: str, steps: _Steps) -> tuple[str, str, str]:
        """Names of the rows as uint8, of their step and of their zero."""
        step = self.constant(f"{name}.step", np.array(steps.size, np.float32))
        zero = self.constant(f"{name}.zero", np.array(steps.zero, np.uint8))
        return self.add("QuantizeLinear", [rows, step, zero], name), step, zero

    def _integer_product(
        self,
        name: str,
        rows: tuple[str, str, str],
        weight: NDArray[Any],
        bias: NDArray[Any],
    ) -> str:
        values, scale = quantize_symmetric(weight.astype(np.float32), axis=0)
        quantised, step, zero = rows
        inputs = [
            quantised,
            self.constant(f"{name}.quantised", values),
            step,
            self.constant(f"{name}.scale", scale[0]),
            zero,
            self.constant(f"{name}.zero", np.zeros(scale.size, np.int8)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        return self.add("MatMulIntegerToFloat", inputs, name, domain=CONTRIB)


def quantize_symmetric(
    weights: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a matrix so that ``quantised * scale`` is nearest to it.

    Every step is one correctly rounded IEEE operation or exact, so the result, and with it the
    model's identity, does not depend on the machine.

    Parameters
    ----------
    weights
        Matrix of shape (rows, columns).
    axis
        The axis that shares a scale: 0 gives a scale to each column, 1 to each row.

    Returns
    -------
    quantised
        Integers of -127 to 127, the shape of `weights`.
    scale
        The step of each row or column: (1, columns) for axis 0, (rows, 1) for axis 1. A row or
        column of zeros has scale 1.
    """
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest / _INT8_LIMIT, np.float32(1.0))
    return np.rint(weights / scale).astype(np.int8), scale
