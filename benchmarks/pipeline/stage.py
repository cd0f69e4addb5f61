"""What prepare and apply of the worker's own stage cost, without Kafka, beside another checkout's.

    python -m benchmarks.pipeline stage --against DIR
    python -m benchmarks.pipeline stage --without profile.references=0
    python -m benchmarks.pipeline stage --streams million --texts short --profile apply

DIR is a checkout of another version with its `.venv`; with --without the other side is this version
with another value of a setting. Both get the same file of events, the same
table for a model and the same segment model, and are timed by turns, a few batches each, in
processor time of the whole process. `million`: ids multiplied to 1 M users (--users), of whom the
trainer samples 3,000; the users in the timed window have had two events before, but for the share
who are new. `as-it-is`: the 2,959 users, all sampled. `short`: texts cut to 40 words.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.pipeline.page import keep
from benchmarks.pipeline.stream import SHORT_WORDS, Stream, as_it_is, make_table, million
from benchmarks.shared import DATA, Figures, say

STEPS = ("prepare", "apply")
TEXTS = {"short": SHORT_WORDS, "full": None}
STREAMS = ("million", "as-it-is")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--against", type=Path, help="another checkout, with its .venv")
    add("--without", type=setting, help="this version with a setting as SECTION.NAME=JSON")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), help="which streams")
    add("--texts", nargs="+", choices=list(TEXTS), default=list(TEXTS), help="which texts")
    add("--users", type=int, default=1_000_000, help="users of the multiplied stream")
    add("--rounds", type=int, default=6, help="rounds that are timed")
    add("--batches", type=int, default=4, help="batches in a round")
    add("--batch", type=int, default=512, help="events in a batch")
    add("--profile", choices=STEPS, help="also tell where this step's time goes, in one more round")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--output", type=Path, help="where the figures go, as JSON")


def setting(text: str) -> dict[str, dict[str, Any]]:
    """Read a setting and its value, as the sections of settings that it makes."""
    name, _, value = text.partition("=")
    section, _, own = name.partition(".")
    return {section: {own: json.loads(value)}}


def measure(options: argparse.Namespace) -> Figures:
    """Measure all that is asked for, and tell it."""
    checkouts = {"this": ROOT}
    if options.without is not None:
        checkouts = {"without": ROOT, **checkouts}
    if options.against is not None:
        checkouts = {"former": options.against, **checkouts}
    kept = make_table(options.cache, options.data)
    return keep(options.output, stage=_all(checkouts, kept, options))


def beside(without: dict[str, dict[str, Any]], kept: Path, **how: Any) -> Figures:
    """Measure this version beside itself with other settings, by turns.

    Parameters
    ----------
    without
        The other settings.
    kept
        The table for a model.
    how
        What the options say: data, streams, texts, users, rounds.
    """
    options = argparse.Namespace(
        **how, without=without, against=None, batches=4, batch=512, profile=None
    )
    return _all({"without": ROOT, "this": ROOT}, kept, options)


def _all(checkouts: dict[str, Path], kept: Path, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for which in options.streams:
            for length in options.texts:
                stream = _stream(Path(name), options, which, TEXTS[length])
                say(f"\n{which}, {length} texts")
                runs = _by_turns(checkouts, kept, stream, options)
                summary = {side: summary_of(each) for side, each in runs.items()}
                figures[f"{which}, {length}"] = {**summary, **ratios_of(runs)}
                say(_told(figures[f"{which}, {length}"], list(checkouts)))
    return figures


def _stream(folder: Path, options: argparse.Namespace, which: str, words: int | None) -> Stream:
    rounds = options.rounds + (1 if options.profile else 0)
    timed = rounds * options.batches * options.batch
    if which == "million":
        return million(folder, options.data, words, timed, options.users)
    return as_it_is(folder, options.data, words, timed)


def _by_turns(
    checkouts: dict[str, Path], kept: Path, stream: Stream, options: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    size = options.batches * options.batch
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    with ExitStack() as stack:
        drivers = {name: stack.enter_context(Checkout(path)) for name, path in checkouts.items()}
        path = str(stream.path)
        for name, driver in drivers.items():
            settings = options.without if name == "without" else {}
            driver.ask("make", table=str(kept), threshold=stream.threshold, settings=settings)
            driver.ask("feed", path=path, start=0, stop=stream.filling)
        place = stream.filling
        for _ in range(options.rounds):
            for name, driver in drivers.items():
                some = {"path": path, "start": place, "stop": place + size, "batch": options.batch}
                runs[name].append(driver.ask("feed", **some))
            place += size
        if options.profile:
            stop = place + size
            told = drivers["this"].ask(
                "feed",
                path=path,
                start=place,
                stop=stop,
                profile=options.profile,
                batch=options.batch,
            )
            say(told["profiled"])
    return runs


def microseconds(run: dict[str, Any], *steps: str) -> float:
    """Give what steps cost, in microseconds an event."""
    return float(sum(run[step] for step in steps) / run["events"] * 1e6)


def summary_of(runs: list[dict[str, Any]]) -> Figures:
    """Give the least and the median of what an event costs, and what was written for it."""
    summary: Figures = {}
    for name, steps in (*((step, (step,)) for step in STEPS), ("together", STEPS)):
        each = [microseconds(run, *steps) for run in runs]
        summary[name] = {"least": round(min(each), 1), "median": round(statistics.median(each), 1)}
    events = sum(run["events"] for run in runs)
    topics = sorted({topic for run in runs for topic in run["out"]})
    summary["out"] = {
        topic: {
            "records": round(sum(run["out"].get(topic, [0, 0])[0] for run in runs) / events, 3),
            "bytes": round(sum(run["out"].get(topic, [0, 0])[1] for run in runs) / events),
        }
        for topic in topics
    }
    summary["not_in_table"] = runs[-1]["missed"]
    return summary


def ratios_of(runs: dict[str, list[dict[str, Any]]]) -> Figures:
    """Give the last side's cost as a share of the first's: of least, and the median of rounds'."""
    if len(runs) == 1:
        return {}
    first, last = runs.values()
    ratios: Figures = {}
    for name, steps in (*((step, (step,)) for step in STEPS), ("together", STEPS)):
        ours = [microseconds(run, *steps) for run in last]
        theirs = [microseconds(run, *steps) for run in first]
        ratios[name] = {
            "least": round(min(ours) / min(theirs), 3),
            "median": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3),
        }
    return {"ratio": ratios}


def _told(figures: Figures, sides: list[str]) -> str:
    rows = []
    for side in sides:
        own = figures[side]
        cells = [
            f"{own[step]['least']:.1f} ({own[step]['median']:.1f})" for step in (*STEPS, "together")
        ]
        written = ", ".join(
            f"{topic} {each['records']:g} of {each['bytes'] / max(each['records'], 1e-9):,.0f} B"
            for topic, each in own["out"].items()
        )
        rows.append([side, *cells, written])
    if "ratio" in figures:
        cells = [
            f"{each['least']:.3f} ({each['median']:.3f})" for each in figures["ratio"].values()
        ]
        rows.append(["ratio", *cells, ""])
    head = [
        "CPU µs an event: least (median)",
        *STEPS,
        "together",
        "records an event and their bytes",
    ]
    lines = table(head, rows, texts=1)
    missed = {side: figures[side]["not_in_table"] for side in sides}
    if any(missed.values()):
        lines += f"\ntexts that the table does not know, cleaned otherwise: {missed}"
    return lines
