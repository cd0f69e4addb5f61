"""Every topic: what is in it, how it is kept, and who reads and writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consumer.report.markdown import code, table
from consumer.settings import Settings, TopicSettings

Role = Literal[
    "worker",
    "trainer",
    "recommender",
    "intake",
    "rules run",
    "verify",
    "produce",
    "migrate",
    "profile",
    "explain",
    "status",
    "report",
    "watch",
    "changes",
    "dead-letters list",
    "dead-letters redrive",
    "models list",
    "models rollback",
    "model fit words",
    "reset",
]

Kept = Literal["compacted", "hours", "free"]
"""By key; as topics.retention_hours says; as whoever makes the topic wants it."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic.

    Attributes
    ----------
    setting
        Where its name is set: a field of the section `topics`.
    key, value
        What a record is, for the pages.
    schema
        Its schema in schemas/json; None where the records are others' bytes.
    kept
        What becomes of old records.
    single
        Whether it has one partition; the others have as many as the input.
    aligned
        Whether partition n of it belongs to partition n of the input. Where it does not, readers
        find a user's records by their key, in whatever number of partitions.
    large
        Whether records may be longer than Kafka's default of 1 MB.
    with_labels
        Whether it is there only with labels.enabled.
    with_rules
        Whether it is there only with rules.enabled.
    with_former
        Whether it is there only while a running group changes its embedding model.
    with_recommendations
        Whether it is there only with recommendations.enabled.
    with_users
        Whether it is there only with recommendations.users.
    writers, readers
        Roles of the project.
    for_you
        Whether others are to read or write it, for the pages.
    """

    setting: str
    key: str
    value: str
    schema: str | None = None
    kept: Kept
    single: bool = False
    aligned: bool = False
    large: bool = False
    with_labels: bool = False
    with_rules: bool = False
    with_former: bool = False
    with_recommendations: bool = False
    with_users: bool = False
    writers: tuple[Role, ...]
    readers: tuple[Role, ...]
    for_you: str

    @property
    def default_name(self) -> str | None:
        """Its name where none is set."""
        default: str | None = TopicSettings.model_fields[self.setting].default
        return default


TOPICS = (
    Topic(
        setting="raw_events",
        key="any, or none",
        value="JSON, of any [mapping](#other-formats)",
        kept="free",
        writers=("dead-letters redrive",),
        readers=("intake", "verify", "status", "watch", "dead-letters redrive"),
        for_you="yes, you make and write it, where [`segmenter intake`](operations.md#intake) is "
        "to re-key it",
    ),
    Topic(
        setting="events",
        key="`user_id`",
        value="JSON, a user event",
        schema="user-events",
        kept="free",
        aligned=True,
        large=True,
        writers=("intake", "produce", "dead-letters redrive"),
        readers=(
            *("worker", "verify", "migrate", "status", "report", "reset", "model fit words"),
            *("explain", "rules run"),
            *("watch", "dead-letters redrive"),
        ),
        for_you="yes, you write it; or `segmenter intake` does, from a topic of yours",
    ),
    Topic(
        setting="dead_letters",
        key="key of the refused record",
        value="null; its bytes as they came with `dead_letters.values`",
        kept="hours",
        large=True,
        writers=("worker", "intake"),
        readers=(
            *("verify", "migrate", "status", "report", "dead-letters list"),
            "dead-letters redrive",
            "watch",
        ),
        for_you="yes",
    ),
    Topic(
        setting="changes",
        key="`user_id`",
        value="JSON, one change",
        schema="segment-changes",
        kept="hours",
        writers=("worker",),
        readers=("verify", "report", "explain", "watch", "changes"),
        for_you="yes",
    ),
    Topic(
        setting="memberships",
        key="`user_id`",
        value="JSON, the user's latest change",
        schema="segment-changes",
        kept="compacted",
        writers=("worker",),
        readers=("verify", "explain", "watch"),
        for_you="yes",
    ),
    Topic(
        setting="profiles",
        key="`user_id`",
        value="binary, [a user's state](formats.md)",
        schema="user-profiles",
        kept="compacted",
        aligned=True,
        writers=("worker", "migrate", "reset"),
        readers=(
            *("worker", "verify", "migrate", "profile", "explain", "report", "reset"),
            "rules run",
        ),
        for_you="no: the workers' changelog",
    ),
    Topic(
        setting="next_profiles",
        key="`user_id`",
        value="binary, [a user's state](formats.md) under the model to come, or null",
        schema="user-profiles",
        kept="compacted",
        aligned=True,
        with_former=True,
        writers=("migrate",),
        readers=("worker", "migrate"),
        for_you="no: while [a running group changes its embedding "
        "model](operations.md#another-model-while-the-group-runs)",
    ),
    # One partition: whoever has it is the trainer.
    Topic(
        setting="samples",
        key="`user_id`",
        value="binary, [a sampled profile](formats.md), or null",
        schema="profile-samples",
        kept="compacted",
        single=True,
        writers=("worker", "trainer", "migrate", "reset"),
        readers=("trainer", "migrate", "status", "report", "models rollback", "reset", "watch"),
        for_you="no: the trainer's feed",
    ),
    Topic(
        setting="models",
        key="`segments`",
        value="JSON, a version of the segments",
        schema="segment-models",
        kept="compacted",
        single=True,
        large=True,
        writers=("trainer", "migrate"),
        readers=(
            *("worker", "trainer", "verify", "migrate", "status", "report"),
            *("models list", "models rollback", "explain"),
            "watch",
        ),
        for_you="to read the segments' words",
    ),
    Topic(
        setting="model_versions",
        key="a version",
        value="JSON, that version of the segments, or null",
        schema="segment-model-versions",
        kept="compacted",
        single=True,
        large=True,
        writers=("trainer", "migrate"),
        readers=(
            *("trainer", "verify", "migrate", "models list", "models rollback"),
            "explain",
        ),
        for_you="no: what can be [taken back to](operations.md#models-taken-back)",
    ),
    # One partition: the trainer reads it beside the samples, which have one.
    Topic(
        setting="model_control",
        key="`state`, or an order's id",
        value="JSON, how the segment model stands; or an order, and null once it is answered",
        schema="segment-model-control",
        kept="compacted",
        single=True,
        large=True,  # an order to migrate holds a version
        writers=("trainer", "models rollback", "migrate"),
        readers=("trainer", "models list", "models rollback", "migrate", "status", "watch"),
        for_you="no: [`segmenter models`](operations.md#models-taken-back)",
    ),
    # One partition: the events of a version stay together and in order.
    Topic(
        setting="lifecycle",
        key="a segment's id",
        value="JSON, what became of it",
        schema="segment-lifecycle",
        kept="hours",
        single=True,
        large=True,
        writers=("trainer", "migrate"),
        readers=("verify", "report"),
        for_you="yes",
    ),
    Topic(
        setting="segments",
        key="a segment's id",
        value="JSON, its name and words, or null",
        schema="segments",
        kept="compacted",
        single=True,
        writers=("trainer", "migrate"),
        readers=("verify", "changes", "watch"),
        for_you="yes",
    ),
    Topic(
        setting="drift_reference",
        key="`reference`",
        value="JSON, what [drift](drift.md) is measured against",
        schema="drift-reference",
        kept="compacted",
        single=True,
        large=True,
        writers=("trainer",),
        readers=("trainer", "status", "report", "watch"),
        for_you="no: the trainer's",
    ),
    # The latest label of each user is all that a worker has to read.
    Topic(
        setting="labels",
        key="`user_id`",
        value="JSON, a user's label, or null",
        schema="segment-labels",
        kept="compacted",
        aligned=True,
        with_labels=True,
        writers=(),
        readers=("worker",),
        for_you="yes, you write it, where `labels.enabled`: [labels](labels.md)",
    ),
    Topic(
        setting="label_dead_letters",
        key="key of the refused record",
        value="null; its bytes as they came with `dead_letters.values`",
        kept="hours",
        large=True,
        with_labels=True,
        writers=("worker",),
        readers=("dead-letters list",),
        for_you="yes, likewise",
    ),
    Topic(
        setting="label_models",
        key="`labels`",
        value="JSON, a version of the labels",
        schema="label-models",
        kept="compacted",
        single=True,
        large=True,
        with_labels=True,
        writers=("trainer",),
        readers=("worker", "trainer"),
        for_you="no: the workers'",
    ),
    Topic(
        setting="item_events",
        key="`item_id`",
        value="binary, [what an event says of an item](formats.md), or null: the item is withdrawn",
        kept="hours",
        aligned=True,
        with_recommendations=True,
        writers=("worker",),
        readers=("recommender", "verify", "status", "watch"),
        for_you="you may write null to withdraw an item, where `recommendations.enabled`",
    ),
    Topic(
        setting="item_profiles",
        key="`item_id`",
        value="binary, [an item's state](formats.md), or null",
        kept="compacted",
        aligned=True,
        with_recommendations=True,
        writers=("recommender",),
        readers=("recommender", "verify"),
        for_you="no: the recommender's changelog",
    ),
    Topic(
        setting="recommendation_parts",
        key="`segment/partition`, or `user/` and the hash of a user",
        value="binary, [a partition's part in a segment's items, or what is known of a sampled "
        "user](formats.md)",
        kept="compacted",
        aligned=True,
        large=True,
        with_recommendations=True,
        writers=("worker", "recommender"),
        readers=("recommender", "verify"),
        for_you="no: the recommender's",
    ),
    Topic(
        setting="segment_recommendations",
        key="a segment's id, or `all`; and `attributes`",
        value="JSON, the items that lead there, or null; and [users by attribute]"
        "(../schemas/json/segment-attributes.schema.json)",
        schema="segment-recommendations",
        kept="compacted",
        single=True,
        large=True,
        with_recommendations=True,
        writers=("recommender",),
        readers=("worker", "verify", "report"),
        for_you="yes, where `recommendations.enabled`: [recommendations](recommendations.md)",
    ),
    Topic(
        setting="user_recommendations",
        key="`user_id`",
        value="JSON, items for the user, or null",
        schema="user-recommendations",
        kept="compacted",
        aligned=True,
        with_recommendations=True,
        with_users=True,
        writers=("worker", "reset"),
        readers=("verify",),
        for_you="yes, where `recommendations.users`: "
        "[recommendations](recommendations.md#items-for-single-users)",
    ),
    Topic(
        setting="rule_changes",
        key="`user_id`",
        value="JSON, one change",
        schema="rule-changes",
        kept="hours",
        with_rules=True,
        writers=("rules run",),
        readers=("verify",),
        for_you="yes, where `rules.enabled`: [rules](rules.md)",
    ),
    Topic(
        setting="rule_memberships",
        key="`user_id`, a bar, the rule's name",
        value="JSON, the change by which the user fulfils it; or null",
        schema="rule-changes",
        kept="compacted",
        with_rules=True,
        writers=("rules run",),
        readers=("verify",),
        for_you="yes, likewise",
    ),
    Topic(
        setting="rule_states",
        key="`user_id`",
        value="binary, [what rules know of a user](formats.md)",
        kept="compacted",
        aligned=True,
        with_rules=True,
        writers=("rules run",),
        readers=("rules run", "verify"),
        for_you="no: the changelog of `segmenter rules run`",
    ),
)


def is_needed(topic: Topic, settings: Settings) -> bool:
    """Tell whether a topic is there under these settings."""
    switching = settings.embedding.former.model is not None
    return (
        (settings.labels.enabled or not topic.with_labels)
        and (settings.rules.enabled or not topic.with_rules)
        and (switching or not topic.with_former)
        and (settings.recommendations.enabled or not topic.with_recommendations)
        and (settings.recommendations.users or not topic.with_users)
    )


_KEPT = {"compacted": "compacted", "hours": "`topics.retention_hours`", "free": "your choice"}


def topics_reference() -> str:
    """Write the list of the topics for docs/events.md."""
    return table(
        ("topic", "set by", "key", "value", "kept", "written by", "read by", "for you?"),
        (
            (
                code(each.default_name) if each.default_name else "none",
                code(f"topics.{each.setting}"),
                each.key,
                f"[{each.value}](../schemas/json/{each.schema}.schema.json)"
                if each.schema and "[" not in each.value
                else each.value,
                _KEPT[each.kept] + (", one partition" if each.single else ""),
                ", ".join((*(() if each.default_name else ("you",)), *each.writers)) or "you",
                ", ".join(each.readers) or "you",
                each.for_you,
            )
            for each in TOPICS
        ),
    )
