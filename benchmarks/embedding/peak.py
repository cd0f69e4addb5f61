"""The most arithmetic that the cores are seen to do: large matrix products, by type of number.

No library is taken at its word: each type is tried in all that can do it, and the best counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.embedding.peers import cpu_session

SIDES = (1024, 2048)
"""Rows and columns of the matrices; caches make the best size differ by type and machine."""

_SECONDS = 0.3

Product = Callable[[], object]


def rate(product: Product, side: int, seconds: float = _SECONDS) -> float:
    """Operations a second of a product of two square matrices: the best of those in the time."""
    product()
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        product()
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended > until:
            return 2 * side**3 / best


class Peak:
    """Tries sizes; a library says in `rates` what it reaches at one."""

    def __init__(self, *, threads: int, sides: Sequence[int] = SIDES) -> None:
        self.threads, self._sides = threads, sides

    def peak(self) -> dict[str, float]:
        """Operations a second by type, at the best size."""
        tried = [self.rates(side) for side in self._sides]
        return {kind: max(each[kind] for each in tried) for kind in tried[0]}

    def rates(self, side: int) -> dict[str, float]:
        """Operations a second by type, on matrices of side x side."""
        raise NotImplementedError


class OrtPeak(Peak):
    """ONNX Runtime's products: fp32, and unsigned by signed int8."""

    def rates(self, side: int) -> dict[str, float]:
        draw = np.random.default_rng(0)
        floats = draw.standard_normal((side, side), dtype=np.float32)
        left = draw.integers(0, 255, (side, side), dtype=np.uint8)
        constants = {
            "b": draw.integers(-127, 127, (side, side), dtype=np.int8),
            "a_scale": np.float32(0.01),
            "b_scale": np.float32(0.01),
            "a_zero": np.uint8(128),
            "b_zero": np.int8(0),
        }
        fp32 = self._session("MatMul", "", floats, {"b": floats})
        int8 = self._session("MatMulIntegerToFloat", "com.microsoft", left, constants)
        return {
            "fp32": rate(lambda: fp32.run(None, {"a": floats}), side),
            "int8": rate(lambda: int8.run(None, {"a": left}), side),
        }

    def _session(self, operator: str, domain: str, left: Any, constants: dict[str, Any]) -> Any:
        from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

        kind = helper.np_dtype_to_tensor_dtype(left.dtype)
        graph = helper.make_graph(
            [helper.make_node(operator, ["a", *constants], ["y"], domain=domain)],
            "product",
            [helper.make_tensor_value_info("a", kind, left.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, left.shape)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return cpu_session(model.SerializeToString(), self.threads)


class TorchPeak(Peak):
    """PyTorch's products: fp32, bf16 and signed int8."""

    def rates(self, side: int) -> dict[str, float]:
        import torch  # noqa: PLC0415

        torch.set_num_threads(self.threads)
        floats = torch.randn(side, side)
        short = floats.to(torch.bfloat16)
        small = torch.randint(-127, 127, (side, side), dtype=torch.int8)
        with torch.inference_mode():
            return {
                "fp32": rate(lambda: floats @ floats, side),
                "bf16": rate(lambda: short @ short, side),
                "int8": rate(lambda: torch._int_mm(small, small), side),
            }
