"""Reads an int8 graph of `models.embedding.making.bert_int8` as a model of OpenVINO.

Weights, scales and operators are those of the graph. What is another:

* Values are quantised by ``FakeQuantize``, the form that OpenVINO finds its int8 products by
  (https://docs.openvino.ai, "Low Precision Transformations"). Those of both signs get signed steps,
  and GELU's are moved above zero, with the move taken back by the bias: its products then have no
  zero points to see to.
* Texts of several lengths share a run, padded on the right: attention adds `MASK` to its scores,
  which is minus infinity at padding, and the mean takes `WEIGHTS`. The product compiles kernels for
  each shape that it meets, so that one shape a length would take gigabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from openvino import opset15 as ops

from models.embedding.errors import UnsupportedModelError
from models.embedding.manifest import MODEL_FILE, OUTPUT
from models.embedding.openvino.runner import WIDTH_STEP

TOKENS, MASK, WEIGHTS = "input_ids", "mask", "weights"
"""Inputs: int64 (texts, tokens); float32 (texts, 1, 1, tokens); float32 (texts, 1, tokens)."""

_STEPS = 256
_ABSENT = ("mean.ones", "mean.shape", "mean.count", "sequence_length")
"""What the graph counts a text's tokens by: `WEIGHTS` stands for it."""


def read_int8(folder: Path) -> openvino.Model:
    """Build the model that a folder's int8 graph describes.

    Raises
    ------
    UnsupportedModelError
        If the graph has an operator that `bert_int8` does not write.
    """
    return _Reader(folder).read()


