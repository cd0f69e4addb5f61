"""Threads for calls that may hang: they never keep the process from ending.

The interpreter waits for an executor's threads when it ends. A device, a volume or a client that
hangs in one would then keep alive the very process that has to be started again because of it.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")
_Entry = tuple[Future[Any], Callable[[], Any]] | None


class DaemonPool:
    """Runs calls in so many threads, first come, first served.

    Parameters
    ----------
    threads
        How many; with one, a call begins when the one before has ended.
    name
        Of the threads, for whoever reads their stacks.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._calls: queue.SimpleQueue[_Entry] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_run, args=(self._calls,), name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        # One that nobody closed and nobody uses leaves no threads behind.
        self._end = weakref.finalize(self, _put_ends, self._calls, threads)

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Queue a call; its future can be cancelled until it begins."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def close(self, seconds: float = 0) -> None:
        """Take no more calls; wait this long for those queued and under way, and not longer."""
        self._end()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))


def _put_ends(calls: queue.SimpleQueue[_Entry], count: int) -> None:
    for _ in range(count):
        calls.put(None)


def _run(calls: queue.SimpleQueue[_Entry]) -> None:
    while (entry := calls.get()) is not None:
        future, call = entry
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:
                # Whoever asks for the result raises it.
                future.set_exception(error)
        # While it waits for the next one it must not keep alive what the last one used.
        del entry, future, call
