"""The tables of docs/performance.md, from the figures."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import table
from benchmarks.shared import Figures

NAMES = {
    "worker": "worker",
    "bare": "(a) bare loop",
    "quix": "(b) Quix Streams and River",
    "former": "(c) worker at 48f6e1e",
}


def name_of(arm: str) -> str:
    """Name an arm in a table."""
    first, _, number = arm.partition("-")
    return f"{NAMES[first]}, {number} preparing processes" if number else NAMES[first]


def comparison(figures: dict[str, Figures]) -> str:
    """Write the table of one stream."""
    own = figures.get("worker", {}).get("cpu_us")
    rows = []
    for arm, each in figures.items():
        share = f"{each['cpu_us'] / own:.2f}" if own else ""
        rows.append(
            [
                name_of(arm),
                f"{each['cpu_us']:,.0f}",
                share,
                f"{each['broker_cpu_us']:,.0f}",
                f"{each['events_a_second']:,.0f}",
                _of(each, "live_rate", "{:,.0f}"),
                _of(each, "p50_ms", "{:,.0f}"),
                _of(each, "p99_ms", "{:,.0f}"),
                f"{each['memory_mb']:,.0f}",
            ]
        )
    head = [
        *("", "CPU µs an event", "of the worker's", "broker's µs", "events/s"),
        *("live events/s", "p50 ms", "p99 ms", "MB"),
    ]
    return table(head, rows, texts=1)


def _of(row: dict[str, Any], name: str, form: str) -> str:
    return form.format(row[name]) if name in row else ""
