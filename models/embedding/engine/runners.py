"""Runs token ids through a prepared model, on the CPU or a GPU: how the work is cut and scheduled.

On the CPU a run is a few texts of one length on one core. Nothing is padded, so nothing is computed
in vain and no text meets another's padding. Texts share a run because each run reads all weights:
of short texts that is most of the time. The longest go first, so that the cores finish together.
On a GPU, texts of like length share batches up to a budget of tokens
(`models.embedding.gpu.runner`).
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedding.batching import Layout, PackedLayout, PaddedLayout
from models.embedding.cache import cache_folder
from models.embedding.errors import DeviceUnavailableError
from models.embedding.gpu.runner import GpuRunner
from models.embedding.gpu.session import BoundSession, cuda_options, tensorrt_options
from models.embedding.manifest import MODEL_FILE, OUTPUT, PACKED_FILE, Manifest
from models.embedding.openvino.runner import OpenVinoRunner
from models.embedding.policy import BATCH_TOKENS, Device, Engine
from models.embedding.pooled_runner import PooledRunner, TextRun
from models.embedding.runner_types import (
    Runner,
    RunnerTotals,
    TokenIds,
    UsedDevice,
    Vectors,
)
from models.embedding.runtime import (
    available_cores,
    int8_is_exact,
    open_session,
)

__all__ = ["CpuRunner", "GpuRunner", "Runner", "RunnerTotals", "TokenIds", "Vectors", "open_runner"]

logger = logging.getLogger(__name__)


def open_runner(
    folder: Path,
    manifest: Manifest,
    *,
    device: Device = "auto",
    engine: Engine = "onnxruntime",
    threads: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    sessions: int = 1,
    allow_cpu_fallback: bool = False,
) -> Runner:
    """Open a prepared model where it belongs.

    ========== =============================== =====================================
    precision  ``auto``                        may be asked for
    ========== =============================== =====================================
    ``int8``   the CPU                         ``cpu``
    ``fp32``   CUDA, or the CPU without a GPU  ``cpu``, ``cuda``, ``tensorrt``
    ``fp16``   CUDA                            ``cuda``, ``tensorrt``
    ========== =============================== =====================================

    Parameters
    ----------
    folder, manifest
        The model.
    device
        Where to run.
    engine
        What runs an int8 model.
    threads
        Cores to use on the CPU, by default all that this process may use.
    batch_tokens
        On a GPU, the most tokens of a batch. A longer text runs alone.
    sessions
        Sessions on one GPU, each with a batch of its own under way.
    allow_cpu_fallback
        Go on with what there is (TensorRT, then CUDA, then the CPU) instead of refusing, with a
        warning. fp16 then runs on the CPU too: its weights are rounded, the arithmetic is fp32's.

    Raises
    ------
    DeviceUnavailableError
        If what was asked for is not to be had or does not suit the precision.
    DeviceFailedError
        If the GPU fails at the warm-up.
    MissingPackageError, UnsupportedModelError
        If the engine is not installed, or does not run such a model.
    """
    if manifest.precision == "int8":
        if device not in {"auto", "cpu"}:
            raise DeviceUnavailableError(
                f"device {device!r} was asked for, but the model's precision is 'int8', which is "
                "for CPUs; prepare the model with precision 'fp16' or 'fp32'."
            )
        if not int8_is_exact():
            logger.warning(
                "This CPU has no VNNI instructions: int8 is slower here, and its vectors may "
                "differ from other machines'; fp32 is the safer choice."
            )
    if engine == "openvino":
        return OpenVinoRunner(folder, manifest, threads=threads or available_cores())
    ladder = _ladder(manifest, device, allow_cpu_fallback)
    for used, lower in zip(ladder, [*ladder[1:], None], strict=True):
        try:
            return _open_on(
                used,
                folder,
                manifest,
                threads=threads or available_cores(),
                batch_tokens=batch_tokens,
                sessions=sessions,
                fell_back=_fell_back(manifest, device, used),
            )
        except DeviceUnavailableError as error:
            if lower is None:
                if manifest.precision == "fp16":
                    raise DeviceUnavailableError(
                        f"the model's precision is 'fp16', which is for GPUs: {error} Or prepare "
                        "it with precision 'int8'."
                    ) from error
                raise
            expected = device == "auto" and manifest.precision == "fp32"
            level = logging.INFO if expected else logging.WARNING
            logger.log(level, "Embedding on %s: %s", "the CPU" if lower == "cpu" else lower, error)
    raise AssertionError("a ladder has a last step, which returns or raises")


def _ladder(manifest: Manifest, device: Device, allow_cpu_fallback: bool) -> list[UsedDevice]:
    """Devices to try, in their order."""
    if manifest.precision == "int8":
        return ["cpu"]
    if device == "cpu":
        if manifest.precision == "fp16" and not allow_cpu_fallback:
            raise DeviceUnavailableError(
                "device 'cpu' was asked for, but the model's precision is 'fp16', which is for "
                "GPUs; prepare the model with precision 'int8' or 'fp32', or allow the fallback to "
                "the CPU."
            )
        return ["cpu"]
    wanted: list[UsedDevice] = ["tensorrt", "cuda"] if device == "tensorrt" else ["cuda"]
    if allow_cpu_fallback or (device == "auto" and manifest.precision == "fp32"):
        return [*wanted, "cpu"]
    return wanted[:1]


def _fell_back(manifest: Manifest, device: Device, used: UsedDevice) -> bool:
    if used == "cpu" and manifest.precision == "fp16":
        return True
    return device not in {"auto", used}


def _open_on(
    device: UsedDevice,
    folder: Path,
    manifest: Manifest,
    *,
    threads: int,
    batch_tokens: int,
    sessions: int,
    fell_back: bool,
) -> Runner:
    if device == "cpu":
        session = open_session(folder / MODEL_FILE, "cpu")
        if manifest.precision == "fp16":
            logger.info("An fp16 model takes over twice as long on the CPU as an fp32 one")
        return CpuRunner(
            session, dimensions=manifest.dimensions, threads=threads, fell_back=fell_back
        )
    cuda = cuda_options(manifest.precision)
    tensorrt: dict[str, str] = {}
    layout: Layout
    path = folder / MODEL_FILE
    if device == "tensorrt":
        most_texts = max(1, 4 * batch_tokens // manifest.max_tokens)
        layout = PaddedLayout(manifest.pad_id, manifest.max_tokens, most_texts)
        cache = cache_folder() / "tensorrt" / f"{manifest.identity[:16]}-{most_texts}"
        cache.mkdir(parents=True, exist_ok=True)
        tensorrt = tensorrt_options(
            manifest.precision,
            cache,
            most_texts=most_texts,
            most_tokens=manifest.max_tokens,
            usual_tokens=64,
        )
    elif PACKED_FILE in manifest.files:  # not in what Optimum exports
        path = folder / PACKED_FILE
        layout = PackedLayout(manifest.pad_id, manifest.pooling)
    else:
        layout = PaddedLayout(manifest.pad_id, manifest.max_tokens)
    runner = GpuRunner(
        [
            BoundSession(open_session(path, device, cuda=cuda, tensorrt=tensorrt))
            for _ in range(sessions)
        ],
        layout,
        dimensions=manifest.dimensions,
        most_tokens=manifest.max_tokens,
        pad_id=manifest.pad_id,
        batch_tokens=batch_tokens,
        device=device,
        fell_back=fell_back,
    )
    runner.warm_up()
    return runner


RUN_TOKENS = 512
"""Most tokens of a run on the CPU. More gain nothing: the activations outgrow a core's cache."""


