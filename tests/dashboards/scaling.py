"""How many workers KEDA would have, by the queries and the formula of its overlay.

promtool computes the queries on made-up series, as Prometheus would; what comes of their values is
arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tests.dashboards.contents import DEPLOY

_OVERLAY = DEPLOY / "k8s" / "components" / "keda" / "scaledobject.yaml"
_LABELS = 'namespace="segmenter", container="worker"'
_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Case:
    """Three workers with four partitions each, and what is wanted of them.

    Attributes
    ----------
    name
        In words.
    records_per_second
        What each does.
    lag_records
        What waits in the partitions of each.
    lag_seconds
        Of the partitions that are latest, by worker; without any where they do not tell it.
    rate, late
        The values of KEDA's two queries.
    workers
        How many there should be.
    """

    name: str
    records_per_second: int
    lag_records: int
    lag_seconds: Sequence[float]
    rate: float
    late: float
    workers: int


CASES = (
    Case("little comes and nothing waits", 100, 0, (0, 0, 0), 1, 0, 1),
    Case("more comes than one worker is to be given", 250, 0, (0, 0, 1), 2.5, 0, 3),
    Case("all are two minutes late", 250, 40_000, (120, 110, 90), 2.5, 6, 6),
    Case("after a night without workers", 250, 9_000_000, (36_000, 36_000, 36_000), 2.5, 180, 12),
    Case("one partition is stuck", 100, 100, (7_200, 0, 0), 1, 0.05, 1),
    Case("timestamps are of long ago", 100, 100, (3e8, 3e8, 3e8), 1, 0.05, 1),
    Case("right after a start", 0, 20_000, (30, 30, 30), 0, 1.5, 2),
    Case("workers that do not tell their lag in seconds", 250, 30_000, (), 2.5, 6, 6),
)


def scaled_object() -> dict[str, Any]:
    """Give the overlay's resource."""
    found: dict[str, Any] = yaml.safe_load(_OVERLAY.read_text(encoding="utf-8"))
    return found


def evaluated(formula: str, values: Mapping[str, float]) -> float:
    """Evaluate a chain of `condition ? number :`, the part of KEDA's language that is used."""
    *cases, last = re.split(r"\s*:\s*", formula)
    for case in cases:
        condition, number = case.split("?")
        if eval(condition, {"__builtins__": {}, "max": max}, dict(values)):
            return float(number)
    return float(last)


def promtool_tests() -> str:
    """Give a file of promtool's that computes the queries of each case."""
    queries = {
        trigger["name"]: trigger["metadata"]["query"]
        for trigger in scaled_object()["spec"]["triggers"]
    }
    tests = [
        {
            "name": case.name,
            "interval": "1m",
            "input_series": list(_series(case)),
            "promql_expr_test": [
                {
                    "expr": f"round({queries[name]}, 0.001)",
                    "eval_time": f"{_MINUTES}m",
                    "exp_samples": [{"labels": "{}", "value": value}],
                }
                for name, value in (("rate", case.rate), ("late", case.late))
            ],
        }
        for case in CASES
    ]
    return yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": tests})


def _series(case: Case) -> Sequence[dict[str, str]]:
    steady = f"+0x{_MINUTES}"
    found = []
    for worker in range(3):
        of = f'{_LABELS}, pod="worker-{worker}"'
        grows = f"0+{case.records_per_second * 60}x{_MINUTES}"
        found += [
            (f"segmenter_assigned_partitions{{{of}}}", f"4{steady}"),
            (f'segmenter_records_total{{{of}, partition="{worker}"}}', grows),
            (f'segmenter_lag_records{{{of}, partition="{worker}"}}', f"{case.lag_records}{steady}"),
        ]
    for worker, age in enumerate(case.lag_seconds):
        of = f'{_LABELS}, pod="worker-{worker}", partition="{worker}"'
        found.append((f"segmenter_lag_seconds{{{of}}}", f"{age:.0f}{steady}"))
    # A trainer's are not to be counted.
    of = 'namespace="segmenter", container="trainer", pod="t", partition="0"'
    found += [
        (f"segmenter_lag_records{{{of}}}", f"1000000{steady}"),
        (f"segmenter_lag_seconds{{{of}}}", f"100000{steady}"),
    ]
    return [{"series": series, "values": values} for series, values in found]
