"""Every metric there is: the roles that have it, type, name, labels and meaning, in `metrics.md`.

The names there go without the prefix `segmenter_` and without the suffix that Prometheus wants of a
counter. `make docs` writes the reference in docs/metrics.md from this table.

What workers tell adds up over the workers of a group: a user, a record, a partition is counted by
the one worker that has it. Labels are bounded: types, reasons, partitions, segments. Where the
values of a label are known, their counters are there from the start at 0, since the step from
nothing to the first count is none to Prometheus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from consumer.report.markdown import code, table

PREFIX = "segmenter_"

Role = Literal["worker", "trainer", "recommender", "intake", "rules", "verify"]
"""A process that tells of itself; `verify` is `segmenter verify --follow`."""

_FILE = Path(__file__).with_name("metrics.md")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of this product.

    Attributes
    ----------
    roles
        The processes that have it.
    type, name
        As Prometheus has them; the name as it is in this table.
    labels
        Their names.
    meaning
        A sentence, for the exposition's HELP and for the reference.
    more
        What the reference adds, in Markdown.
    """

    roles: Sequence[str]
    type: str
    name: str
    labels: Sequence[str]
    meaning: str
    more: str

    @property
    def full_name(self) -> str:
        """The name that Prometheus shows."""
        return f"{PREFIX}{self.name}{'_total' if self.type == 'counter' else ''}"


def _metric(line: str) -> Metric:
    roles, kind, name, labels, meaning, more = (cell.strip() for cell in line.split("|")[1:-1])
    names = labels.split(", ") if labels else []
    return Metric(roles.split(", "), kind, name, names, meaning, more)


_LINES = _FILE.read_text(encoding="utf-8").splitlines()[2:]
METRICS = {metric.name: metric for metric in map(_metric, _LINES)}
"""By name."""


def metrics_of(role: Role) -> list[Metric]:
    """Give the metrics that a process of a role has."""
    return [metric for metric in METRICS.values() if role in metric.roles]


def reference() -> str:
    """Write the tables for docs/metrics.md, one for each set of roles that has its own."""
    parts = []
    for roles, metrics in groupby(METRICS.values(), lambda metric: metric.roles):
        rows = (
            (
                code(metric.full_name),
                metric.type,
                code(*metric.labels),
                f"{metric.meaning} {metric.more}".rstrip(),
            )
            for metric in metrics
        )
        parts.append(f"Of {code(*roles)}:\n\n{table(('metric', 'type', 'labels', ''), rows)}")
    return "\n".join(parts)
