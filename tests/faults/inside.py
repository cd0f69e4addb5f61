"""Becomes a command in the network namespace of another process: what `Wire.popen` runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tests.faults import kernel
from tests.faults.lab import become


def main(argv: Sequence[str]) -> NoReturn:
    """Join the network of the process `argv[0]`, then become the command after it."""
    process, *command = argv
    # Not inherited by the command, as Python opens all files.
    namespace = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    kernel.setns(namespace, kernel.CLONE_NEWNET)
    become(command)


if __name__ == "__main__":
    main(sys.argv[1:])
