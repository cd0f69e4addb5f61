"""A process that computes for another one: `consumer.process.children` starts it and talks to it.

It answers one request after another until nobody is there to ask. Signals to end it leaves to the
process that it works for: that one finishes its batches first, and needs it for them.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from consumer.contract.errors import ExpectedError, stack
from consumer.process import pipe
from consumer.process.garbage import looked_for_rarely
from consumer.process.logs import send_log_to_stderr
from models.embedding.errors import EmbeddingError

logger = logging.getLogger(__name__)

ORPHANED = 4
"""What it exits with where the other process has gone amid a request."""


def main(number: int) -> None:
    """Serve at a socket, by its file descriptor."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    served = socket.socket(fileno=number)
    threading.Thread(target=_watch, args=(served.fileno(),), name="watch", daemon=True).start()
    with suppress(EOFError, OSError):
        _serve(served)


def _serve(served: socket.socket) -> None:
    level, form, limit = pipe.receive(served)
    send_log_to_stderr(level, form)
    make, spec = pipe.receive(served)
    call: Callable[[Any], Any]
    try:
        call = make(spec)
    except Exception as error:
        pipe.send(served, _failed(error))
        return
    pipe.send(served, ("ready", None, 0.0))
    with looked_for_rarely():
        while True:
            request = pipe.receive(served)
            # Of a call that hangs for good not even a thread may be run any more, but the system
            # ends a process whose alarm goes off. By then the other process has given up.
            signal.alarm(limit)
            since = time.perf_counter()
            try:
                answer = ("done", call(request), time.perf_counter() - since)
            except Exception as error:
                answer = _failed(error)
            signal.alarm(0)
            pipe.send(served, answer)
            del request, answer  # it waits without what the last one took


def _failed(error: Exception) -> tuple[str, str, float]:
    """Tell of an exception: its message only where that quotes nothing."""
    if isinstance(error, ExpectedError | EmbeddingError):
        return "failed", str(error), 0.0
    logger.error("%s", stack(error))
    return "failed", f"{type(error).__name__}, see the log", 0.0


def _watch(number: int) -> None:
    """End with the process that it works for, also amid a request."""
    watch = select.poll()
    watch.register(number, 0)  # a hang-up is told unasked
    watch.poll()
    os._exit(ORPHANED)


if __name__ == "__main__":
    main(int(sys.argv[1]))
