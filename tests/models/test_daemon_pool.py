"""Threads that never keep a process from ending."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from models.daemon_pool import DaemonPool

WAIT_SECONDS = 60


def test_a_call_gives_what_it_returns_or_raises() -> None:
    pool = DaemonPool(2, "calls")
    assert pool.submit(lambda: 3).result(WAIT_SECONDS) == 3
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(WAIT_SECONDS)
    pool.close(WAIT_SECONDS)


def test_one_thread_takes_calls_in_their_order_and_leaves_cancelled_ones_out() -> None:
    pool, begun, gate = DaemonPool(1, "calls"), threading.Event(), threading.Event()
    seen: list[int] = []

    def first() -> None:
        begun.set()
        assert gate.wait(WAIT_SECONDS)

    pool.submit(first)
    later: list[Future[None]] = [pool.submit(lambda n=n: seen.append(n)) for n in range(4)]
    assert begun.wait(WAIT_SECONDS)
    assert later[1].cancel()
    gate.set()
    pool.close(WAIT_SECONDS)
    assert seen == [0, 2, 3]


def test_a_pool_that_nobody_uses_any_more_leaves_no_threads_behind() -> None:
    pool = DaemonPool(2, "forgotten")
    threads = pool._threads
    del pool
    gc.collect()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert not any(thread.is_alive() for thread in threads)


HUNG = """
import threading
from models.daemon_pool import DaemonPool

pool, begun = DaemonPool(1, "hangs"), threading.Event()
pool.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
pool.close(0.1)
print("at the end", flush=True)
"""


def test_a_process_ends_though_a_call_hangs() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HUNG],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (0, "at the end\n")
