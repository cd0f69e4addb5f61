"""What a user takes of memory, and what an event costs by the number of users there are.

    python -m benchmarks.pipeline memory --users 10000 1000000 --events 3 64
    python -m benchmarks.pipeline memory --against DIR --users 100000 --events 3

Profiles are made up, of the users of the multiplied stream, and put into the stage's table as
committed batches put them. Bytes are those by which the process grew (VmRSS), with all that a table
needs beside the profiles. Words have those users who are in a sample of 3,000 of 1 M; in a checkout
of another version everybody has some. Then batches of those users' events are timed, by turns with
the other numbers of users.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from itertools import islice, product
from pathlib import Path
from typing import Any

from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.pipeline.page import keep, memory
from benchmarks.pipeline.stage import microseconds
from benchmarks.pipeline.stream import (
    SAMPLE,
    SHORT_WORDS,
    line_of,
    make_table,
    multiplied,
    read_events,
)
from benchmarks.shared import DATA, Figures, say
from consumer.settings import Settings

_PASS = 40
_MILLION = 1_000_000


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--users", type=int, nargs="+", default=[10_000, 100_000, _MILLION], help="numbers of users"
    )
    add("--events", type=int, nargs="+", default=[3, 64], help="events of each user")
    add("--precisions", nargs="+", default=["float32", "float16"], help="of the vectors")
    add("--against", type=Path, help="another checkout, with its .venv, in place of this one")
    add("--references", type=int, nargs="+", help="kept of each user; else as by default, and none")
    add("--rounds", type=int, default=4, help="rounds of four batches that are timed")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--output", type=Path, help="where the figures go, into what is there")


def measure(options: argparse.Namespace) -> Figures:
    """Measure all that is asked for, and tell it."""
    kept = make_table(options.cache, options.data)
    checkout = options.against or ROOT
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for precision in options.precisions:
            for events, references in product(options.events, _references(options)):
                case = {"precision": precision, "events": events, "references": references}
                rows += _sizes(checkout, kept, Path(name), case, options)
                say(memory(rows))
    return keep(options.output, **{"memory" if options.against is None else "memory_former": rows})


def _references(options: argparse.Namespace) -> list[int | None]:
    """Give the numbers of references to measure; a former version has no such setting."""
    if options.references is not None:
        return list(options.references)
    return [None] if options.against is not None else [Settings().profile.references, 0]


def namesakes(data: Path) -> list[str]:
    """Give the users whose namesakes are put into a table."""
    return sorted({event["user_id"] for event in read_events(data, SHORT_WORDS)})


def _sizes(
    checkout: Path,
    kept: Path,
    folder: Path,
    case: dict[str, Any],
    options: argparse.Namespace,
) -> list[Figures]:
    """Measure all numbers of users at once, each in a process of its own."""
    stream = read_events(options.data, SHORT_WORDS)
    names = namesakes(options.data)
    rows: list[Figures] = []
    size = 4 * 512
    with ExitStack() as stack:
        drivers = []
        for users in options.users:
            driver = stack.enter_context(Checkout(checkout))
            settings: dict[str, Any] = {}
            if case["precision"] != "float32":
                settings["profile"] = {"precision": case["precision"]}
            if case["references"] is not None:
                settings.setdefault("profile", {})["references"] = case["references"]
            driver.ask("make", table=str(kept), threshold=SAMPLE / _MILLION, settings=settings)
            copies = max(1, users // len(names))
            held = driver.ask("populate", names=names, copies=copies, events=case["events"])
            rows.append({**case, **held})
            path = folder / f"window-{users}.tsv"
            window = islice(
                multiplied(stream, users, first_pass=_PASS), (options.rounds + 1) * size
            )
            path.write_bytes(b"".join(map(line_of, window)))
            drivers.append((driver, str(path)))
        runs: list[list[dict[str, Any]]] = [[] for _ in drivers]
        for number in range(options.rounds + 1):
            for (driver, path), own in zip(drivers, runs, strict=True):
                place = number * size
                own.append(driver.ask("feed", path=path, start=place, stop=place + size))
    for row, own in zip(rows, runs, strict=True):
        for name, steps in (("apply_us", ("apply",)), ("event_us", ("prepare", "apply"))):
            # The first round warms up.
            each = [microseconds(run, *steps) for run in own[1:]]
            row[name] = round(min(each), 1)
            row[f"{name}_median"] = round(statistics.median(each), 1)
    return rows
