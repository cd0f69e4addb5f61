"""Prometheus metrics. All names are in this file, those of drift in `consumer.telemetry.drift`.

What a stage counts is read from the stage when Prometheus asks, so that nothing is counted twice;
only committed work is in it. Labels are bounded: types, reasons, partitions, segments.

What workers tell adds up over the workers of a group: a user, a record, a partition is counted by
the one worker that has it. Where the values of a label are known, their counters are there from the
start at 0, since the step from nothing to the first count is none to Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.engine.transactions import Outcome
from consumer.kafka.offset_metadata import LossReason
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.stage import TrainingStage
from consumer.state.positions import Position
from consumer.telemetry.labels import label_metrics, label_training_metrics
from consumer.verify.news import FollowReport
from consumer.verify.report import ViolationKind
from models.embedding.engine.embedder import OnnxEmbedder
from schemas.changes import ChangeReason, ChangeStatus
from schemas.dead_letters import RefusalReason
from schemas.events import EventType
from schemas.leftovers import OPTIONAL_FIELDS
from schemas.lifecycle import TransitionType
from schemas.segment_model import NO_SEGMENT

# A change of label alone has a status and a reason of its own.
_CHANGES = [
    (status, reason)
    for status, reason in product(ChangeStatus, ChangeReason)
    if (status == "labelled") == (reason == "label_changed")
]
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def tell_role(registry: CollectorRegistry, role: str) -> None:
    """Tell what the process is: all roles share the names of what their loops measure.

    Parameters
    ----------
    registry
        Of the process.
    role
        `worker`, `trainer` or `intake`.
    """
    info = Info("segmenter_process", "What this process is.", registry=registry)
    info.info({"role": role, "version": version("segmenter")})


class LoopMetrics:
    """What the loop itself measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "segmenter_records", "Input records committed.", ["partition"], registry=registry
        )
        self.lag = Gauge(
            "segmenter_lag_records",
            "Input records that wait, up to the end of the partition.",
            ["partition"],
            registry=registry,
        )
        self.transactions = Counter(
            "segmenter_transactions", "Transactions by outcome.", ["outcome"], registry=registry
        )
        self.commit_seconds = Histogram(
            "segmenter_transaction_seconds",
            "Time from begin to the end of a transaction.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.prepare_seconds = Histogram(
            "segmenter_prepare_seconds",
            "Time to validate, clean and embed a batch.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_records = Histogram(
            "segmenter_batch_records",
            "Records in a batch.",
            buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384),
            registry=registry,
        )
        self.partitions = Gauge(
            "segmenter_assigned_partitions", "Partitions assigned.", registry=registry
        )
        self.input_partitions = Gauge(
            "segmenter_input_partitions",
            "Partitions of the input, whoever has them.",
            registry=registry,
        )
        self.restoring = Gauge(
            "segmenter_restoring_partitions", "Partitions being restored.", registry=registry
        )
        self.restore_share = Gauge(
            "segmenter_restore_share", "Share of the changelogs read back.", registry=registry
        )
        self.rebalances = Counter(
            "segmenter_rebalances", "Rebalance callbacks.", ["kind"], registry=registry
        )
        self.idle = Gauge(
            "segmenter_idle",
            "1 while the input is read up and nothing is under way.",
            registry=registry,
        )
        self.connected = Gauge(
            "segmenter_connected",
            "1 while brokers answer: one did within kafka.session_timeout_seconds.",
            registry=registry,
        )
        self.restore = RestoreMetrics(registry)
        self.losses = LossMetrics(registry)
        for outcome in Outcome:
            self.transactions.labels(outcome.value)
        for kind in ("assign", "revoke", "lost"):
            self.rebalances.labels(kind)

    def behind(self, partition: int, lag: int) -> None:
        """Tell how many records of a partition wait, and that it is counted from now on."""
        self.lag.labels(partition).set(lag)
        self.records.labels(partition)

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that now is another process's.

        Its counter stays: what was committed here remains counted here.
        """
        with suppress(KeyError):
            self.lag.remove(partition)
        self.losses.forget(partition)


class LossMetrics:
    """Records that the group never read, by what is committed beside its offsets.

    Totals since the group began, told by whoever has the partition: they outlive processes, so they
    are gauges here.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["topic", "partition", "reason"]
        self.records = Gauge(
            "segmenter_lost_records",
            "Input records known to be lost before they were read, since the group began.",
            names,
            registry=registry,
        )
        self.times = Gauge(
            "segmenter_lost_positions",
            "How often the group's position in an input was gone, since the group began.",
            names,
            registry=registry,
        )
        self.last = Gauge(
            "segmenter_lost_position_timestamp_seconds",
            "When the group's position in an input was gone last; 0 for never.",
            names,
            registry=registry,
        )
        self._shown: dict[int, set[tuple[str, int, str]]] = {}

    def show(self, partition: int, positions: Mapping[str, Position]) -> None:
        """Tell the losses of a partition that was taken over, by topic."""
        for topic, position in positions.items():
            lost = position.metadata.lost
            for reason in {*LossReason, *lost}:
                labels = (topic, partition, str(reason))
                self._shown.setdefault(partition, set()).add(labels)
                loss = lost.get(reason)
                self.records.labels(*labels).set(loss.records if loss else 0)
                self.times.labels(*labels).set(loss.times if loss else 0)
                self.last.labels(*labels).set(loss.last.timestamp() if loss else 0)

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that now is another process's."""
        for labels in self._shown.pop(partition, ()):
            for gauge in (self.records, self.times, self.last):
                with suppress(KeyError):
                    gauge.remove(*labels)


