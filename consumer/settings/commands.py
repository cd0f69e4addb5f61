"""Which settings each command uses.

A new command gets a line in `USES`: its `--help` shows those settings and no others. All others are
still read from file and environment, and their flags are accepted with a warning, so that one
script or one pod template can give the same flags to every process.
"""

from __future__ import annotations

from consumer.settings import Settings, TopicSettings
from schemas.mapping import EventMapping

EVERYTHING = tuple(Settings.model_fields)
# Which topics of items there are.
_ITEMS = ("recommendations.enabled", "recommendations.users")
_CONNECTION = ("kafka.bootstrap_servers", "kafka.properties", "kafka.secrets")
# How it is told of, and when its end is forced.
_EVERY = ("kafka.revoke_seconds", "log")
_MADE_WITH = {"partitions", "replication_factor", "retention_hours"}
TOPIC_NAMES = tuple(f"topics.{name}" for name in TopicSettings.model_fields.keys() - _MADE_WITH)
FINDS_USERS = tuple(
    f"events.mapping.{name}"
    for name in EventMapping.model_fields.keys()
    - {"event_id_from", "time_format", "time_pattern", "attributes"}
)
# What a file goes through in a replay.
_STAGES = (
    *("events", "embedding", "profile", "assignment", "training", "labels", "drift"),
    *("batch.max_records", "batch.reassign_users", "dead_letters", "recommendations"),
)

_SENDS = ("kafka.producer_properties", "kafka.transaction_timeout_seconds")
_VERSIONS = (
    *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", *TOPIC_NAMES),
    *("restore.no_progress_seconds", *_EVERY),
)
_ORDERS = (
    *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics.model_control"),
    *("topics.prefix", *_SENDS, *_EVERY),
)

