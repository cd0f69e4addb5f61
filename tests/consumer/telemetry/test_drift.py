"""What Prometheus is told of drift."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from consumer.stages.training.figures import of_drift
from consumer.telemetry.metrics import FigureCollector
from models.drift.check import TESTS
from tests.consumer.stages.drift_data import Trainer


def scraped(trainer: Trainer) -> dict[str, dict[tuple[str, ...], float]]:
    registry = CollectorRegistry()
    registry.register(FigureCollector(lambda: of_drift(trainer.drift)))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in registry.collect():
        for each in metric.samples:
            found.setdefault(each.name, {})[tuple(each.labels.values())] = each.value
    return found


def test_before_there_is_a_reference_there_are_counters_and_no_statistics():
    found = scraped(Trainer())
    assert "segmenter_drift_statistic" not in found
    assert "segmenter_drift_churn_ratio" not in found
    assert found["segmenter_drift_reference_users"] == {(): 0.0}
    assert found["segmenter_drift_alarms_total"] == {(test,): 0.0 for test in TESTS}
    assert found["segmenter_drift_detections_total"] == {("adwin",): 0.0}
    assert found["segmenter_drift_retrainings_total"] == {(): 0.0}


def test_each_statistic_has_its_threshold_and_alarm_beside_it():
    trainer = Trainer()
    trainer.people(280)
    trainer.people(160, (0, 1, 7, 7))
    found, report = scraped(trainer), trainer.drift.report
    for name in ("statistic", "threshold", "alarm"):
        family = found[f"segmenter_drift_{name}"]
        assert family == {(t,): float(getattr(o, name)) for t, o in report.tests.items()}
        assert found[f"segmenter_segment_drift_{name}"] == {
            (str(segment), test): float(getattr(outcome, name))
            for segment, tests in report.segments.items()
            for test, outcome in tests.items()
        }
    assert found["segmenter_drift_alarm"][("mmd",)] == 1.0
    assert found["segmenter_drift_current_users"] == {(): 120.0}
    assert found["segmenter_drift_reference_age_seconds"][()] > 0
    assert 0 <= found["segmenter_drift_churn_ratio"][()] <= 1


def test_series_of_a_segment_that_is_no_more_are_gone():
    trainer = Trainer(retrain=True)
    trainer.people(280)
    segments = {segment for segment, _ in scraped(trainer)["segmenter_segment_drift_statistic"]}
    assert segments == {"0", "1", "2"}
    trainer.people(400, (7, 8, 9))
    assert trainer.drift.retrainings == 1
    found = scraped(trainer).get("segmenter_segment_drift_statistic", {})
    left = {int(segment) for segment, _ in found}
    assert left <= set(trainer.stage.published.ids.tolist())
