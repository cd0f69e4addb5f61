"""A session on a GPU: its provider's options, its inputs' memory, and what its errors mean.

No GPU has run any of this yet. The names of the options and the texts of the errors are those in
the libraries of onnxruntime-gpu 1.31.1, and `BoundSession` is tested with memory of the CPU, which
ONNX Runtime binds in the same way.
"""

import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.embedding.manifest import INPUTS, OUTPUT, Precision
from models.embedding.runner_types import Vectors
from models.embedding.runtime import device_buffer

_ALIGNMENT = 256
"""Bytes that every input begins at a multiple of, as CUDA's own allocations do."""

_LEAST_BUFFER = 4096

_OUT_OF_MEMORY = re.compile(
    r"Failed to allocate memory for requested buffer"  # the arena, when CUDA has no more
    r"|is smaller than requested bytes of"  # the arena, at its limit
    r"|out of memory"  # "CUDA failure 2: out of memory", and TensorRT's messages
    r"|ALLOC(ATION)?_FAILED"  # cuBLAS and cuDNN
    r"|bad_alloc",
    re.IGNORECASE,
)

# What leaves a CUDA context unusable for the rest of the process (cudaError_t in the reference of
# the CUDA runtime): no driver or device, uncorrectable memory, and faults of a kernel.
_LOST = re.compile(
    r"CUDA failure (3|4|35|46|100|101|201|214|220|700|702|709|710|714|715|716|717|718|719|999):"
)


class Failure(enum.Enum):
    """What a run's error says."""

    OUT_OF_MEMORY = enum.auto()
    """Fewer tokens may fit."""
    DEVICE_LOST = enum.auto()
    """No run will succeed any more."""
    OTHER = enum.auto()
    """It may be one of the texts."""


def failure_of(error: BaseException) -> Failure:
    """Tell a run's errors apart, which ONNX Runtime does by their text only.

    CUDA's come as ``CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; ...``
    (cuda_call.cc), the arena's as ``Failed to allocate memory for requested buffer of size ...`` or
    ``Available memory of ... is smaller than requested bytes of ...`` (bfc_arena.cc).
    """
    text = str(error)
    if _LOST.search(text):
        return Failure.DEVICE_LOST
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return Failure.OUT_OF_MEMORY
    return Failure.OTHER


def cuda_options(precision: Precision) -> dict[str, str]:
    """Options of the CUDA provider.

    * The arena takes what is asked for. One that doubles takes far more of the GPU than the few
      largest batches need.
    * ``SkipLayerNormalization`` sums in fp32. Left to itself it sums squares in fp16, with an
      epsilon of 1e-12 that is 0 there (skip_layer_norm_impl.cu); BERT has channels of up to eighty
      standard deviations. (Simulated in numpy, that cost all-MiniLM-L6-v2 1e-6 of cosine.)
    * fp32 stays fp32: TF32 would round every product's factors to 11 bits.
    """
    return {
        "arena_extend_strategy": "kSameAsRequested",
        "enable_skip_layer_norm_strict_mode": "1",
        "use_tf32": "0" if precision == "fp32" else "1",
    }


def tensorrt_options(
    precision: Precision,
    cache: Path,
    *,
    most_texts: int,
    most_tokens: int,
    usual_tokens: int,
) -> dict[str, str]:
    """Options of the TensorRT provider: one engine for all shapes, kept in `cache`.

    Building an engine takes minutes; the cache holds it, and the timings it was chosen by, for the
    same GPU and TensorRT. An engine plans its memory for `most_texts` of `most_tokens` at once.

    Parameters
    ----------
    precision
        The model's.
    cache
        A folder of this model alone, and of these shapes.
    most_texts, most_tokens
        The largest batch, (texts, tokens of each).
    usual_tokens
        The length that the engine is tuned for.
    """

    def profile(texts: int, tokens: int) -> str:
        return ",".join(f"{name}:{texts}x{tokens}" for name in INPUTS)

    return {
        "trt_profile_min_shapes": profile(1, 1),
        "trt_profile_opt_shapes": profile(most_texts, min(usual_tokens, most_tokens)),
        "trt_profile_max_shapes": profile(most_texts, most_tokens),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_layer_norm_fp32_fallback": "True",
    }


class BoundSession:
    """A session whose inputs lie in memory of its device that is used again and again.

    The inputs of a batch are laid one after the other into one buffer on the host, which goes to
    the device in one copy; the session is bound to the places in it. There is a buffer for each
    size of a quarter of a power of two, so that little is copied that is not needed and all of them
    together take at most about eight times the largest. The output comes to the host as the run
    ends: some 1.5 kB a text.

    Used by one thread at a time.

    Parameters
    ----------
    session
        Of onnxruntime.
    memory
        Where the device's memory is: ``cuda`` for TensorRT too.
    """

    def __init__(self, session: Any, memory: Literal["cpu", "cuda"] = "cuda") -> None:
        self._session = session
        self._memory = memory
        self._binding = session.io_binding()
        self._buffers: dict[int, tuple[NDArray[np.uint8], Any]] = {}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Vectors:
        """Run a batch; gives every vector of the output, those of filling too."""
        places, end = [], 0
        for values in feeds.values():
            places.append(end)
            end += -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT
        host, device = self._buffer(end)
        for place, values in zip(places, feeds.values(), strict=True):
            host[place : place + values.nbytes] = (
                np.ascontiguousarray(values).reshape(-1).view("u1")
            )
        device.update_inplace(host)
        start = device.data_ptr()
        for place, (name, values) in zip(places, feeds.items(), strict=True):
            self._binding.bind_input(
                name, self._memory, 0, values.dtype.type, list(values.shape), start + place
            )
        self._binding.bind_output(OUTPUT, "cpu")
        self._session.run_with_iobinding(self._binding)
        vectors: Vectors = self._binding.get_outputs()[0].numpy()
        return vectors

    def _buffer(self, size: int) -> tuple[NDArray[np.uint8], Any]:
        """Give a buffer on the host and its twin on the device, of at least so many bytes."""
        step = max(_LEAST_BUFFER, 1 << max(0, size.bit_length() - 3))
        size = max(1, -(-size // step)) * step
        if size not in self._buffers:
            self._buffers[size] = np.zeros(size, np.uint8), device_buffer(size, self._memory)
        return self._buffers[size]