class RestoreMetrics:
    """Reading state back, and the checkpoints that shorten it.

    The Restorer counts what is finished, the Checkpointer what is written; the loop calls `show`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Gauge(
            "segmenter_restore_records",
            "Records read back by the restores under way.",
            registry=registry,
        )
        self.eta_seconds = Gauge(
            "segmenter_restore_eta_seconds",
            "Seconds that the restores under way still take; NaN while that is not known.",
            registry=registry,
        )
        self.restored = Counter(
            "segmenter_restored_partitions",
            "Partitions read back, by what the restore began with.",
            ["source"],
            registry=registry,
        )
        self.seconds = Histogram(
            "segmenter_restore_seconds",
            "Time to read a partition back.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
            registry=registry,
        )
        self.writes = Counter(
            "segmenter_checkpoint_writes",
            "Local checkpoints by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.dropped = Counter(
            "segmenter_checkpoints_dropped",
            "Local checkpoints that could not be used.",
            ["reason"],
            registry=registry,
        )
        for source in ("checkpoint", "changelog"):
            self.restored.labels(source)
        for outcome in ("written", "failed"):
            self.writes.labels(outcome)

    def show(self, records: int, eta_seconds: float | None) -> None:
        """Set the gauges to the restorer's progress."""
        self.records.set(records)
        self.eta_seconds.set(float("nan") if eta_seconds is None else eta_seconds)


class SegmentationCollector(Collector):
    """Figures of a worker's stage."""

    def __init__(
        self, stage: SegmentationStage, model_age: Callable[[], float | None] = lambda: None
    ) -> None:
        self._stage = stage
        self._model_age = model_age

    def collect(self) -> Iterable[Metric]:
        """Read the stage."""
        stats, model = self._stage.stats, self._stage.model
        yield counter(
            "segmenter_events",
            "Events accepted.",
            ["type"],
            (([kind], stats.accepted[kind]) for kind in EventType),
        )
        yield counter(
            "segmenter_event_languages",
            "Events accepted, by language.",
            ["language"],
            (([language], n) for language, n in stats.languages.copy().items()),
        )
        yield counter(
            "segmenter_repeated_events", "Events seen before.", [], [([], stats.repeated)]
        )
        yield counter(
            "segmenter_edited_events",
            "Of these, events with a later time than all that was known of the user: edits.",
            [],
            [([], stats.edited)],
        )
        yield counter(
            "segmenter_fields_left_out",
            "Values that were not as the contract says, in fields that nothing rests on.",
            ["field"],
            (([name], stats.left_out[name]) for name in OPTIONAL_FIELDS),
        )
        yield counter(
            "segmenter_dead_letters",
            "Records refused.",
            ["reason"],
            (([reason], stats.refused[reason]) for reason in RefusalReason),
        )
        if (placement := self._stage.placement) is not None:
            yield counter(
                "segmenter_misplaced_records",
                "Records in another partition than events.partitioner puts their key into.",
                [],
                [([], placement.misplaced)],
            )
        yield counter(
            "segmenter_segment_changes",
            "Changes published.",
            ["status", "reason"],
            (([*each], stats.changes[each]) for each in _CHANGES),
        )
        yield from label_metrics(self._stage)
        # A segment of the model is there at 0 where it has no user; a former one that has users
        # still is there as long as it has them.
        ids = model.ids.tolist() if model else []
        counts: dict[int, int] = dict.fromkeys([NO_SEGMENT, *ids], 0)
        for table in list(self._stage.tables.values()):
            for segment, n in table.segment_counts().items():
                counts[segment] = counts.get(segment, 0) + n
        users = GaugeMetricFamily(
            "segmenter_users", "Users of this worker, by segment.", labels=["segment"]
        )
        for segment, n in counts.items():
            users.add_metric(["none" if segment == NO_SEGMENT else str(segment)], n)
        yield users
        yield GaugeMetricFamily(
            "segmenter_model_version",
            "Version of the segment model in use; 0 before the first.",
            value=model.version if model else 0,
        )
        age = GaugeMetricFamily(
            "segmenter_model_age_seconds",
            "Seconds since the newest segment model was published; not there before the first.",
        )
        if (seconds := self._model_age()) is not None:
            age.add_metric([], seconds)
        yield age
        yield GaugeMetricFamily(
            "segmenter_settled",
            "1 when every user has been looked at under that model.",
            value=float(self._stage.settled),
        )