class CpuRunner(PooledRunner):
    """Texts of one length a run, on so many cores."""

    def __init__(
        self, session: Any, *, dimensions: int, threads: int, fell_back: bool = False
    ) -> None:
        super().__init__(dimensions, threads, fell_back=fell_back)
        self._session = session

    def cut(self, lengths: NDArray[np.int64]) -> list[TextRun]:
        """Cut texts into runs of one length each."""
        return [
            TextRun(chosen, int(lengths[chosen[0]]), chosen.size)
            for chosen in equal_lengths(lengths, RUN_TOKENS)
        ]

    def infer(self, texts: list[TokenIds], width: int, rows: int) -> Vectors:  # noqa: ARG002, no padding
        """Give the vectors of texts of one length."""
        return run_unpadded(self._session, np.stack(texts))


def equal_lengths(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Cut texts into runs of one length each, the longest first.

    Parameters
    ----------
    lengths
        Tokens of each text, (texts,).
    budget
        Most tokens of a run; a longer text is a run of its own.

    Returns
    -------
    list of arrays
        Indices of the texts of each run; every text is in one. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if order.size else []
    runs = []
    for group in groups:
        texts = max(1, budget // max(1, int(lengths[group[0]])))
        runs += [group[start : start + texts] for start in range(0, group.size, texts)]
    return runs


def run_unpadded(session: Any, token_ids: NDArray[np.int64]) -> Vectors:
    """Run texts of one length.

    Parameters
    ----------
    session
        A session of any graph of this package; it is given the inputs that it has.
    token_ids
        (texts, tokens).

    Returns
    -------
    Vectors
        The graph's output, (texts, dimensions).
    """
    feeds = {"input_ids": token_ids}
    if len(session.get_inputs()) > 1:
        feeds["attention_mask"] = np.ones_like(token_ids)
        feeds["token_type_ids"] = np.zeros_like(token_ids)
    vectors: Vectors = session.run([OUTPUT], feeds)[0]
    return vectors
