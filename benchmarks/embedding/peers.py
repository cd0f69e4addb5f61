"""What else embeds texts on a CPU, each set up as well as it can be.

Imports nothing of the product: these may run under another interpreter. Each tokenises within the
time that is measured, as the product does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.engines import Setting, Vectors
from benchmarks.embedding.tokens import (
    Batch,
    as_they_come,
    by_length,
    load_tokenizer,
    of_one_length,
    pad,
    pool,
    tokenise,
)

BATCHES = (1, 4, 8, 16, 32)
"""Texts of a batch."""

BUDGETS = (512, 1024)
"""Tokens of a run of texts of one length."""


def onnxruntime() -> Any:
    """Import ONNX Runtime with its reporting of usage off."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort  # noqa: PLC0415

    ort.set_default_logger_severity(4)
    return ort


def session_options(threads: int) -> Any:
    """Give options of a quiet session with so many threads a run."""
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return options


def cpu_session(graph: str | bytes, threads: int) -> Any:
    """Open a graph, by its path or its content, on the CPU."""
    return onnxruntime().InferenceSession(
        graph, session_options(threads), providers=["CPUExecutionProvider"]
    )


def feeds(names: Sequence[str], batch: Batch) -> dict[str, Any]:
    """Give a graph the inputs that it has; it may have no token types."""
    values = {
        "input_ids": batch.ids,
        "attention_mask": batch.mask,
        "token_type_ids": np.zeros_like(batch.ids),
    }
    return {name: values[name] for name in names}


class OrtAlone:
    """ONNX Runtime without this product's scheduling: texts sorted by length, the best batch.

    Two ways to use the threads: all in one session, or as many runs side by side as there are
    threads. Two or more graphs of the same model compete as well.
    """

    def __init__(
        self,
        *,
        tokenizer: str,
        limit: int,
        graphs: Sequence[str],
        names: Sequence[str],
        threads: int,
    ) -> None:
        self._tokenizer = load_tokenizer(Path(tokenizer), limit)
        self._threads = threads
        self._graphs = dict(zip(names, graphs, strict=True))
        self._opened: tuple[Any, Any] | None = None
        self._size = 1
        self.settings = [
            {"graph": graph, "side_by_side": beside, "batch": size}
            for graph in names
            for beside in sorted({1, threads})
            for size in BATCHES
        ]

    def use(self, setting: Setting) -> None:
        key = (setting["graph"], setting["side_by_side"])
        if self._opened is None or self._opened[0] != key:
            threads = self._threads // setting["side_by_side"]
            self._opened = key, cpu_session(self._graphs[setting["graph"]], threads)
            self._pool = ThreadPoolExecutor(setting["side_by_side"])
        self._size = setting["batch"]

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = tokenise(self._tokenizer, texts)
        batches = by_length(rows, self._size)
        assert self._opened is not None
        session = self._opened[1]
        names = [each.name for each in session.get_inputs()]

        def run(indices: Any) -> Vectors:
            batch = pad([rows[i] for i in indices])
            return pool(session.run(None, feeds(names, batch))[0], batch.mask)

        return restored(batches, list(self._pool.map(run, batches)))


class FixedBatches:
    """Batches of a fixed size as the texts come, each padded to its longest: fastembed's way."""

    def __init__(self, *, tokenizer: str, limit: int, graph: str, batch: int, threads: int) -> None:
        self._session = cpu_session(graph, threads)
        self._names = [each.name for each in self._session.get_inputs()]
        self._tokenizer = load_tokenizer(Path(tokenizer), limit)
        self.settings: Sequence[Setting] = ({"batch": batch},)

    def use(self, setting: Setting) -> None:
        self._size = setting["batch"]

    def embed(self, texts: Sequence[str]) -> Vectors:
        found = []
        for indices in as_they_come(len(texts), self._size):
            batch = pad(tokenise(self._tokenizer, [texts[i] for i in indices]))
            output = self._session.run(None, feeds(self._names, batch))[0]
            found.append(pool(output, batch.mask))
        return np.concatenate(found)


