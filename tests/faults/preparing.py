"""Faults of the processes that prepare batches for workers."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.faults.rig import Options, Rig, expect

PREPARING = Options(workers=2, sections={"batch": {"prepare_processes": 2}})


def children(pid: int) -> list[int]:
    """Give the processes that a process has started, from whichever of its threads."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def kill_preparing(rig: Rig, trials: int) -> int:
    """SIGKILL of processes that prepare, of one or of all that a worker has; of the worker, too."""
    rig.start()
    started: set[int] = set()
    for number in range(trials):
        rig.pause(0.1, 1.0)
        victim = rig.draw.choice(rig.workers)
        pids = children(victim.pid)
        started.update(pids)
        for pid in pids[: rig.draw.randint(1, 2)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if number % 3 == 2:
            victim.signal(signal.SIGKILL)
            rig.recover(measure=False)
    rig.recover(measure=False)
    codes = {code for worker in rig.workers for code in worker.exits}
    expect(codes <= {-signal.SIGKILL}, f"workers ended by themselves: {codes}")
    alive = {pid for worker in rig.workers for pid in children(worker.pid)}
    expect(len(alive) == 2 * len(rig.workers), f"{len(alive)} processes prepare")
    rig.until(
        lambda: not any(map(_prepares, started - alive)), "the end of what dead workers left", 30
    )
    return trials


def _prepares(pid: int) -> bool:
    try:
        return b"consumer.process.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
