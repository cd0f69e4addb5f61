"""Tells which attention kernel ONNX Runtime ran on the GPU, which decides on the speed.

With ``ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO=1`` its attention operators write a line to the
standard output at each run (attention_kernel_options.cc), in colour::

    Operator=PackedMultiHeadAttention Node=encoder.layer.0.attention DataType=fp16
    SdpaKernel=FLASH_ATTENTION

The variable is read as a session is made, and the line comes from C++, past Python's own output. So
`attention_kernels` asks a process of its own, which this module is when it is run::

    python -m benchmarks.embedding.kernel_probe FOLDER DEVICE

No GPU has run it yet: the format is read from the source of ONNX Runtime.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import cast, get_args

import numpy as np

from models.embedding.engine.runners import open_runner
from models.embedding.errors import DeviceFailedError
from models.embedding.manifest import Manifest
from models.embedding.policy import Device

DEBUG_VARIABLE = "ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO"

_LINE = re.compile(r"Operator=(\S+)(?: Node=\S*)? DataType=(\S+) SdpaKernel=([A-Z_]+)")


def parse_kernels(output: str) -> Counter[str]:
    """Count runs by operator, type and kernel.

    Examples
    --------
    >>> line = "Operator=Attention Node=a DataType=fp16 SdpaKernel=FLASH_ATTENTION"
    >>> parse_kernels(f"AttentionKernelOptions: FLASH_ATTENTION=1{chr(10)}{line}{chr(10)}{line}")
    Counter({'Attention fp16 FLASH_ATTENTION': 2})
    """
    return Counter(" ".join(match) for match in _LINE.findall(output))


def attention_kernels(folder: Path, device: Device = "cuda") -> Counter[str]:
    """Run a model's warm-up in a process of its own and count the kernels that it used.

    Parameters
    ----------
    folder
        A prepared model's.
    device
        Where to run it.

    Returns
    -------
    Counter of str
        Runs by operator, type and kernel; empty on the CPU, whose operators say nothing.

    Raises
    ------
    DeviceFailedError
        If that process fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(folder), device],
        env={**os.environ, DEBUG_VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DeviceFailedError(
            f"the model in {folder} could not be run on device {device!r} ({reason}); see that it "
            "runs there at all."
        )
    return parse_kernels(done.stdout)


def main(folder: str, device: str) -> None:
    """Open a model, which warms it up on a GPU, and embed one short text."""
    if device not in get_args(Device):
        raise SystemExit(f"device {device!r} is none of {', '.join(get_args(Device))}.")
    manifest = Manifest.read(Path(folder))
    runner = open_runner(Path(folder), manifest, device=cast(Device, device), batch_tokens=4096)
    runner.run([np.full(8, manifest.pad_id, dtype=np.int64)])
    runner.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
