"""Prometheus metrics of drift, which only the trainer has: it sees the whole group's sample.

Labels are bounded: tests, detectors, and the segments that there are; a segment that is retired
takes its series along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.stages.training.drift import DriftMonitor
from consumer.telemetry.metrics import counter
from models.drift.check import TESTS, Outcome
from models.drift.detector import DETECTOR


class DriftCollector(Collector):
    """What the trainer knows of drift; a figure that there is none of yet has no series."""

    def __init__(self, monitor: DriftMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterable[Metric]:
        """Read the monitor."""
        monitor = self._monitor
        report = monitor.report
        yield from self._tests("segmenter_drift", {(): report.tests} if report else {})
        yield from self._tests(
            "segmenter_segment_drift",
            {(str(segment),): tests for segment, tests in report.segments.items()}
            if report
            else {},
        )
        yield counter(
            "segmenter_drift_alarms",
            "Times that a test went over its threshold.",
            ["test"],
            (([test], monitor.alarms[test]) for test in TESTS),
        )
        yield counter(
            "segmenter_drift_detections",
            "Times that a detector found a change of the texts' distance from the nearest centre.",
            ["detector"],
            [([DETECTOR], monitor.detections[DETECTOR])],
        )
        yield counter(
            "segmenter_drift_retrainings",
            "Searches for better segments that an alarm caused.",
            [],
            [([], monitor.retrainings)],
        )
        for name, text, value in (
            (
                "churn_ratio",
                "Share of the reference's users, still sampled, in another segment than then.",
                monitor.churn,
            ),
            (
                "reference_age_seconds",
                "Event time from the reference's latest event to the latest of today.",
                None if monitor.age is None else monitor.age.total_seconds(),
            ),
            (
                "reference_users",
                "Users in the reference; 0 while it is collected.",
                monitor.reference_users,
            ),
            ("current_users", "Users compared with it.", report.current_users if report else 0),
        ):
            # Without a value the metric is told, but has no series.
            known = None if value is None else float(value)
            yield GaugeMetricFamily(f"segmenter_drift_{name}", text, value=known)

    def _tests(
        self, prefix: str, groups: Mapping[tuple[str, ...], Mapping[str, Outcome]]
    ) -> Iterable[Metric]:
        labels = ["segment", "test"] if prefix == "segmenter_segment_drift" else ["test"]
        for name, text in (
            ("statistic", "How far today's texts are from the reference's, less what is chance."),
            ("threshold", "What the statistic has to be above for an alarm."),
            ("alarm", "1 while the statistic is above its threshold."),
        ):
            family = GaugeMetricFamily(f"{prefix}_{name}", text, labels=labels)
            for group, tests in groups.items():
                for test, outcome in tests.items():
                    family.add_metric([*group, test], float(getattr(outcome, name)))
            yield family
