"""A thread for calls that may hang."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class CallThread:
    """Runs one call after another in a thread that never keeps the process from ending.

    An executor's threads are joined when the interpreter ends; a device or a client that hangs
    would then hang the very process that is to be started again because of it.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Queue a call; its future can be cancelled until it begins."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def close(self, seconds: float = 0) -> None:
        """Take no more calls; wait this long for the one under way, and not longer."""
        self._calls.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                # Whoever asks for the result raises it.
                future.set_exception(error)
            # While it waits for the next one it must not keep alive what the last one used.
            del entry, future, call
