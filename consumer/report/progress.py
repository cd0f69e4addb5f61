"""Progress of long work, on a terminal or in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_PLAIN_SECONDS = 5.0

Expected = Callable[[], int | None]
"""Asked for the count at the end, as far as it can be told."""


@contextmanager
def counting(
    console: Console, what: str, unit: str, expected: Expected = lambda: None
) -> Iterator[Callable[[int], None]]:
    """Show a count, its rate and the time to go; a line every few seconds without a terminal."""
    started = time.monotonic()
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("to go"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=None, rate="")

            def show(done: int) -> None:
                rate = done / max(time.monotonic() - started, 1e-9)
                bar.update(task, completed=done, total=expected(), rate=f"{rate:,.0f} {unit}/s")

            yield show
        return
    last = started

    def log(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLAIN_SECONDS:
            last = now
            console.print(line(what, unit, done, expected(), now - started), soft_wrap=True)

    yield log


@contextmanager
def steps() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show the steps of some work, one at a time, on standard error.

    What it gives is called with a step's name, how much of it is done, and how much there is, None
    where that cannot be told. Without a terminal a step that takes long has a line every few
    seconds.
    """
    console = Console(stderr=True)
    last = time.monotonic()
    if not console.is_terminal:

        def log(what: str, done: int, total: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _PLAIN_SECONDS:
                last = now
                of = "" if total is None else f": {done:,} of {total:,}"
                console.print(f"{what}{of}", soft_wrap=True)

        yield log
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield show


def line(what: str, unit: str, done: int, total: int | None, seconds: float) -> str:
    """Tell the state of some work in one line.

    Parameters
    ----------
    what, unit
        The work and what is counted.
    done, total
        The count so far and at the end; None where that is not known.
    seconds
        Since the beginning.
    """
    rate = done / max(seconds, 1e-9)
    of = "" if total is None else f" of about {total:,}"
    text = f"{what}: {done:,}{of} {unit}, {rate:,.0f} a second"
    if total is None or not done:
        return text
    left = round(max(total - done, 0) / rate)
    return f"{text}, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} to go"