class SentenceTransformers:
    """The library of that name, which sorts by length itself."""

    def __init__(self, *, folder: str, backend: str, dtype: str, threads: int) -> None:
        import torch  # noqa: PLC0415
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        torch.set_num_threads(threads)
        arguments: dict[str, Any] = {}
        if backend == "onnx":
            arguments = {
                "file_name": "onnx/model.onnx",
                "provider": "CPUExecutionProvider",
                "session_options": session_options(threads),
            }
        self._model = SentenceTransformer(
            folder, device="cpu", backend=backend, model_kwargs=arguments, local_files_only=True
        )
        if dtype != "float32":
            self._model.to(getattr(torch, dtype))
        self._size = 32
        self.settings = [{"batch": size} for size in BATCHES]

    def use(self, setting: Setting) -> None:
        self._size = setting["batch"]

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = (
            self._model.encode(
                list(texts),
                batch_size=self._size,
                show_progress_bar=False,
                convert_to_tensor=True,
                normalize_embeddings=True,
            )
            .float()
            .numpy()
        )
        return vectors


class OpenVino:
    """OpenVINO with an asynchronous queue, texts sorted by length.

    Batches of several sizes compete, padded to their longest; runs of one length without padding;
    one stream or one a thread; and types of number between the products, where there are several.
    """

    def __init__(
        self, *, tokenizer: str, limit: int, graph: str, hints: Sequence[str], threads: int
    ) -> None:
        self._tokenizer = load_tokenizer(Path(tokenizer), limit)
        self._graph, self._threads = graph, threads
        self._compiled: tuple[tuple[str, int], Any, Any] | None = None
        self._setting: Setting = {}
        ways: list[Setting] = [{"batch": size} for size in BATCHES]
        ways += [{"tokens": budget} for budget in BUDGETS]
        self.settings = [
            {"hint": hint, "streams": streams, **way}
            for hint in hints
            for streams in sorted({1, threads})
            for way in ways
        ]

    def use(self, setting: Setting) -> None:
        hint, streams = key = setting["hint"], setting["streams"]
        if self._compiled is None or self._compiled[0] != key:
            import openvino  # noqa: PLC0415

            core = openvino.Core()
            hints = {
                "INFERENCE_PRECISION_HINT": hint,
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": self._threads,
                "PERFORMANCE_HINT": "THROUGHPUT" if streams > 1 else "LATENCY",
            }
            compiled = core.compile_model(core.read_model(self._graph), "CPU", hints)
            self._compiled = key, compiled, openvino.AsyncInferQueue(compiled, streams)
        self._setting = setting

    def embed(self, texts: Sequence[str]) -> Vectors:
        assert self._compiled is not None
        _, compiled, queue = self._compiled
        rows = tokenise(self._tokenizer, texts)
        if "batch" in self._setting:
            batches = by_length(rows, self._setting["batch"])
        else:
            batches = of_one_length(rows, self._setting["tokens"])
        names = [each.get_any_name() for each in compiled.inputs]
        found: list[Vectors | None] = [None] * len(batches)

        def keep(request: Any, place: tuple[int, Any]) -> None:
            number, mask = place
            found[number] = pool(request.get_output_tensor(0).data, mask)

        queue.set_callback(keep)
        for number, indices in enumerate(batches):
            batch = pad([rows[i] for i in indices])
            queue.start_async(feeds(names, batch), (number, batch.mask))
        queue.wait_all()
        return restored(batches, found)


def restored(batches: Sequence[Any], found: Sequence[Any]) -> Vectors:
    """Bring the vectors of batches into the order of the texts."""
    together = np.concatenate(found)
    vectors = np.empty_like(together)
    vectors[np.concatenate(batches)] = together
    return vectors
