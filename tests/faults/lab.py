"""The lab: a network and a mount namespace of their own, in which faults harm nobody else.

`python -m tests.faults.lab COMMAND ...`, from the project's root, runs a command in a new lab;
`command` gives the same as a list, for any working folder. In the lab there is no network but `lo`,
with the addresses 127.0.0.1 and `HUB`, and the wires that `tests.faults.network` adds. Mounts that
are made there are seen there only. It vanishes with the last process in it.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tests.faults import kernel

ROOT = Path(__file__).parents[2]
HUB = "10.88.0.1"
"""Address for what listens in the lab, the same on `lo` and over every wire."""

NOT_LINUX = "the lab needs Linux"
NO_NAMESPACES = "the lab needs root, or user namespaces open to everyone"
CANNOT_ENTER = 120
"""Exit code of a command that found no lab, or not all that it needs there."""

_VARIABLE = "FAULT_LAB"
# Isolated from the caller's folder and settings; the standard library is all that these need.
_RUN_MODULE = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


class LabError(Exception):
    """The lab, or something in it, cannot be had; the message says what to do."""


def module_command(name: str, *arguments: str) -> list[str]:
    """Give the command line that runs a module of this package, whatever the working folder."""
    return [sys.executable, "-I", "-S", "-c", _RUN_MODULE, str(ROOT), name, *arguments]


def command(argv: Sequence[str]) -> list[str]:
    """Give the command line that runs `argv` in a new lab, with the process id it is started with.

    It exits with `CANNOT_ENTER`, and says why on standard error, where no lab can be made.
    """
    return module_command("tests.faults.lab", *argv)


def attempt(argv: Sequence[str], reasons: Sequence[str]) -> str | None:
    """Try a command in a new lab and say why the machine did not let it; None if it did.

    Parameters
    ----------
    argv
        The command, which exits with `CANNOT_ENTER` after saying why on standard error.
    reasons
        How that may begin.

    Raises
    ------
    LabError
        If it fails otherwise: such a failure must not pass for a machine without labs.
    """
    if sys.platform != "linux":
        return NOT_LINUX
    done = subprocess.run(command(argv), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    said = done.stderr.strip()
    if done.returncode == CANNOT_ENTER and said.startswith(tuple(reasons)):
        return said
    raise LabError(f"trying the lab out ended with exit code {done.returncode}: {said}")


def inside() -> bool:
    """Say whether this process runs in a lab."""
    return _VARIABLE in os.environ


def require() -> None:
    """Refuse to go on outside a lab.

    Raises
    ------
    LabError
        If this process does not run in one.
    """
    if not inside():
        raise LabError(
            "this process is not in a lab: start it with `python -m tests.faults.lab COMMAND`"
        )


def enter() -> None:
    """Put this process, which must have one thread only, into a new lab.

    Raises
    ------
    LabError
        If this machine does not let it. The message begins with `NOT_LINUX` or `NO_NAMESPACES`.
    """
    if sys.platform != "linux":
        raise LabError(f"{NOT_LINUX}: run this on a Linux machine")
    try:
        _unshare()
        # Else mounts made here would show outside, where they outlive the lab.
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.bring_up("lo")  # which gives it 127.0.0.1
        kernel.set_address("lo:1", HUB)
    except OSError as error:
        raise LabError(f"{NO_NAMESPACES}: {error.strerror}") from error
    os.environ[_VARIABLE] = HUB


def _unshare() -> None:
    kinds = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(kinds)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        kernel.unshare(kinds | kernel.CLONE_NEWUSER)
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")  # the kernel's condition for the line after next
        (own / "uid_map").write_text(f"0 {user} 1")
        (own / "gid_map").write_text(f"0 {group} 1")


def become(argv: Sequence[str]) -> NoReturn:
    """Replace this program by a command; exit with 127, as shells do, where that cannot be run."""
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        _leave(127, f"{argv[0]} cannot be run: {error.strerror}")


def main(argv: Sequence[str]) -> NoReturn:
    """Enter a lab and become the given command."""
    if not argv:
        _leave(2, "usage: python -m tests.faults.lab COMMAND [ARGUMENT ...]")
    try:
        enter()
    except LabError as error:
        _leave(CANNOT_ENTER, str(error))
    become(argv)


def _leave(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