class EmbeddingCollector(Collector):
    """Figures of a worker's embedder: all that it has embedded, committed or not."""

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self._embedder = embedder

    def collect(self) -> Iterable[Metric]:
        """Read the embedder."""
        embedder = self._embedder
        totals, runner = embedder.totals, embedder.runner_totals
        counts = {
            "embedded_texts": ("Texts that went through the model.", totals.embedded),
            "embedded_tokens": ("Tokens that went through it, padding left out.", totals.tokens),
            "truncated_texts": (
                "Texts that went through it without their end, which was beyond its input.",
                totals.truncated,
            ),
            "embedding_cache_hits": (
                "Texts whose vector was there, from before or from the same batch.",
                totals.cache_hits,
            ),
            "embedding_failed_texts": ("Texts without a vector.", totals.failed),
            "embedding_computed_tokens": (
                "Tokens computed, padding included.",
                runner.computed_tokens,
            ),
            "embedding_oom_halvings": (
                "How often the GPU's memory did not suffice and its batches were halved.",
                runner.oom_halvings,
            ),
        }
        for name, (text, count) in counts.items():
            yield counter(f"segmenter_{name}", text, [], [([], count)])
        yield counter(
            "segmenter_embedding_seconds",
            "Seconds in which texts were tokenised, and in which the model ran.",
            ["part"],
            [(["tokenise"], totals.tokenise_seconds), (["run"], totals.run_seconds)],
        )
        yield GaugeMetricFamily(
            "segmenter_embedding_batch_tokens",
            "Tokens in a batch on the GPU at most; 0 where texts run one by one.",
            value=runner.budget,
        )
        yield GaugeMetricFamily(
            "segmenter_embedding_fallback",
            "1 when the model runs on another device than was asked for.",
            value=float(embedder.fell_back),
        )
        yield InfoMetricFamily(
            "segmenter_embedding",
            "The embedding model in use.",
            value={
                "model": embedder.manifest.name,
                "precision": embedder.manifest.precision,
                "device": embedder.device,
                "identity": embedder.identity,
            },
        )


class TrainingCollector(Collector):
    """Figures of the trainer's stage."""

    def __init__(self, stage: TrainingStage) -> None:
        self._stage = stage

    def collect(self) -> Iterable[Metric]:
        """Read the stage."""
        yield counter(
            "segmenter_samples", "Profile samples learned from.", [], [([], self._stage.samples)]
        )
        yield counter(
            "segmenter_segment_lifecycle",
            "Segments created, split, merged and retired.",
            ["kind"],
            (([kind], self._stage.lifecycle[kind]) for kind in TransitionType),
        )
        yield from label_training_metrics(self._stage.labels)
        yield GaugeMetricFamily(
            "segmenter_sampled_users", "Users in the sample.", value=self._stage.sampled_users
        )
        model = self._stage.published
        yield GaugeMetricFamily(
            "segmenter_model_version",
            "Version of the segment model published last; 0 before the first.",
            value=model.version if model else 0,
        )
        yield GaugeMetricFamily(
            "segmenter_settled",
            "1 when nothing was learned since the sample was last looked at.",
            value=float(self._stage.settled),
        )


class FollowCollector(Collector):
    """Figures of `segmenter verify --follow`."""

    def __init__(self, report: Callable[[], FollowReport]) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """Ask the audit."""
        report = self._report()
        yield counter(
            "segmenter_verify_changes", "Segment changes read.", [], [([], report.changes)]
        )
        yield counter(
            "segmenter_verify_violations",
            "Promises found broken.",
            ["kind"],
            (([kind], report.violations.get(kind, 0)) for kind in ViolationKind),
        )
        gauges = {
            "users": ("Users with a change.", report.users),
            "unsettled_users": (
                "Users whose change, membership and profile do not agree yet.",
                report.unsettled,
            ),
            "stalled_partitions": (
                "Partitions of the input whose committed offset rests though there are records.",
                len(report.stalled),
            ),
            "hanging_partitions": (
                "Partitions of the outputs with a transaction that stays open.",
                len(report.hanging),
            ),
            "blocked_partitions": (
                "Partitions of the inputs that a producer's open transaction keeps closed.",
                len(report.blocked),
            ),
            "lag_records": ("Input offsets that the group has not committed.", report.lag),
            "lost_records": (
                "Input records known to be lost before the group read them.",
                report.lost,
            ),
            "behind_records": ("Output offsets that the audit has not read.", report.behind),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"segmenter_verify_{name}", text, value=value)


def counter(
    name: str,
    text: str,
    labels: list[str],
    values: Iterable[tuple[list[str], float]] | Iterator[tuple[list[str], float]],
) -> CounterMetricFamily:
    """Give a counter with its values by label."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family
