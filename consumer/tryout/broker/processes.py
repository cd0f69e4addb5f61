"""Child processes that never outlive this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WATCHDOG = Path(__file__).with_name("watchdog.py")


class Guarded:
    """Starts processes in a group of their own, which a watchdog kills when this process dies.

    A group of its own also keeps the terminal's Ctrl-C away from a broker: the caller shuts its
    clients down first, then the broker.

    Parameters
    ----------
    keep_open
        File descriptors that the watchdog inherits: a lock on the data lasts until it has killed
        the brokers that write there, even if this process is gone.
    """

    def __init__(self, keep_open: Sequence[int] = ()) -> None:
        self._watchdog = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(WATCHDOG), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=keep_open,
            process_group=0,
        )

    def start(
        self, command: Sequence[str], *, folder: Path, console: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command in a folder, its output in a file."""
        with console.open("wb") as output:
            return subprocess.Popen(  # noqa: S603 - a command that this package makes
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=self._watchdog.pid,
            )

    def close(self) -> None:
        """Kill what has not ended yet, and the watchdog."""
        self._watchdog.communicate()
