"""Every metric there is: name, type, meaning, labels, and the roles that have it.

The names here go without the prefix `segmenter_` and without the suffix that Prometheus wants of a
type. `make docs` writes the reference in docs/operations.md from this table.

What workers tell adds up over the workers of a group: a user, a record, a partition is counted by
the one worker that has it. Labels are bounded: types, reasons, partitions, segments. Where the
values of a label are known, their counters are there from the start at 0, since the step from
nothing to the first count is none to Prometheus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PREFIX = "segmenter_"

Role = Literal["worker", "trainer", "intake", "verify"]
"""A process that tells of itself; `verify` is `segmenter verify --follow`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of this product.

    Attributes
    ----------
    type, name
        As Prometheus has them; the name as it is in this table.
    meaning
        A sentence, for the exposition's HELP and for the reference.
    labels
        Their names.
    more
        What the reference adds, in Markdown.
    buckets
        Upper bounds, of a histogram.
    """

    type: Literal["counter", "gauge", "histogram"]
    name: str
    meaning: str
    labels: Sequence[str] = ()
    more: str = ""
    buckets: Sequence[float] = ()

    @property
    def full_name(self) -> str:
        """The name that Prometheus shows."""
        return f"{PREFIX}{self.name}{'_total' if self.type == 'counter' else ''}"


def _counter(name: str, meaning: str, labels: Sequence[str] = (), more: str = "") -> Metric:
    return Metric("counter", name, meaning, labels, more)


def _gauge(name: str, meaning: str, labels: Sequence[str] = (), more: str = "") -> Metric:
    return Metric("gauge", name, meaning, labels, more)


def _histogram(name: str, meaning: str, *buckets: float) -> Metric:
    return Metric("histogram", name, meaning, buckets=buckets)


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LOSS = ("topic", "partition", "reason")
_LABELS_ENABLED = "Only with `labels.enabled`."

BY_ROLES: dict[tuple[Role, ...], tuple[Metric, ...]] = {
    ("worker", "trainer", "intake"): (
        _gauge("process_info", "1; what this process is.", ["role", "version"]),
        _counter("records", "Input records committed.", ["partition"]),
        _gauge(
            "lag_records",
            "Input records that wait, up to the end of the partition.",
            ["partition"],
            "What is known to be markers of transactions or aborted records does not count: at the "
            "end of the input it is 0.",
        ),
        _gauge(
            "lost_records",
            "Input records known to be lost before they were read, since the group began.",
            _LOSS,
            "`retention`, `recreated`, `truncated`: [what to do](#records-that-were-lost). "
            "Committed with the offsets, told by whoever has the partition.",
        ),
        _gauge(
            "lost_positions",
            "How often the group's position in an input was gone, since the group began.",
            _LOSS,
        ),
        _gauge(
            "lost_position_timestamp_seconds",
            "When the group's position in an input was gone last; 0 for never.",
            _LOSS,
        ),
        _counter(
            "transactions",
            "Transactions by outcome.",
            ["outcome"],
            "`committed`, `aborted`, `unknown`.",
        ),
        _histogram(
            "transaction_seconds", "Time from begin to the end of a transaction.", *_SECONDS
        ),
        _histogram("prepare_seconds", "Time to validate, clean and embed a batch.", *_SECONDS),
        _histogram("batch_records", "Records in a batch.", 1, 4, 16, 64, 256, 1024, 4096, 16384),
        _gauge(
            "assigned_partitions",
            "Partitions assigned.",
            more="Over all processes of a role they add up to the next.",
        ),
        _gauge("input_partitions", "Partitions of the input, whoever has them."),
        _gauge("restoring_partitions", "Partitions being restored."),
        _gauge("restore_share", "Share of the changelogs read back; 1 when nothing is restored."),
        _gauge("restore_records", "Records read back by the restores under way."),
        _gauge(
            "restore_eta_seconds",
            "Seconds that the restores under way still take; NaN while that is not known.",
        ),
        _counter(
            "restored_partitions",
            "Partitions read back, by what the restore began with.",
            ["source"],
            "`checkpoint` or `changelog`.",
        ),
        _histogram(
            "restore_seconds",
            "Time to read a partition back.",
            *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
        ),
        _counter(
            "checkpoint_writes",
            "Local checkpoints by outcome.",
            ["outcome"],
            "`written`, `failed`. Workers have checkpoints.",
        ),
        _counter(
            "checkpoints_dropped",
            "Local checkpoints that could not be used.",
            ["reason"],
            "`damaged`, `unreadable`, `foreign`, `future`, `outdated`, `beyond_end`.",
        ),
        _counter("rebalances", "Rebalance callbacks.", ["kind"], "`assign`, `revoke`, `lost`."),
        _gauge("idle", "1 while nothing is under way and nothing came for a while."),
        _gauge(
            "connected", "1 while brokers answer: one did within kafka.session_timeout_seconds."
        ),
    ),
    ("worker",): (
        _counter("events", "Events accepted.", ["type"]),
        _counter("event_languages", "Events accepted, by language.", ["language"]),
        _counter("repeated_events", "Events seen before."),
        _counter(
            "edited_events",
            "Of these, events with a later time than all that was known of the user.",
            more="[Edits](events.md#user-events).",
        ),
        _counter(
            "fields_left_out",
            "Values that were not as the contract says, in fields that nothing rests on.",
            ["field"],
        ),
        _counter("dead_letters", "Records refused.", ["reason"]),
        _counter(
            "misplaced_records",
            "Records in another partition than events.partitioner puts their key into.",
            more="Not there with `any`.",
        ),
        _counter("segment_changes", "Changes published.", ["status", "reason"]),
        _counter(
            "users_passed_over",
            "Users on whom the program failed under a new model.",
            more="They stay where they are until their next event, or the next model.",
        ),
        _gauge(
            "users",
            "Users of this worker, by segment.",
            ["segment"],
            "`none` for those in no segment. 0 for a segment without users; a retired one "
            "disappears with its last.",
        ),
        _gauge(
            "model_age_seconds",
            "Seconds since the newest segment model was published.",
            more="Not there before the first and with `--model`.",
        ),
        _counter("embedded_texts", "Texts that went through the model."),
        _counter("embedded_tokens", "Tokens that went through it, padding left out."),
        _counter(
            "truncated_texts",
            "Texts that went through it without their end, which was beyond its input.",
        ),
        _counter(
            "embedding_cache_hits",
            "Texts whose vector was there, from before or from the same batch.",
        ),
        _counter("embedding_failed_texts", "Texts without a vector."),
        _counter(
            "embedding_seconds",
            "Seconds in which texts were tokenised, and in which the model ran.",
            ["part"],
            "`tokenise`, `run`.",
        ),
        _counter("embedding_computed_tokens", "Tokens computed, padding included."),
        _gauge(
            "embedding_batch_tokens",
            "Tokens in a batch on the GPU at most; 0 where texts run one by one.",
        ),
        _counter(
            "embedding_oom_halvings",
            "How often the GPU's memory did not suffice and its batches were halved.",
        ),
        _gauge("embedding_fallback", "1 when the model runs on another device than was asked for."),
        _gauge(
            "embedding_info",
            "1; the embedding model in use.",
            ["model", "precision", "device", "identity"],
        ),
        _counter("label_records", "Records of labels read.", more=_LABELS_ENABLED),
        _counter("label_dead_letters", "Records of labels refused.", ["reason"], _LABELS_ENABLED),
        _gauge(
            "users_given_label", "Users of this worker with a given label.", more=_LABELS_ENABLED
        ),
        _gauge(
            "label_users",
            "Users of this worker by the label published; empty for none.",
            ["label"],
            _LABELS_ENABLED,
        ),
    ),
    ("worker", "trainer"): (
        _gauge(
            "model_version",
            "Version of the segment model; 0 before the first.",
            more="In use; of a trainer, published last.",
        ),
        _gauge(
            "settled",
            "1 when every user has been looked at under that model.",
            more="Of a trainer: when nothing was learned since the sample was last looked at.",
        ),
        _gauge(
            "label_model_version",
            "Version of the label model; 0 before the first.",
            more=f"In use; of a trainer, published last. {_LABELS_ENABLED}",
        ),
    ),
    ("trainer",): (
        _counter("samples", "Profile samples learned from."),
        _counter(
            "segment_lifecycle",
            "What became of segments.",
            ["kind"],
            "`created`, `split`, `merged`, `retired`.",
        ),
        _gauge("sampled_users", "Users in the sample."),
        _counter("label_examples", "Labelled profiles learned.", ["label"], _LABELS_ENABLED),
        _counter(
            "label_examples_left_out",
            "Labelled profiles not learned: their label was one more than labels.max_labels.",
            more=_LABELS_ENABLED,
        ),
        _gauge(
            "label_confusion_users",
            "Profiles of users by the label given and the one predicted before it was learned.",
            ["actual", "predicted"],
            f"Since the first. {_LABELS_ENABLED}",
        ),
        *(
            _gauge(
                f"label_{name}_ratio",
                f"{text}, each profile before it was learned.",
                more=f"By that matrix. {_LABELS_ENABLED}",
            )
            for name, text in (
                ("accuracy", "Share of labels predicted right"),
                ("macro_recall", "Recall, the mean over labels"),
                ("macro_precision", "Precision, the mean over labels"),
                ("macro_f1", "F1, the mean over labels"),
            )
        ),
        *(
            _gauge(f"{prefix}_{name}", text, [*labels, "test"], more)
            for prefix, labels, more in (
                (
                    "drift",
                    [],
                    "`mmd`, `mean_cosine`, `mean_euclidean`, `drifted_components`, `segment_psi`: "
                    "[drift](drift.md).",
                ),
                (
                    "segment_drift",
                    ["segment"],
                    "Within a segment, where it has enough users; not `segment_psi`.",
                ),
            )
            for name, text in (
                (
                    "statistic",
                    "How far today's texts are from the reference's, less what is chance.",
                ),
                ("threshold", "What the statistic has to be above for an alarm."),
                ("alarm", "1 while the statistic is above its threshold."),
            )
        ),
        _counter("drift_alarms", "Times that a test went over its threshold.", ["test"]),
        _counter(
            "drift_detections",
            "Times that a detector found a change of the texts' distance from the nearest centre.",
            ["detector"],
            "`adwin`.",
        ),
        _gauge(
            "drift_churn_ratio",
            "Share of the reference's users, still sampled, in another segment than then.",
        ),
        _gauge(
            "drift_reference_age_seconds",
            "Event time from the reference's latest event to the latest of today.",
        ),
        _gauge("drift_reference_users", "Users in the reference; 0 while it is collected."),
        _gauge("drift_current_users", "Users of today that are compared with it."),
        _counter("drift_retrainings", "Searches for better segments that an alarm caused."),
    ),
    ("intake",): (
        _counter(
            "intake_records",
            "Records brought to their users' partitions, by what became of their key.",
            ["key"],
            "`kept`, `changed`, `missing`.",
        ),
        _counter("intake_dead_letters", "Records refused.", ["reason"]),
    ),
    ("verify",): (
        _counter("verify_changes", "Segment changes read."),
        _counter("verify_violations", "Promises found broken.", ["kind"]),
        _gauge("verify_users", "Users with a change."),
        _gauge(
            "verify_unsettled_users",
            "Users whose change, membership and profile do not agree yet.",
        ),
        _gauge(
            "verify_stalled_partitions",
            "Partitions of the input whose committed offset rests though there are records.",
        ),
        _gauge(
            "verify_hanging_partitions",
            "Partitions of the outputs with a transaction that stays open.",
        ),
        _gauge(
            "verify_blocked_partitions",
            "Partitions of the inputs that a producer's open transaction keeps closed.",
        ),
        _gauge("verify_lag_records", "Input offsets that the group has not committed."),
        _gauge(
            "verify_lost_records",
            "Input records known to be lost before the group read them.",
            more="[What to do](#records-that-were-lost).",
        ),
        _gauge("verify_behind_records", "Output offsets that the audit has not read."),
    ),
}

METRICS = {metric.name: metric for group in BY_ROLES.values() for metric in group}
"""By name."""


def metrics_of(role: Role) -> list[Metric]:
    """Give the metrics that a process of a role has."""
    return [metric for roles, group in BY_ROLES.items() if role in roles for metric in group]
