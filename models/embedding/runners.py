"""Runs token ids through a prepared model, on the CPU or a GPU: how the work is cut and scheduled.

On the CPU each text is a run of its own on one core. Nothing is padded, and an int8 model, whose
activations are scaled over all that shares a run, gives a text the same vector whatever its
neighbours. The longest texts go first, so that the cores finish together. On a GPU, texts of like
length share batches up to a budget of tokens.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.embedding.errors import DeviceUnavailableError
from models.embedding.graph_writer import OUTPUT
from models.embedding.manifest import MODEL_FILE, Manifest
from models.embedding.runtime import Device, available_cores, int8_is_exact, open_session

logger = logging.getLogger(__name__)

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""One vector a row: (texts, dimensions)."""

TokenIds = NDArray[np.int64]
"""Token ids of one text, special tokens included: (tokens,)."""


@dataclass(frozen=True)
class RunnerTotals:
    """What a runner has done since it was opened.

    Parameters
    ----------
    batches
        Runs of the model.
    padded_tokens
        Tokens of padding that were computed for nothing.
    oom_halvings
        How often the budget was halved, since the GPU's memory did not suffice.
    failed_texts
        Texts that got a row of NaN.
    budget
        Most tokens of a batch at present; 0 where each text is a run of its own.
    """

    batches: int = 0
    padded_tokens: int = 0
    oom_halvings: int = 0
    failed_texts: int = 0
    budget: int = 0


class Runner(Protocol):
    """What runs token ids through a model.

    Attributes
    ----------
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    fell_back
        Whether a GPU was asked for and it runs on the CPU.
    threads
        Texts or batches that it runs side by side.
    totals
        Counts since it was opened.
    """

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def fell_back(self) -> bool:
        """Whether a GPU was asked for and it runs on the CPU."""

    @property
    def threads(self) -> int:
        """Texts or batches that it runs side by side."""

    @property
    def totals(self) -> RunnerTotals:
        """Counts since it was opened."""

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the model's vector of each text, in their order, of any length.

        A text that the model has no vector for (its run fails, or is not finite) gets a row of NaN.
        Safe to call from several threads.
        """

    def close(self) -> None:
        """Give threads and sessions back; what runs is finished first."""


def open_runner(
    folder: Path,
    manifest: Manifest,
    *,
    device: Device = "auto",
    threads: int | None = None,
    batch_tokens: int = 16_384,
    sessions: int = 1,  # noqa: ARG001
    allow_cpu_fallback: bool = False,
) -> Runner:
    """Open a prepared model where it belongs: int8 on the CPU, fp32 on a GPU if there is one.

    Raises
    ------
    DeviceUnavailableError
        If ``cuda`` was asked for and is not to be had, or the model is int8.
    """
    fell_back = False
    try:
        session, used = _open(folder / MODEL_FILE, manifest, device)
    except DeviceUnavailableError as error:
        if not allow_cpu_fallback or manifest.precision == "int8":
            raise
        logger.warning("Embedding on the CPU in place of the GPU: %s", error)
        fell_back = True
        session, used = _open(folder / MODEL_FILE, manifest, "cpu")
    if used == "cpu":
        return CpuRunner(session, manifest, threads or available_cores(), fell_back=fell_back)
    return GpuRunner(session, manifest, batch_tokens)


class CpuRunner:
    """One text a run, on so many cores."""

    device = "cpu"

    def __init__(
        self, session: Any, manifest: Manifest, threads: int, *, fell_back: bool = False
    ) -> None:
        self.threads = threads
        self.fell_back = fell_back
        self.totals = RunnerTotals()
        self._session = session
        self._manifest = manifest
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the vector of each text."""
        lengths = np.array([row.size for row in rows], dtype=np.int64)
        vectors = np.empty((len(rows), self._manifest.dimensions), dtype=np.float32)

        def run(index: int) -> None:
            vectors[index] = run_batch(self._session, [rows[index]], self._manifest.pad_id)[0]

        for _ in self._pool.map(run, np.argsort(-lengths, kind="stable")):
            pass  # asking for each result raises what its run raised
        return vectors

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""
        self._pool.shutdown()


class GpuRunner:
    """Padded batches of texts of like length, one after the other."""

    device = "cuda"
    fell_back = False
    threads = 1

    def __init__(self, session: Any, manifest: Manifest, batch_tokens: int) -> None:
        self.totals = RunnerTotals(budget=batch_tokens)
        self._session = session
        self._manifest = manifest
        self._batch_tokens = batch_tokens

    def run(self, rows: Sequence[TokenIds]) -> Vectors:
        """Give the vector of each text."""
        lengths = np.array([row.size for row in rows], dtype=np.int64)
        vectors = np.empty((len(rows), self._manifest.dimensions), dtype=np.float32)
        for batch in token_batches(lengths, self._batch_tokens):
            vectors[batch] = run_batch(
                self._session, [rows[i] for i in batch], self._manifest.pad_id
            )
        return vectors

    def close(self) -> None:
        """Nothing to give back."""


def token_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Group texts of like length, longest first, by a budget of tokens.

    A batch costs its longest text's length times its number of texts, padding being computed too.
    A text longer than the budget is a batch of its own.

    Parameters
    ----------
    lengths
        Tokens of each text, (texts,).
    budget
        Most tokens of a batch.

    Returns
    -------
    list of arrays
        Indices of the texts of each batch; every text is in one. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < order.size:
        size = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def run_batch(session: Any, rows: Sequence[NDArray[np.int64]], pad_id: int) -> Vectors:
    """Run texts of one batch, padded on the right to the longest.

    Parameters
    ----------
    session
        A session of a graph of `models.embedding.bert_graph`.
    rows
        Token ids of each text.
    pad_id
        The token to pad with.

    Returns
    -------
    Vectors
        The graph's output, (texts, dimensions).
    """
    lengths = np.array([row.size for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    feeds = {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(ids),
    }
    vectors: Vectors = session.run([OUTPUT], feeds)[0]
    return vectors


def _open(path: Path, manifest: Manifest, device: Device) -> tuple[Any, Literal["cpu", "cuda"]]:
    """Open the session where it belongs: int8 on the CPU, fp32 on a GPU if there is one."""
    if manifest.precision == "int8":
        if device == "cuda":
            raise DeviceUnavailableError(
                "device 'cuda' was asked for, but the model's precision is 'int8', which is for "
                "CPUs; prepare the model with precision 'fp32'."
            )
        if not int8_is_exact():
            logger.warning(
                "This CPU has no VNNI instructions: int8 is slower here, and its vectors may "
                "differ from other machines'; fp32 is the safer choice."
            )
        return open_session(path, "cpu"), "cpu"
    if device == "cpu":
        return open_session(path, "cpu"), "cpu"
    if device == "tensorrt":
        raise DeviceUnavailableError("device 'tensorrt' is not to be had; set device 'cuda'.")
    try:
        return open_session(path, "cuda"), "cuda"
    except DeviceUnavailableError as error:
        if device == "cuda":
            raise
        logger.info("Embedding on the CPU: %s", error)
        return open_session(path, "cpu"), "cpu"
