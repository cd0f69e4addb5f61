"""Memory, threads and open files of processes, sampled over their lives, as Linux tells them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.pipeline.processes import memory_mb, tree
from benchmarks.soaking.slopes import Points


class Sample(NamedTuple):
    """What a process and all that come from it have at a moment."""

    at: float
    """By the clock of `time.monotonic`."""
    memory_mb: float
    """In memory (VmRSS)."""
    threads: int
    files: int
    """Open descriptors, sockets among them."""


MEASURES = Sample._fields[1:]


@dataclass
class Life:
    """One process from its start to its end."""

    name: str
    number: int
    """1 for the first process of this name."""
    pid: int
    began: float
    samples: list[Sample] = field(default_factory=list)

    def points(self, measure: str, since: float, settle: float) -> Points:
        """Give times and values of a measure, without what lies before.

        Parameters
        ----------
        measure
            One of `MEASURES`.
        since
            When the soak began; earlier ones have no part in it.
        settle
            Seconds from the start of the process in which it only comes to its level: state is
            read back, models are loaded, buffers are taken the first time.
        """
        first = max(self.began + settle, since)
        own = [sample for sample in self.samples if sample.at >= first]
        return [sample.at for sample in own], [getattr(sample, measure) for sample in own]


def sample(pid: int) -> Sample | None:
    """Look at a process and all that come from it; None where it is gone."""
    memory, threads, files = 0.0, 0, 0
    pids = tree(pid)
    try:
        for each in pids:
            threads += len(list(Path(f"/proc/{each}/task").iterdir()))
            files += len(list(Path(f"/proc/{each}/fd").iterdir()))
            memory += memory_mb(each)
    except OSError:
        return None
    # One that has ended and was not waited for has neither memory nor files.
    return Sample(time.monotonic(), memory, threads, files) if memory and files else None


class Watcher:
    """Samples the processes that it is told of, in a thread, while its `with` block lasts."""

    def __init__(self, seconds: float) -> None:
        self.lives: list[Life] = []
        self._seconds = seconds
        self._present: dict[str, Life] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def begin(self, name: str, pid: int) -> Life:
        """Begin with a process; the one of this name before it has ended."""
        with self._lock:
            number = 1 + sum(life.name == name for life in self.lives)
            life = Life(name, number, pid, time.monotonic())
            self.lives.append(life)
            self._present[name] = life
        return life

    def end(self, name: str) -> None:
        """Leave a process that is about to be stopped."""
        with self._lock:
            self._present.pop(name, None)

    def of(self, name: str) -> list[Life]:
        """Give the lives of a name, in their order."""
        return [life for life in self.lives if life.name == name]

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            with self._lock:
                for life in self._present.values():
                    if (now := sample(life.pid)) is not None:
                        life.samples.append(now)