class _Reader:
    def __init__(self, folder: Path) -> None:
        graph = onnx.load(folder / MODEL_FILE, load_external_data=False).graph
        self._nodes = list(graph.node)
        self._constants = {each.name: _values(each, folder) for each in graph.initializer}
        self._tokens = ops.parameter([-1, -1], np.int64, name=TOKENS)
        self._mask = ops.parameter([-1, 1, 1, -1], np.float32, name=MASK)
        self._weights = ops.parameter([-1, 1, -1], np.float32, name=WEIGHTS)
        self._values: dict[str, Any] = {TOKENS: self._tokens}
        self._quantised: dict[str, tuple[Any, NDArray[Any] | float]] = {}

    def read(self) -> openvino.Model:
        for node in self._nodes:
            write = getattr(self, f"_{node.op_type.lower()}", None)
            if write is None:
                raise UnsupportedModelError(
                    f"the graph has {node.op_type}, which is not read for OpenVINO: set "
                    "embedding.engine to onnxruntime"
                )
            if (value := write(node)) is not None:
                self._values[node.output[0]] = value
        output = ops.result(self._values[OUTPUT])
        inputs = [self._tokens, self._mask, self._weights]
        return openvino.Model([output], inputs, "bert")

    def _value(self, name: str) -> Any:
        if name not in self._values:
            values = self._constants[name]
            mapped = isinstance(values, np.memmap)  # and is not copied
            self._values[name] = (
                openvino.op.Constant(values, shared_memory=True) if mapped else _constant(values)
            )
        return self._values[name]

    def _pair(self, node: Any) -> list[Any]:
        return [self._value(name) for name in node.input]

    # One method an operator of the graph, each giving its output; None for what is not needed.

    def _gather(self, node: Any) -> Any:
        return ops.gather(*self._pair(node), _constant(_attribute(node, "axis", 0)))

    def _cast(self, node: Any) -> Any:
        return None if node.output[0] in _ABSENT else ops.convert(*self._pair(node), np.float32)

    def _shape(self, node: Any) -> Any:  # noqa: ARG002
        shape = ops.shape_of(self._tokens, "i64")
        self._values["positions.end"] = ops.gather(shape, _constant([1]), _constant(0))

    def _slice(self, node: Any) -> Any:
        table = self._constants[node.input[0]]
        # Runs are padded to a width that may be beyond the last position.
        table = np.pad(table, ((0, -len(table) % WIDTH_STEP), (0, 0)))
        end = self._values["positions.end"]
        return ops.slice(_constant(table), _constant([0]), end, _constant([1]), _constant([0]))

    def _add(self, node: Any) -> Any:
        return ops.add(*self._pair(node))

    def _mul(self, node: Any) -> Any:
        return ops.multiply(*self._pair(node))

    def _div(self, node: Any) -> Any:
        if node.input[1] in _ABSENT:  # the mean, which is one already
            return self._value(node.input[0])
        return ops.divide(*self._pair(node))

    def _max(self, node: Any) -> Any:
        return ops.maximum(*self._pair(node))

    def _identity(self, node: Any) -> Any:
        return self._value(node.input[0])

    def _concat(self, node: Any) -> None:
        """Leave the shape of the ones out that the mean is taken by."""

    def _constantofshape(self, node: Any) -> None:
        """Leave these ones out."""

    def _squeeze(self, node: Any) -> Any:
        return ops.squeeze(*self._pair(node))

    def _matmul(self, node: Any) -> Any:
        if node.input[0] in _ABSENT:
            return ops.matmul(self._weights, self._value(node.input[1]), False, False)
        return ops.matmul(*self._pair(node), False, False)

    def _reducel2(self, node: Any) -> Any:
        return ops.reduce_l2(*self._pair(node), True)

    def _gelu(self, node: Any) -> Any:
        return ops.gelu(self._value(node.input[0]), "erf")

    def _layernormalization(self, node: Any) -> Any:
        rows, scale, shift = self._pair(node)
        epsilon = _attribute(node, "epsilon", 1e-5)
        normed = ops.mvn(rows, _constant([-1]), True, epsilon, "inside_sqrt")
        return ops.add(ops.multiply(normed, scale), shift)

    def _attention(self, node: Any) -> Any:
        heads = _attribute(node, "q_num_heads", 1)
        apart, order = _constant([0, 0, heads, -1]), _constant([0, 2, 1, 3])
        query, key, value = (
            ops.transpose(ops.reshape(each, apart, True), order) for each in self._pair(node)
        )
        attended = ops.scaled_dot_product_attention(query, key, value, self._mask, causal=False)
        return ops.reshape(ops.transpose(attended, order), _constant([0, 0, -1]), True)

    def _quantizelinear(self, node: Any) -> None:
        """Quantise: ``value / step + zero`` within 0 to 255."""
        rows, step = self._value(node.input[0]), float(self._constants[node.input[1]])
        zero = int(self._constants[node.input[2]])
        moved = 0.0
        if zero != _STEPS // 2:
            rows, moved, zero = ops.add(rows, _constant(np.float32(zero * step))), zero * step, 0
        ends = [_constant(np.float32((end - zero) * step)) for end in (0, _STEPS - 1)]
        self._quantised[node.output[0]] = ops.fake_quantize(rows, *ends, *ends, _STEPS), moved

    def _matmulintegertofloat(self, node: Any) -> Any:
        rows, moved = self._quantised[node.input[0]]
        steps, scale = self._constants[node.input[1]], self._constants[node.input[3]]
        bias = self._constants[node.input[6]]
        if moved:
            bias = bias - moved * (steps.sum(axis=0, dtype=np.int64) * scale.astype(np.float64))
        weight = ops.multiply(
            ops.convert(_constant(steps), np.float32), _constant(scale[np.newaxis])
        )
        return ops.add(ops.matmul(rows, weight, False, False), _constant(bias.astype(np.float32)))


def _constant(values: Any) -> Any:
    return ops.constant(np.asarray(values))


def _attribute(node: Any, name: str, default: Any) -> Any:
    found = [each for each in node.attribute if each.name == name]
    return helper.get_attribute_value(found[0]) if found else default


def _values(tensor: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    """Give a constant's values; what lies beside the graph is mapped, not read."""
    if tensor.data_location != TensorProto.EXTERNAL:
        values: NDArray[Any] = numpy_helper.to_array(tensor)
        return values
    where = {entry.key: entry.value for entry in tensor.external_data}
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    offset, shape = int(where.get("offset", 0)), tuple(tensor.dims)
    # Copied on write, which nobody does: what is for reading alone is not taken.
    return np.memmap(folder / where["location"], kind, "c", offset, shape)
