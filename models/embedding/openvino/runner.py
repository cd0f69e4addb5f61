"""Runs token ids through OpenVINO on a CPU: texts of like length, padded, in few shapes.

A text's vector does not depend by a single bit on its neighbours, on how far it is padded, or on
how many threads there are, as long as runs are as wide as a multiple of `WIDTH_STEP`: every sum is
then taken in the same order, with zeros behind it. A test holds that.

Kernels are compiled for each shape that is met, in tens of milliseconds and some megabytes. So a
width has two shapes: a run of about `RUN_TOKENS`, which is filled up, and a text alone.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedding.errors import MissingPackageError, UnsupportedModelError
from models.embedding.manifest import Manifest
from models.embedding.pooled_runner import PooledRunner, TextRun
from models.embedding.runner_types import (
    TokenIds,
    Vectors,
)

WIDTH_STEP = 16
"""Tokens that the width of a run is a multiple of: AMX multiplies rows of 16."""

RUN_TOKENS = 512
"""Tokens of a run, padding included; a longer text is a run of its own."""

_ALONE = 3
"""A run takes so many times as long as a text alone, by which few texts are run one by one."""


class OpenVinoRunner(PooledRunner):
    """Texts of like length a run, on so many cores.

    Parameters
    ----------
    folder, manifest
        An int8 model of the direct exporter.
    threads
        Runs side by side, of one core each.

    Raises
    ------
    MissingPackageError
        If OpenVINO is not installed.
    UnsupportedModelError
        If the model is none that it runs.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int) -> None:
        if manifest.precision != "int8" or manifest.exporter != "direct":
            raise UnsupportedModelError(
                f"embedding.engine is openvino, which runs int8 models of the direct exporter, and "
                f"this one is in {manifest.precision}, of the exporter {manifest.exporter}: set "
                "embedding.engine to onnxruntime, or embedding.precision to int8"
            )
        compiled = _compiled(folder, threads)
        super().__init__(manifest.dimensions, threads)
        self._pad_id = manifest.pad_id
        self._most_tokens = manifest.max_tokens
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(threads):
            self._requests.put(compiled.create_infer_request())

    def cut(self, lengths: NDArray[np.int64]) -> list[TextRun]:
        """Cut texts into runs of like length."""
        return padded_runs(lengths)

    def infer(self, texts: list[TokenIds], width: int, rows: int) -> Vectors:
        """Give the vectors of texts, in a run of so many rows of one width."""
        request = self._requests.get()
        try:
            # A copy: the request is another thread's as soon as it is put back.
            return np.array(request.infer(self._feeds(texts, width, rows))[0][: len(texts)])
        finally:
            self._requests.put(request)

    def _feeds(self, rows: Sequence[TokenIds], width: int, texts: int) -> dict[str, Any]:
        """Lay texts out in `texts` rows of `width`; what is filled up repeats the last text."""
        rows = [*rows, *[rows[-1]] * (texts - len(rows))]
        lengths = np.array([row.size for row in rows])[:, np.newaxis]
        kept = np.arange(width) < lengths
        ids = np.full(kept.shape, self._pad_id, dtype=np.int64)
        ids[kept] = np.concatenate(rows)
        mask = np.where(kept, np.float32(0), np.float32(-np.inf))
        weights = (kept / lengths).astype(np.float32)
        return {
            "input_ids": ids,
            "mask": mask[:, np.newaxis, np.newaxis],
            "weights": weights[:, np.newaxis],
        }


def padded_runs(lengths: NDArray[np.int64]) -> list[TextRun]:
    """Cut texts into runs, the longest first.

    A width is a multiple of `WIDTH_STEP`, and all runs of a width have one of two numbers of rows:
    as many as `RUN_TOKENS` has room for, or one.
    """
    order = np.argsort(-lengths, kind="stable")
    runs: list[TextRun] = []
    start = 0
    while start < order.size:
        width = -(-max(1, int(lengths[order[start]])) // WIDTH_STEP) * WIDTH_STEP
        full = max(1, RUN_TOKENS // width)
        chosen = order[start : start + full]
        start += chosen.size
        if _ALONE * chosen.size <= full:
            runs += [TextRun(chosen[at : at + 1], width, 1) for at in range(chosen.size)]
        else:
            runs.append(TextRun(chosen, width, full))
    return runs


def _compiled(folder: Path, threads: int) -> Any:
    # Imported beside the package, it notes every use under the home folder, to be reported over the
    # network. Nothing leaves a machine that handles reviews unless its owner says so; the package
    # goes on without it.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: PLC0415, an extra

        from models.embedding.openvino.graph import read_int8  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"embedding.engine is openvino, and {error.name} is not installed: pip install "
            "'segmenter[openvino]'"
        ) from error
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if _multiplies_bf16() else "f32",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # several processes would keep to the same cores
    }
    return openvino.Core().compile_model(read_int8(folder), "CPU", settings)


def _multiplies_bf16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has AMX for bf16; without it bf16 is slower than fp32."""
    try:
        return "amx_bf16" in cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False
