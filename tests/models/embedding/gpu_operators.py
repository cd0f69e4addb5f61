"""ONNX Runtime's operators of the GPU graphs in numpy, so that onnx's evaluator runs the graphs.

As on a GPU, sums are in fp32 and what an operator gives is rounded to the type of its input.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf, softmax

Array = NDArray[Any]


def _wide(*arrays: Array) -> list[Array]:
    return [array.astype(np.float32) for array in arrays]


def _attend(query: Array, key: Array, value: Array, heads: int) -> Array:
    """Every token of a text attends to every token of it, (tokens, hidden)."""
    width = query.shape[1] // heads
    parts = [array.reshape(-1, heads, width).transpose(1, 0, 2) for array in (query, key, value)]
    scores = parts[0] @ parts[1].transpose(0, 2, 1) / np.sqrt(np.float32(width))
    return (softmax(scores, axis=2) @ parts[2]).transpose(1, 0, 2).reshape(query.shape)


class MatMul(OpRun):  # type: ignore[misc]
    op_domain = ""

    def _run(self, a: Array, b: Array) -> tuple[Array]:
        wide_a, wide_b = _wide(a, b)
        with np.errstate(invalid="ignore", over="ignore"):
            return ((wide_a @ wide_b).astype(a.dtype),)


class PackedMultiHeadAttention(OpRun):  # type: ignore[misc]
    op_domain = "com.microsoft"

    def _run(
        self,
        query: Array,
        key: Array,
        value: Array,
        bias: Array,
        token_offset: Array,
        bounds: Array,
        num_heads: int | None = None,
    ) -> tuple[Array]:
        assert num_heads is not None
        assert query.shape == key.shape == value.shape
        assert token_offset.dtype == bounds.dtype == np.int32
        assert bounds.shape == (token_offset.shape[0] + 1,)
        assert bounds[-1] == len(query)
        self._check_offsets(token_offset, bounds)
        shifts = np.split(bias, 3)
        rows = [(x + y).astype(x.dtype) for x, y in zip((query, key, value), shifts, strict=True)]
        texts = [_wide(*(array[start:end] for array in rows)) for start, end in _pairs(bounds)]
        attended = [_attend(*text, num_heads) for text in texts]
        return (np.concatenate(attended).astype(query.dtype),)

    @staticmethod
    def _check_offsets(token_offset: Array, bounds: Array) -> None:
        """As the operator's documentation has it: tokens' places first, then the padding's."""
        longest = token_offset.shape[1]
        tokens = [
            text * longest + place
            for text, (start, end) in enumerate(_pairs(bounds))
            for place in range(end - start)
        ]
        padding = sorted(set(range(token_offset.size)) - set(tokens))
        assert token_offset.ravel().tolist() == tokens + padding


def _pairs(bounds: Array) -> list[tuple[int, int]]:
    return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))


class Attention(OpRun):  # type: ignore[misc]
    """The standard has one of the same name: the evaluator passes its attributes too."""

    op_domain = "com.microsoft"

    def _run(
        self,
        rows: Array,
        weight: Array,
        bias: Array,
        lengths: Array,
        num_heads: int | None = None,
        **of_the_standard: Any,
    ) -> tuple[Array]:
        assert num_heads is not None
        wide, wide_weight, wide_bias = _wide(rows, weight, bias)
        projected = (wide @ wide_weight + wide_bias).astype(rows.dtype)
        output = np.zeros_like(rows)  # what padding gets is nobody's
        for text, length in enumerate(lengths):
            parts = np.split(_wide(projected[text, :length])[0], 3, axis=1)
            output[text, :length] = _attend(*parts, num_heads)
        return (output,)


class SkipLayerNormalization(OpRun):  # type: ignore[misc]
    op_domain = "com.microsoft"

    def _run(
        self,
        rows: Array,
        skip: Array,
        scale: Array,
        shift: Array,
        bias: Array | None = None,
        epsilon: float | None = None,
    ) -> tuple[Array]:
        assert epsilon is not None
        assert rows.shape == skip.shape
        total = sum(_wide(rows, skip) + ([] if bias is None else _wide(bias)))
        wide_scale, wide_shift = _wide(scale, shift)
        centred = total - total.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(variance + np.float32(epsilon))
        return ((normal * wide_scale + wide_shift).astype(rows.dtype),)


class BiasGelu(OpRun):  # type: ignore[misc]
    op_domain = "com.microsoft"

    def _run(self, rows: Array, bias: Array) -> tuple[Array]:
        wide, wide_bias = _wide(rows, bias)
        total = wide + wide_bias
        return ((total * 0.5 * (1 + erf(total / np.sqrt(2)))).astype(rows.dtype),)


OPERATORS = [Attention, BiasGelu, MatMul, PackedMultiHeadAttention, SkipLayerNormalization]


class EvaluatedSession:
    """A graph behind the runner's protocol of a session."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._evaluator = ReferenceEvaluator(model, new_ops=OPERATORS)

    def run(self, feeds: Any) -> NDArray[np.float32]:
        [vectors] = self._evaluator.run(None, dict(feeds))
        return vectors  # type: ignore[no-any-return]
