"""`segmenter watch` on a terminal: drawn when there is something new, until `q` or Ctrl-C."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live

from consumer.kafka.broker_log import broker_log
from consumer.live.page import page
from consumer.live.watcher import StoppedError, Watcher
from consumer.process import ending
from consumer.report.terminal import console
from consumer.settings import Settings

_FRAME_SECONDS = 0.25
_CLOSE_SECONDS = 2.0


class _Gathering(threading.Thread):
    """Gathers in a thread of its own: brokers that do not answer hold up no key."""

    def __init__(
        self, settings: Settings, workers: tuple[str, ...], seconds: float, minutes: float
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self.stop = threading.Event()
        self.watcher = Watcher(settings, workers, minutes, self.stop.is_set)
        self.error: Exception | None = None
        self._seconds = seconds

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.watcher.round(self._seconds)
        except StoppedError:
            pass
        except Exception as error:  # raised again where somebody sees it
            self.error = error
        finally:
            self.watcher.close()


def is_terminal() -> bool:
    """Tell whether standard output is a terminal that a picture can be drawn on."""
    return sys.stdout.isatty() and not console().is_dumb_terminal


def snapshot(settings: Settings, workers: tuple[str, ...], seconds: float, minutes: float) -> None:
    """Print what is seen once, as plain text; raises as `Watcher.once`."""
    watcher = Watcher(settings, workers, minutes)
    try:
        view = watcher.once(seconds)
    finally:
        watcher.close()
    out = console()
    for line in page(view, out.width, None):
        out.print(line, soft_wrap=True)


def watch(settings: Settings, workers: tuple[str, ...], seconds: float, minutes: float) -> None:
    """Draw what is seen until `q` is typed.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C.
    Exception
        What the program failed on while it gathered.
    """
    gathering = _Gathering(settings, workers, seconds, minutes)
    out = console()
    with _quiet_log(), _typed() as typed:
        gathering.start()
        try:
            # A screen of its own: what was there before is there again afterwards. Each picture is
            # written over the last one, and nothing is cleared in between.
            with Live(console=out, screen=True, auto_refresh=False) as live:
                drawn: tuple[object, ...] = ()
                while gathering.is_alive() and "q" not in typed(_FRAME_SECONDS).lower():
                    size = out.size
                    lines = page(gathering.watcher.view, *size, broker_log.reason())
                    if drawn != (size, lines):
                        live.update(Group(*lines), refresh=True)
                        drawn = (size, lines)
        finally:
            gathering.stop.set()
    if gathering.error is not None:
        raise gathering.error
    gathering.join(_CLOSE_SECONDS)
    if gathering.is_alive():
        ending.begin("brokers do not answer")  # it waits for them


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Keep the log from being written across the picture, which tells what it would tell."""
    root = logging.getLogger()
    former, root.handlers = root.handlers, [logging.NullHandler()]
    try:
        yield
    finally:
        root.handlers = former


@contextmanager
def _typed() -> Iterator[Callable[[float], str]]:
    """Give what waits for keys, as they are typed; where there is no keyboard, time passes."""
    if not sys.stdin.isatty():

        def nothing(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield nothing
        return
    import termios  # noqa: PLC0415 - nowhere but on a terminal
    import tty  # noqa: PLC0415

    keyboard = sys.stdin.fileno()
    former = termios.tcgetattr(keyboard)

    def restore() -> None:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, former)

    def typed(seconds: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 64).decode(errors="replace") if ready else ""

    ending.before_force(restore)
    tty.setcbreak(keyboard)
    try:
        yield typed
    finally:
        restore()
