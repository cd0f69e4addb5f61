"""Prometheus metrics of `segmenter intake`, beside those of its loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.stages.intake import IntakeStage, KeyFate
from schemas.dead_letters import RefusalReason


class IntakeCollector(Collector):
    """Figures of the stage; read when Prometheus asks."""

    def __init__(self, stage: IntakeStage) -> None:
        self._stage = stage

    def collect(self) -> Iterable[Metric]:
        """Read the stage."""
        stats = self._stage.stats
        records = CounterMetricFamily(
            "segmenter_intake_records",
            "Records brought to their users' partitions, by what became of their key.",
            labels=["key"],
        )
        for fate in get_args(KeyFate):
            records.add_metric([fate], stats.rekeyed[fate])
        yield records
        refused = CounterMetricFamily(
            "segmenter_intake_dead_letters", "Records refused.", labels=["reason"]
        )
        for reason in RefusalReason:
            refused.add_metric([reason], stats.refused[reason])
        yield refused
