"""What the trainer's stage tells of itself; `consumer.telemetry.table` has the meanings.

How good labels are, and whether texts drift, is the trainer's to say: it sees the whole group's
sample. A segment that is retired takes its series along.
"""

from __future__ import annotations

from consumer.contract.figures import Figures
from consumer.stages.training.drift_monitor import DriftMonitor
from consumer.stages.training.label_training import LabelTraining
from consumer.stages.training.stage import TrainingStage
from models.drift.check import TESTS
from models.drift.detector import DETECTOR
from schemas.lifecycle import TransitionType


def figures(stage: TrainingStage) -> Figures:
    """Give the figures of a stage."""
    model = stage.published
    yield "samples", stage.samples
    yield "segment_lifecycle", {kind: stage.lifecycle[kind] for kind in TransitionType}
    if stage.labels.enabled:
        yield from _of_labels(stage.labels)
    yield "sampled_users", stage.sampled_users
    yield "model_version", model.version if model else 0
    yield "settled", stage.settled
    yield "model_frozen", stage.frozen
    yield from of_drift(stage.drift)


def _of_labels(labels: LabelTraining) -> Figures:
    """Give the figures of labels: each profile is predicted, then learned."""
    yield "label_model_version", labels.published.version if labels.published else 0
    learner = labels.learner
    yield "label_examples", learner.examples.copy() if learner else None
    names = learner.names if learner else []
    counts = learner.confusion.counts.tolist() if learner else []
    yield (
        "label_confusion_users",
        {
            (names[row], names[column]): count
            for row, line in enumerate(counts)
            for column, count in enumerate(line)
            if count
        },
    )
    yield "label_examples_left_out", learner.left_out if learner else 0
    scores = learner.scores if learner else None
    for name in ("accuracy", "macro_recall", "macro_precision", "macro_f1"):
        yield f"label_{name}_ratio", getattr(scores, name, None)


def of_drift(monitor: DriftMonitor) -> Figures:
    """Give what is known of drift; a figure that there is none of yet has no value."""
    report = monitor.report
    tests = report.tests if report else {}
    segments = report.segments if report else {}
    for name in ("statistic", "threshold", "alarm"):
        yield f"drift_{name}", {test: getattr(each, name) for test, each in tests.items()}
        yield (
            f"segment_drift_{name}",
            {
                (str(segment), test): getattr(each, name)
                for segment, found in segments.items()
                for test, each in found.items()
            },
        )
    age = None if monitor.age is None else monitor.age.total_seconds()
    yield "drift_alarms", {test: monitor.alarms[test] for test in TESTS}
    yield "drift_detections", {DETECTOR: monitor.detections[DETECTOR]}
    yield "drift_retrainings", monitor.retrainings
    yield "drift_churn_ratio", monitor.churn
    yield "drift_reference_age_seconds", age
    yield "drift_reference_users", monitor.reference_users
    yield "drift_current_users", report.current_users if report else 0
