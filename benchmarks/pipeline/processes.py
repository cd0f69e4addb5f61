"""Processes that are measured: their processor time and memory, as Linux tells them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 30


class EndedError(Exception):
    """A process ended by itself: the figures would say nothing."""


def tree(pid: int) -> list[int]:
    """Give a process and all that come from it."""
    below: list[str] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():  # a child is the thread's that started it
            below += (task / "children").read_text(encoding="ascii").split()
    except OSError:
        below = []
    return [pid, *(each for child in below for each in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Give the processor time of one process with its threads, 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """Give what a process has in memory, or with `VmHWM` has had at most; 0 of one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Measured:
    """A process that runs while the `with` block lasts."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self._command, self._environment, self._folder = command, environment, folder
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def check(self) -> None:
        """Make sure that it runs.

        Raises
        ------
        EndedError
            If it does not; the message holds the end of its log.
        """
        if (code := self._process.poll()) is not None:
            end = self._log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise EndedError(f"{' '.join(self._command[:4])} ended with {code}:\n{end}")

    def cpu(self) -> dict[str, float]:
        """Give the processor seconds of the process, and of each that comes from it."""
        first, *others = tree(self.pid)
        return {
            "main": cpu_seconds(first),
            **{f"child {n}": cpu_seconds(pid) for n, pid in enumerate(others)},
        }

    def memory(self) -> float:
        """Give MB in memory, of all its processes."""
        return sum(memory_mb(pid) for pid in tree(self.pid))
