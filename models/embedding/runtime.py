"""ONNX Runtime, set up for this package: quiet, without telemetry, one thread a run.

Import onnxruntime from here and nowhere else: its reporting of usage must be off before it loads.
"""

import contextlib
import ctypes
import io
import logging
import math
import os
import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from models.embedding.errors import DamagedFileError, DeviceUnavailableError
from models.embedding.runner_types import UsedDevice

# The builds of 1.31 report usage over the network, also on Linux, and leave a database in the
# user's cache folder. Nothing leaves a machine that handles reviews unless its owner says so.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

logger = logging.getLogger(__name__)

# What it would print to stderr (no GPU here, a missing CUDA library) comes as an error of this
# package or as one log line; only what is fatal may still be printed.
ort.set_default_logger_severity(4)

_PROVIDERS: dict[UsedDevice, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def open_session(
    path: Path,
    device: UsedDevice,
    *,
    cuda: Mapping[str, str] | None = None,
    tensorrt: Mapping[str, str] | None = None,
) -> ort.InferenceSession:
    """Open a model on exactly the device asked for.

    On the CPU a run uses the calling thread alone, so a session serves as many texts at once as
    there are callers, with one copy of the weights.

    Parameters
    ----------
    path
        The graph.
    device
        Where it has to run.
    cuda, tensorrt
        Options of the providers. What TensorRT does not take, CUDA runs.

    Raises
    ------
    DeviceUnavailableError
        If `device` is a GPU's and the session would not run there. ONNX Runtime itself would go on
        with the CPU and say so only in passing.
    DamagedFileError
        If the file is no model that ONNX Runtime can read.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it would keep a plan for every length of text ever seen
    providers: list[Any] = [_PROVIDERS["cpu"]]
    if device == "cpu":
        # The exporter has fused what helps. More would fuse the slow SkipLayerNormalization.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    else:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers.insert(0, (_PROVIDERS["cuda"], dict(cuda or {})))
        if device == "tensorrt":
            providers.insert(0, (_PROVIDERS["tensorrt"], dict(tensorrt or {})))
        _load_cuda_libraries()
    try:
        session = ort.InferenceSession(
            str(path), options, providers=providers, enable_fallback=False
        )
    except (
        Exception
    ) as error:  # onnxruntime's own types derive from Exception and RuntimeError only
        if device != "cpu":
            # Left to the CPU, the packed graph is refused for an operator that the CPU lacks.
            left = "NOT_IMPLEMENTED" in str(error)
            reason = f"it would run on {_PROVIDERS['cpu']}" if left else str(error)
            raise _no_gpu(device, reason) from error
        raise DamagedFileError(
            f"{path} cannot be opened by ONNX Runtime ({error}); prepare the model again."
        ) from error
    if _PROVIDERS[device] not in session.get_providers():
        raise _no_gpu(device, f"it would run on {session.get_providers()[0]}")
    if device != "cpu":
        nodes = nodes_by_provider(session)
        logger.info("Operators by provider: %s", dict(nodes))
        if not nodes[_PROVIDERS[device]]:
            raise _no_gpu(device, "it takes none of the model's operators")
    return session


def nodes_by_provider(session: ort.InferenceSession) -> Counter[str]:
    """How many of a session's operators each provider has taken; for a GPU's session only.

    The list of a session's providers says which were loaded, not which of them does the work.
    """
    nodes: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        nodes[part.ep_name] += len(part.get_nodes())
    return nodes


def device_buffer(size: int, memory: Literal["cpu", "cuda"]) -> ort.OrtValue:
    """Take so many bytes of a device's memory, as uint8."""
    return ort.OrtValue.ortvalue_from_shape_and_type([size], np.uint8, memory, 0)


def _load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from the nvidia packages, where the gpu extra has put them."""
    if not hasattr(ort, "preload_dlls"):  # the build for the CPU alone
        return
    printed = io.StringIO()  # it prints what it misses; the session's error says it better
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls(directory="")
    if printed.getvalue():
        logger.debug("CUDA libraries: %s", printed.getvalue().strip())


def _no_gpu(device: UsedDevice, reason: str) -> DeviceUnavailableError:
    needed = "the gpu extra" if device == "cuda" else "the gpu extra and TensorRT"
    return DeviceUnavailableError(
        f"device {device!r} was asked for, but ONNX Runtime cannot use it ({reason}); install "
        f"{needed} on a machine with an NVIDIA driver, or set device 'cpu'."
    )


def check_gpu(device: UsedDevice) -> None:
    """Check that there is a GPU where one is asked for, before anything else is looked for.

    Raises
    ------
    DeviceUnavailableError
        If there is none.
    """
    if device != "cpu" and not gpu_available():
        raise _no_gpu(device, "no GPU is there, or no build of it for GPUs")


def gpu_available() -> bool:
    """Whether ONNX Runtime is built for CUDA, and a driver is there that shows a GPU.

    The build alone tells nothing: it also is installed, and lists its provider, on machines that
    have no GPU. So the driver is asked, which heeds CUDA_VISIBLE_DEVICES. A session may still fail
    to open there, as where CUDA's libraries are missing.
    """
    if _PROVIDERS["cuda"] not in ort.get_available_providers():
        return False
    name = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
        count = ctypes.c_int(0)
        asked = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):  # no driver, or a library of that name that is none
        return False
    return asked and count.value > 0


def available_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its CPU affinity, and in a container the CPU limit too.

    A pod limited to two CPUs still sees all the cores of its node; a thread on each of them would
    be throttled most of the time.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2 here, or a quota of "max"
        return cores


def int8_is_exact(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies int8 without overflow: all but x86 without VNNI instructions.

    Without them ONNX Runtime adds two products in 16 bits, which can overflow
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "U8S8").
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: nothing to tell by
        return True
    return "avx512_vnni" in text or "avx_vnni" in text
