"""The end of a process: it comes in a set time, in order or by force.

A signal or an error begins it (`begin`). From then on the process has `seconds` to finish what it
has begun. If it is still there after that, something hangs: a device, a volume, a client. Then the
stacks of all threads go to the log, and the process exits with 3. A second signal does the same at
once.

Signals are taken by a thread: Python runs its own handlers in the main thread only, and not while
that waits in a library for brokers that are away. All of this is the process's own, as signals are;
in a process that has not called `watch`, such as one that runs tests, nothing here does anything.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

logger = logging.getLogger(__name__)

EXIT_FORCED = 3
EXIT_INTERRUPTED = 130

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A log that nobody reads can hang, too.
_LOG_SECONDS = 2.0


class _Ending:
    """What there is to know of the one process."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        """None until `watch` is called."""
        self.begun = threading.Event()
        self.signalled = False
        self.last: list[Callable[[], None]] = []
        self.stops: list[Callable[[], None]] = []


_ending = _Ending()


def exit_at_signals(code: int) -> None:
    """Exit with this at SIGTERM and SIGINT, until `watch`: nothing has begun that must be ended."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))


def watch(seconds: float) -> None:
    """Take SIGTERM and SIGINT from now on; to be called once, in the main thread.

    Until somebody says otherwise (`stopping_by`) they raise KeyboardInterrupt there.

    Parameters
    ----------
    seconds
        From a signal or an error to the end.
    """
    _ending.seconds = seconds
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    # The interpreter writes the number of a signal there at once, whatever the main thread does.
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reads,), name="signals", daemon=True).start()


@contextmanager
def stopping_by(stop: Callable[[], None]) -> Iterator[None]:
    """Call this on a signal, in place of the interrupt; it may come from any thread."""
    _ending.stops.append(stop)
    try:
        yield
    finally:
        _ending.stops.remove(stop)


def stop() -> None:
    """Do what a signal does, but for the clock."""
    if _ending.stops:
        _ending.stops[-1]()


def before_force(call: Callable[[], None]) -> None:
    """Do this before an end by force, such as killing children; it must not wait."""
    _ending.last.append(call)


def begin(why: str) -> None:
    """Give the process its last seconds, counted from the first call."""
    if _ending.seconds is None or _ending.begun.is_set():
        return
    _ending.begun.set()
    threading.Thread(target=_wait, args=(_ending.seconds, why), name="ending", daemon=True).start()


def leave(code: int) -> NoReturn:
    """Exit at once, in a way that nothing that hangs can hold up."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def leave_if_begun(code: int) -> None:
    """Exit at once where the end has begun: threads that hang must not outlive it."""
    if _ending.begun.is_set():
        leave(code)


def stacks() -> str:
    """Give the stacks of all threads; they hold places in the code, and no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for number, frame in sys._current_frames().items():
        lines = "".join(traceback.format_stack(frame)).rstrip()
        parts.append(f"thread {names.get(number, number)}:\n{lines}")
    return "\n".join(parts)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if not _ending.stops:
        raise KeyboardInterrupt


def _listen(reads: int) -> None:
    while data := os.read(reads, 1):
        if data[0] not in _SIGNALS:
            continue
        name = signal.Signals(data[0]).name
        if _ending.signalled:
            _force(f"{name} received while the process was ending")
        _ending.signalled = True
        begin(f"{name} received")
        _tell(logging.INFO, f"{name} received")
        stop()


def _wait(seconds: float, why: str) -> None:
    time.sleep(seconds)
    _force(f"the process has not ended {seconds:g} s after: {why}")


def _tell(level: int, text: str) -> None:
    """Log in a thread of its own, which is waited for, but not for ever."""
    told = threading.Thread(target=logger.log, args=(level, "%s", text), name="log", daemon=True)
    told.start()
    told.join(_LOG_SECONDS)


def _force(why: str) -> None:
    """Exit with the stacks in the log."""
    _tell(logging.CRITICAL, f"{why}; it is ended by force; its threads:\n{stacks()}")
    for call in _ending.last:
        with suppress(Exception):
            call()
    os._exit(EXIT_FORCED)
