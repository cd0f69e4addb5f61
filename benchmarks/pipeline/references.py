"""What references of events cost: time an event and memory a user, beside the same without them.

    python -m benchmarks.pipeline references
    python -m benchmarks.pipeline references --render

Two sides of this version, with `profile.references` as it is by default and with 0. Time is the
stage's, by turns, as `stage --without profile.references=0` measures it; memory is that by which a
process grows for each user, as `memory` measures it, each side in a process of its own. Both are
little moved by neighbours on the machine. The tables go into docs/explanation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import embedding_facts
from benchmarks.markdown import columns
from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.pipeline.memory import namesakes
from benchmarks.pipeline.page import title_of
from benchmarks.pipeline.stage import STREAMS, beside
from benchmarks.pipeline.stream import SAMPLE, make_table
from benchmarks.shared import DATA, DOCS, RESULTS, Figures, read, say, write, write_page
from consumer.settings import Settings

OUTPUT = RESULTS / "references.json"
PAGE = DOCS / "explanation.md"
OFF = {"profile": {"references": 0}}
_MILLION = 1_000_000


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--users", type=int, default=100_000, help="users of the multiplied stream and in memory")
    add("--rounds", type=int, default=8, help="rounds that are timed")
    add("--events", type=int, nargs="+", default=[3, 64], help="events of each user in memory")
    add("--precisions", nargs="+", default=["float32", "float16"], help="of the vectors")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--render", action="store_true", help="only write what the results say")
    add("--output", type=Path, default=OUTPUT, help="where the figures go")


def measure(options: argparse.Namespace) -> Figures:
    """Measure both, and write the figures and the page."""
    if options.render:
        figures = read(options.output)
    else:
        kept = make_table(options.cache, options.data)
        figures = {
            "machine": embedding_facts(),
            "references": Settings().profile.references,
            "users": options.users,
            "stage": beside(
                OFF,
                kept,
                data=options.data,
                streams=STREAMS,
                texts=("short",),
                users=options.users,
                rounds=options.rounds,
            ),
            "memory": _memory(options, kept),
        }
        write(options.output, figures)
    parts = parts_of(figures)
    say("\n\n".join(parts.values()))
    if options.output == OUTPUT:
        write_page(PAGE, parts)
    return figures


def _memory(options: argparse.Namespace, kept: Path) -> list[Figures]:
    names = namesakes(options.data)
    rows: list[Figures] = []
    for precision in options.precisions:
        for events in options.events:
            row: Figures = {"precision": precision, "events": events}
            for side, more in (("without", OFF["profile"]), ("with", {})):
                settings = {"profile": {"precision": precision, **more}}
                with Checkout(ROOT) as driver:
                    sample = SAMPLE / _MILLION
                    driver.ask("make", table=str(kept), threshold=sample, settings=settings)
                    copies = max(1, options.users // len(names))
                    held = driver.ask("populate", names=names, copies=copies, events=events)
                row |= {"users": held["users"], side: held["bytes_a_user"]}
            rows.append(row)
    return rows


def parts_of(figures: Figures) -> Mapping[str, str]:
    """Give the two tables of the page, by their marks."""
    names = {"million": f"{figures['users']:,} users, texts 40 words"}

    def stage_row(name: str, each: Figures) -> dict[str, Any]:
        out = {
            side: each[side]["out"]["user-profiles"]["bytes"]
            / max(each[side]["out"]["user-profiles"]["records"], 1e-9)
            for side in ("without", "this")
        }
        return {
            "stream": names.get(name.partition(",")[0], title_of(name)),
            "without": each["without"]["apply"]["least"],
            "with": each["this"]["apply"]["least"],
            "record": out["this"] - out["without"],
        }

    stage = [stage_row(name, each) for name, each in figures["stage"].items()]
    return {
        "references-time": columns(
            stage,
            {
                "stream": "{stream}",
                "apply, µs an event, with 0": "{without:.1f}",
                f"with {figures['references']}": "{with:.1f}",
                "more": lambda row: f"{row['with'] - row['without']:.1f}",
                "bytes more in a record of `user-profiles`": "{record:.0f}",
            },
            texts=1,
        ),
        "references-memory": columns(
            figures["memory"],
            {
                "sums": "{precision}",
                "events a user": "{events}",
                "users": "{users:,}",
                "bytes a user, with 0": "{without:,}",
                f"with {figures['references']}": "{with:,}",
                "more": lambda row: f"{row['with'] - row['without']:,}",
            },
            texts=1,
        ),
    }
