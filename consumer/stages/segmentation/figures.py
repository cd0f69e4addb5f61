"""What a worker's stage tells of itself; `consumer.telemetry.table` says what each figure means."""

from __future__ import annotations

from collections import Counter
from itertools import product

from consumer.contract.figures import Figures
from consumer.stages.segmentation.prepared import WORDS
from consumer.stages.segmentation.stage import SegmentationStage
from schemas.changes import ChangeReason, ChangeStatus
from schemas.dead_letters import RefusalReason
from schemas.events import EventType
from schemas.leftovers import OPTIONAL_FIELDS
from schemas.segment_model import NO_SEGMENT

# A change of label alone has a status and a reason of its own, and who falls silent leaves.
_CHANGES = [
    (status, reason)
    for status, reason in product(ChangeStatus, ChangeReason)
    if (status == "labelled") == (reason == "label_changed")
    and (reason != "inactive" or status == "exited")
]


def figures(stage: SegmentationStage, model_published_at: float | None = None) -> Figures:
    """Give the figures of a stage, and when its segment model was published."""
    stats, model = stage.stats, stage.model
    yield "events", {kind: stats.accepted[kind] for kind in EventType}
    yield "event_languages", stats.languages.copy()
    yield "repeated_events", stats.repeated
    yield "edited_events", stats.edited
    yield "fields_left_out", {name: stats.left_out[name] for name in (*OPTIONAL_FIELDS, WORDS)}
    yield "dead_letters", {reason: stats.refused[reason] for reason in RefusalReason}
    if stage.placement is not None:
        yield "misplaced_records", stage.placement.misplaced
    yield "segment_changes", {each: stats.changes[each] for each in _CHANGES}
    yield "users_passed_over", stats.passed_over
    yield "users_let_go", stats.let_go["users"]
    if stage.recommends:
        yield "user_recommendations", stats.recommended
    if stage.labels.enabled:
        yield from _of_labels(stage)
    # A segment of the model is there at 0 where it has no user; a former one that has users
    # still is there as long as it has them.
    users = Counter(dict.fromkeys([NO_SEGMENT, *(model.ids.tolist() if model else [])], 0))
    for table in list(stage.tables.values()):
        users.update(table.segment_counts())
    yield (
        "users",
        {"none" if segment == NO_SEGMENT else str(segment): n for segment, n in users.items()},
    )
    yield "model_version", model.version if model else 0
    yield "model_timestamp_seconds", model_published_at
    yield "settled", stage.settled
    yield "users_to_look_at", stage.users_left


def _of_labels(stage: SegmentationStage) -> Figures:
    yield "label_records", stage.stats.labels
    yield "label_dead_letters", stage.stats.labels_refused.copy()
    published: Counter[str] = Counter()
    given = 0
    for table in list(stage.tables.values()):
        given += sum(table.name_counts("given").values())
        labels = table.name_counts("predicted")
        published.update(labels)
        if others := len(table) - sum(labels.values()):
            published[""] += others
    yield "users_given_label", given
    yield "label_users", published
    yield "label_model_version", stage.labels.model.version if stage.labels.model else 0
