"""Where the processor time of an event goes, step by step, without Kafka, beside another build.

    python -m benchmarks.pipeline budget --against DIR

The stream is that of a million users, with texts of 40 words, in batches as large as a worker's are
under load. Functions that do a step are timed, each without what others of these do within it; the
least of some rounds counts, of each step by itself, so the steps add up to a little less than all
of them together.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.pipeline.page import budget, keep
from benchmarks.pipeline.stream import SHORT_WORDS, make_table, million
from benchmarks.shared import DATA, Figures, say


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--against", type=Path, help="another checkout, with its .venv")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--users", type=int, default=1_000_000, help="users of the stream")
    add("--rounds", type=int, default=6, help="rounds that are timed")
    add("--batch", type=int, default=2048, help="events in a batch, and in a round")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--output", type=Path, help="where the figures go, as JSON")


def measure(options: argparse.Namespace) -> Figures:
    """Measure each checkout by turns, and tell it."""
    checkouts = [path for path in (options.against, ROOT) if path is not None]
    kept = str(make_table(options.cache, options.data))
    rounds: list[list[dict[str, Any]]] = [[] for _ in checkouts]
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        timed = options.rounds * options.batch
        stream = million(Path(name), options.data, SHORT_WORDS, timed, options.users)
        path = str(stream.path)
        drivers = [stack.enter_context(Checkout(each)) for each in checkouts]
        for driver in drivers:
            driver.ask("make", table=kept, threshold=stream.threshold, settings={})
            driver.ask("feed", path=path, start=0, stop=stream.filling, batch=options.batch)
        for start in range(stream.filling, stream.filling + timed, options.batch):
            part = {"path": path, "start": start, "stop": start + options.batch}
            for driver, own in zip(drivers, rounds, strict=True):
                own.append(driver.ask("budget", **part, batch=options.batch))
    names = [*map(commit_of, checkouts[:-1]), "now"]
    sides = {name: least(own) for name, own in zip(names, rounds, strict=True)}
    figures: Figures = {"users": options.users, "batch": options.batch, "sides": sides}
    say(budget(figures))
    return keep(options.output, budget=figures)


def least(rounds: list[dict[str, Any]]) -> Figures:
    """Give the least that each step takes, in microseconds an event, and all of them together."""
    told = [
        {step: seconds / each["events"] * 1e6 for step, seconds in each["steps"].items()}
        for each in rounds
    ]
    found = {step: round(min(each[step] for each in told), 2) for step in told[0]}
    return {**found, "together": round(min(sum(each.values()) for each in told), 2)}


def commit_of(checkout: Path) -> str:
    """Name the commit of a checkout."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
