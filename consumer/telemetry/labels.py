"""Prometheus metrics of labels, of workers and of the trainer; nothing where they are not enabled.

Workers export counts, which add up over pods. How good the labels are is the trainer's to say: it
sees the whole group's labelled users. Labels are bounded by `labels.max_labels`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.labels import LabelTraining


def label_metrics(stage: SegmentationStage) -> Iterator[Metric]:
    """Give a worker's figures."""
    if not stage.labels.enabled:
        return
    yield CounterMetricFamily(
        "segmenter_label_records", "Records of labels read.", value=stage.stats.labels
    )
    refused = CounterMetricFamily(
        "segmenter_label_dead_letters", "Records of labels refused.", labels=["reason"]
    )
    for reason, count in stage.stats.labels_refused.copy().items():
        refused.add_metric([reason], count)
    yield refused
    published: Counter[str] = Counter()
    given = 0
    for table in list(stage.tables.values()):
        rows, count = table.rows, len(table)
        given += sum(label is not None for label in rows.given[:count])
        published.update(label or "" for label in rows.predicted[:count])
    yield GaugeMetricFamily(
        "segmenter_users_given_label", "Users of this worker with a given label.", value=given
    )
    users = GaugeMetricFamily(
        "segmenter_label_users",
        "Users of this worker by the label published; empty for none.",
        labels=["label"],
    )
    for label, count in published.items():
        users.add_metric([label], count)
    yield users
    model = stage.labels.model
    yield GaugeMetricFamily(
        "segmenter_label_model_version",
        "Version of the label model in use; 0 before the first.",
        value=model.version if model else 0,
    )


def label_training_metrics(labels: LabelTraining) -> Iterator[Metric]:
    """Give the trainer's figures: each profile is predicted, then learned."""
    if not labels.enabled:
        return
    yield GaugeMetricFamily(
        "segmenter_label_model_version",
        "Version of the label model published last; 0 before the first.",
        value=labels.published.version if labels.published else 0,
    )
    learner = labels.learner
    examples = CounterMetricFamily(
        "segmenter_label_examples", "Labelled profiles learned, by label.", labels=["label"]
    )
    confusion = GaugeMetricFamily(
        "segmenter_label_confusion_users",
        "Profiles of users by the label given and the one predicted before it was learned.",
        labels=["actual", "predicted"],
    )
    if learner is not None:
        names = learner.names
        for label, count in learner.examples.copy().items():
            examples.add_metric([label], count)
        for row, counts in enumerate(learner.confusion.counts.tolist()):
            for column, count in enumerate(counts):
                if count:
                    confusion.add_metric([names[row], names[column]], count)
    yield examples
    yield confusion
    yield CounterMetricFamily(
        "segmenter_label_examples_left_out",
        "Labelled profiles not learned: their label was one more than labels.max_labels.",
        value=learner.left_out if learner else 0,
    )
    scores = learner.scores if learner else None
    for name, text in (
        ("accuracy", "Share of labels predicted right"),
        ("macro_recall", "Recall, the mean over labels"),
        ("macro_precision", "Precision, the mean over labels"),
        ("macro_f1", "F1, the mean over labels"),
    ):
        yield GaugeMetricFamily(
            f"segmenter_label_{name}_ratio",
            f"{text}, each profile before it was learned.",
            # Without a value there is no series.
            value=getattr(scores, name, None),
        )
