"""Joining the network behind a wire; as a program, it joins and becomes a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tests.faults import kernel
from tests.faults.lab import become


def join(namespace: Path) -> None:
    """Put the calling thread, and those that it starts from now on, behind a wire.

    For a process that is forked rather than started by `Wire.popen`: it calls this first, and the
    caller ends it, since the wire does not know of it. What is connected already stays connected.

    Parameters
    ----------
    namespace
        The wire's `Wire.namespace`.
    """
    file = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.setns(file, kernel.CLONE_NEWNET)
    finally:
        os.close(file)


def main(argv: Sequence[str]) -> NoReturn:
    """Join the network namespace of the file `argv[0]`, then become the command after it."""
    join(Path(argv[0]))
    become(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
