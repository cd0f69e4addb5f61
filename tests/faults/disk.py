"""A disk that is full, and then is not."""

from __future__ import annotations

import errno
import functools
import os
import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.faults import kernel, lab
from tests.faults.lab import LabError

__all__ = ["REASONS", "LabError", "SmallDisk", "available"]

REASONS = (lab.NOT_LINUX, lab.NO_NAMESPACES)
"""How the reasons that `available` gives begin."""

_FILLER = ".filler"
_CHUNK_BYTES = 1 << 20


class SmallDisk:
    """A file system of a few megabytes, as long as the `with` block lasts and in this lab only.

    It is a tmpfs. If this process dies, the disk goes with the last process of the lab.

    Parameters
    ----------
    path
        An empty folder, made if it is not there.
    megabytes
        Its size in MiB, from 1 up.

    Raises
    ------
    ValueError
        If the size is not a positive number, or the folder holds something.
    LabError
        On entering, outside a lab.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        if megabytes < 1:
            raise ValueError(f"megabytes is {megabytes}: give 1 or more")
        self.path = path.absolute()
        self.megabytes = megabytes

    def __enter__(self) -> Self:
        lab.require()
        self.path.mkdir(parents=True, exist_ok=True)
        if any(self.path.iterdir()):
            raise ValueError(f"path is {self.path}, which holds something: name an empty folder")
        kernel.mount("tmpfs", str(self.path), "tmpfs", options=f"size={self.megabytes}m")
        return self

    def __exit__(self, *exc: object) -> None:
        kernel.unmount(str(self.path))

    def fill(self) -> None:
        """Take every byte that is left, so that the next write by anybody fails with ENOSPC."""
        with (self.path / _FILLER).open("ab", buffering=0) as file:
            size = _CHUNK_BYTES
            while size:
                try:
                    os.write(file.fileno(), bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self) -> None:
        """Give back what `fill` took. Does nothing when it took nothing."""
        (self.path / _FILLER).unlink(missing_ok=True)


@functools.cache
def available() -> str | None:
    """Say why this machine cannot have a small disk in a lab; None if it can.

    It tries, in a process of its own. The reason begins with one of `REASONS`.

    Raises
    ------
    LabError
        If it fails in a way that is not the machine's.
    """
    return lab.attempt(lab.module_command("tests.faults.disk"), REASONS)


def main() -> int:
    """Make a small disk and take it away, to see whether that works."""
    try:
        with tempfile.TemporaryDirectory() as folder, SmallDisk(Path(folder) / "disk", 1):
            return 0
    except PermissionError as error:
        sys.stderr.write(f"{lab.NO_NAMESPACES}: {error.strerror}\n")
        return lab.CANNOT_ENTER


if __name__ == "__main__":
    sys.exit(main())