# Sections, and single settings where a command uses only that of a section.
USES: dict[str, tuple[str, ...]] = {
    "worker": (
        *("kafka", *TOPIC_NAMES, "events", "embedding", "profile", "assignment", "labels"),
        *_ITEMS,
        *("recommendations.user_top", "recommendations.user_items"),
        *("recommendations.evidence_events", "recommendations.own_weight"),
        *("recommendations.prior_weight", "rules.enabled"),
        *("drift.enabled", "training.idle_seconds", "batch", "dead_letters", "restore", "http"),
        "log",
    ),
    "trainer": (
        *("kafka", *TOPIC_NAMES, "training", "labels", "drift", "batch.max_records"),
        *("embedding.former.model", *_ITEMS, "rules.enabled"),
        *("batch.max_bytes", "batch.max_wait_seconds", "batch.prepare_timeout_seconds"),
        *("restore", "http"),
        "log",
    ),
    "recommender": (
        *("kafka", *TOPIC_NAMES, "recommendations", "labels.enabled", "rules.enabled"),
        "embedding.former.model",
        *("training.idle_seconds", "batch.max_records", "batch.max_bytes"),
        *("batch.max_wait_seconds", "batch.prepare_timeout_seconds", "restore", "http"),
        "log",
    ),
    "intake": (
        *("kafka", "topics.raw_events", "topics.events", "topics.dead_letters", "topics.prefix"),
        *("events.preset", *FINDS_USERS, "events.key", "events.partitioner"),
        *("training.idle_seconds", "batch.max_records", "batch.max_bytes"),
        "batch.max_wait_seconds",
        *("batch.prepare_timeout_seconds", "dead_letters", "restore.no_progress_seconds", "http"),
        "log",
    ),
    "rules run": (
        *("kafka", *TOPIC_NAMES, "events", "rules", "profile.inactive_half_lives"),
        "profile.words",
        *("profile.half_life_days", "training.idle_seconds", "batch.max_records"),
        *("batch.max_bytes", "batch.max_wait_seconds", "batch.prepare_timeout_seconds"),
        *("restore.no_progress_seconds", "restore.accept_lost_offsets", "http", "log"),
        *("labels.enabled", *_ITEMS, "embedding.former.model"),
    ),
    "rules test": ("events", "rules", *_EVERY),
    "broker": _EVERY,
    "demo": EVERYTHING,
    "replay": ("kafka.group_id", *TOPIC_NAMES, *_STAGES, *_EVERY),
    "evaluate": ("kafka.group_id", *TOPIC_NAMES, *_STAGES, *_EVERY),
    "report": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", *TOPIC_NAMES, "events"),
        *("embedding", "drift", "training.sample_users", "training.seed", "report"),
        *("restore.no_progress_seconds", *_EVERY),
    ),
    "verify": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", *TOPIC_NAMES),
        *("kafka.transaction_timeout_seconds", "labels.enabled", "restore.no_progress_seconds"),
        *("recommendations", "events", "rules", "profile.half_life_days"),
        *("profile.inactive_half_lives", "http", *_EVERY),
    ),
    "status": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", *TOPIC_NAMES, *_EVERY),
        *(*_ITEMS, "rules.enabled"),
    ),
    "watch": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", *TOPIC_NAMES, *_EVERY),
        *(*_ITEMS, "rules.enabled"),
    ),
    "changes": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics.changes"),
        *("topics.segments", "topics.prefix", "restore.no_progress_seconds", *_EVERY),
    ),
    "doctor": (
        *("kafka", "topics", "events", "embedding", "labels.enabled", "profile.precision"),
        *_ITEMS,
        "rules.enabled",
        "restore.checkpoint_max_age_hours",
        *("batch.max_bytes", "restore.checkpoint_dir", "restore.accept_lost_offsets", "log"),
    ),
    "models list": _VERSIONS,
    "models show": _VERSIONS,
    "models freeze": _ORDERS,
    "models unfreeze": _ORDERS,
    "models rollback": (*_VERSIONS, *_SENDS, "training.sample_users"),
    "profile": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics.profiles"),
        "topics.prefix",
        *("events.key", "events.partitioner", "restore.no_progress_seconds", *_EVERY),
    ),
    "explain": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", *TOPIC_NAMES),
        *("events", "embedding", "profile.half_life_days", "assignment"),
        *("restore.no_progress_seconds", *_EVERY),
    ),
    "migrate": (
        *("kafka", *TOPIC_NAMES, "events", "embedding", "profile", "labels.enabled"),
        *_ITEMS,
        "rules.enabled",
        *("recommendations.user_items", "training.sample_users", "training.kept_versions"),
        *("batch.max_records", "batch.reassign_users"),
        *("drift.enabled", "dead_letters", "restore.no_progress_seconds", "log"),
    ),
    "dead-letters list": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics.dead_letters"),
        *("topics.label_dead_letters", "topics.prefix", "restore.no_progress_seconds", *_EVERY),
    ),
    "dead-letters show": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics.dead_letters"),
        *("topics.label_dead_letters", "topics.prefix", "restore.no_progress_seconds", *_EVERY),
    ),
    "dead-letters redrive": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.producer_properties"),
        *("kafka.group_id", "kafka.transaction_timeout_seconds", "topics.events"),
        *("topics.raw_events", "topics.dead_letters", "topics.prefix"),
        *("restore.no_progress_seconds", *_EVERY),
    ),
    "reset": (
        *("kafka", *TOPIC_NAMES, "labels.enabled", "profile.inactive_half_lives"),
        *("embedding.former.model", *_ITEMS, "rules.enabled"),
        *("profile.half_life_days", "batch.reassign_users", "restore.no_progress_seconds", "log"),
    ),
    "topics create": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics"),
        *(
            "labels.enabled",
            "embedding.former.model",
            *_ITEMS,
            "rules.enabled",
            *_EVERY,
        ),
    ),
    "topics check": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id", "topics"),
        *("labels.enabled", "embedding.former.model", "restore.checkpoint_max_age_hours", *_EVERY),
        *_ITEMS,
        "rules.enabled",
    ),
    "topics strimzi": (
        *("kafka.group_id", "topics", "labels.enabled", "embedding.former.model", *_EVERY),
        *_ITEMS,
        "rules.enabled",
    ),
    "produce": (
        *(*_CONNECTION, "kafka.producer_properties", "kafka.transaction_timeout_seconds"),
        *("topics.events", "topics.prefix", "events", *_EVERY),
    ),
    "model prepare": (
        *(
            "embedding.model",
            "embedding.words.folder",
            "embedding.both.model",
            "embedding.precision",
            "embedding.device",
            "embedding.engine",
            *_EVERY,
        ),
    ),
    "model export": _EVERY,
    "model verify": _EVERY,
    "model fit words": (
        *(*_CONNECTION, "kafka.consumer_properties", "kafka.group_id"),
        *("topics.events", "topics.prefix", "events"),
        *("embedding.words.folder", "restore.no_progress_seconds", *_EVERY),
    ),
    "model advise": ("events", *_EVERY),
    "model list": _EVERY,
    "config": EVERYTHING,
}


def uses(command: str, setting: str) -> bool:
    """Tell whether a command uses a setting, or any setting of a section.

    Parameters
    ----------
    command
        Words after `segmenter`, such as `topics create`. One that is not in the table uses all.
    setting
        Dotted name of a setting or section.
    """
    return any(
        f"{setting}.".startswith(f"{used}.") or used.startswith(f"{setting}.")
        for used in USES.get(command, EVERYTHING)
    )
