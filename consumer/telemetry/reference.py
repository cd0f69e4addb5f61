"""The reference of metrics for docs/operations.md, made from the table."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.report.markdown import code, table
from consumer.telemetry.table import BY_ROLES, Metric, Role

_PROCESSES: dict[Role, str] = {
    "worker": "workers",
    "trainer": "trainers",
    "intake": "intake",
    "verify": "`segmenter verify --follow`",
}


def metrics_reference() -> str:
    """Write a table for each set of roles that has metrics of its own."""
    parts = []
    for roles, metrics in BY_ROLES.items():
        *first, last = (_PROCESSES[role] for role in roles)
        told = f"{', '.join(first)} and {last}" if first else last
        parts.append(f"{told[0].upper()}{told[1:]}:\n\n{_table(metrics)}")
    return "\n".join(parts)


def _table(metrics: Iterable[Metric]) -> str:
    return table(
        ["metric", "type", "labels", ""],
        (
            [
                code(metric.full_name),
                metric.type,
                code(*metric.labels),
                f"{metric.meaning} {metric.more}".rstrip(),
            ]
            for metric in metrics
        ),
    )
