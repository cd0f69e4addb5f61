"""The section `topics`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Section


class TopicSettings(Section):
    """Names of the topics, and how `segmenter topics create` makes them."""

    prefix: str | None = Field(
        None,
        max_length=100,
        description="Beginning of every topic's default name and of the group's, so that a second "
        "group has topics, offsets and transactions of its own; a topic or a group that is named "
        "has just that name.",
    )
    events: str = Field("user-events", description="Input.")
    raw_events: str | None = Field(
        None,
        description="A foreign topic whose keys or partitions cannot be trusted, which 'segmenter "
        "intake' re-keys into events; none where producers write events themselves.",
    )
    dead_letters: str = Field("user-events.dlq", description="Refused records.")
    changes: str = Field("segment-changes", description="Output.")
    memberships: str = Field(
        "segment-memberships", description="Each user's latest change, compacted."
    )
    profiles: str = Field("user-profiles", description="Changelog of the state.")
    next_profiles: str = Field(
        "user-profiles-next",
        min_length=1,
        description="Profiles of the embedding model that a running group is changed to, where "
        "embedding.former.model is set; as many partitions as events.",
    )
    samples: str = Field("profile-samples", description="Feed of the trainer, one partition.")
    models: str = Field("segment-models", description="Snapshots, one partition.")
    model_versions: str = Field(
        "segment-model-versions",
        min_length=1,
        description="The latest versions of the segments, compacted, one partition.",
    )
    model_control: str = Field(
        "segment-model-control",
        min_length=1,
        description="What operators order of the segments, and the trainer's answers, compacted, "
        "one partition.",
    )
    lifecycle: str = Field(
        "segment-lifecycle",
        description="Segments created, restored, split, merged, retired and renamed, one "
        "partition.",
    )
    segments: str = Field(
        "segments",
        min_length=1,
        description="The segments there are, with their names, compacted, one partition.",
    )
    labels: str = Field(
        "segment-labels",
        description="Labels of users, read where labels.enabled; as many partitions as events.",
    )
    label_dead_letters: str = Field("segment-labels.dlq", description="Refused records of labels.")
    label_models: str = Field(
        "label-models", description="Snapshots of the label model, one partition."
    )
    rule_changes: str = Field(
        "rule-changes", description="Users who come to fulfil a rule, or cease to."
    )
    rule_memberships: str = Field(
        "rule-memberships", description="Who fulfils which rule, compacted."
    )
    rule_states: str = Field(
        "rule-states",
        description="Changelog of 'segmenter rules run', compacted; as many partitions as events.",
    )
    drift_reference: str = Field(
        "drift-reference",
        description="What the trainer measures drift against, compacted, one partition.",
    )
    item_events: str = Field(
        "item-events",
        min_length=1,
        description="What users' events say of items, written where recommendations.enabled; as "
        "many partitions as events.",
    )
    item_profiles: str = Field(
        "item-profiles",
        min_length=1,
        description="Changelog of the recommender's items, compacted; as many partitions as "
        "events.",
    )
    recommendation_parts: str = Field(
        "recommendation-parts",
        min_length=1,
        description="What each partition's items add to a segment's, compacted; as many "
        "partitions as events.",
    )
    segment_recommendations: str = Field(
        "segment-recommendations",
        min_length=1,
        description="Items that lead in each segment, compacted, one partition.",
    )
    user_recommendations: str = Field(
        "user-recommendations",
        min_length=1,
        description="Items for single users, compacted, written where recommendations.users; as "
        "many partitions as events.",
    )
    partitions: int = Field(
        12, ge=1, le=10_000, description="Partitions of input, outputs and changelog."
    )
    replication_factor: int = Field(
        -1, ge=-1, le=15, description="Replicas; -1 is the broker's default."
    )
    retention_hours: float = Field(
        -1,
        ge=-1,
        le=1e9,
        description="Hours that changes, lifecycle events, dead letters and events of items are "
        "kept; -1 is for ever.",
    )

    @field_validator("*")
    @classmethod
    def _as_kafka_takes_it(cls, value: object) -> object:
        if isinstance(value, str) and (
            not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}
        ):
            raise ValueError(
                "Kafka takes no such name: give 1 to 249 of A-Z, a-z, 0-9, dot, underscore and "
                "hyphen, and not one or two dots alone"
            )
        return value

    @field_validator("replication_factor")
    @classmethod
    def _some_replicas(cls, value: int) -> int:
        if value == 0:
            raise ValueError("give 1 or more, or -1 for the broker's default")
        return value

    @field_validator("retention_hours")
    @classmethod
    def _some_time(cls, value: float) -> float:
        if -1 < value < 0:
            raise ValueError("give 0 or more, or -1 for ever")
        return value

    @model_validator(mode="after")
    def _prefixed(self) -> Self:
        if self.prefix is not None:
            given = self.model_fields_set
            named = {name: value for name, value in self.names() if name not in given}
            self.__dict__.update({name: self.prefix + value for name, value in named.items()})
        return self

    def names(self) -> Iterator[tuple[str, str]]:
        """Give each setting that names a topic, with the name, of those that have one."""
        for name, value in self:
            if isinstance(value, str) and name != "prefix":
                yield name, value

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        roles: dict[str, str] = {}
        for name, value in self.names():
            # Kafka makes no two topics that differ in these alone: its metrics' names would not.
            if (other := roles.setdefault(value.replace(".", "_"), name)) == name:
                continue
            if value != (its := getattr(self, other)):
                raise ValueError(
                    f"{name} is {value!r} and {other} {its!r}: Kafka makes no two topics whose "
                    "names differ only by '.' and '_'"
                )
            if "raw_events" in (name, other):
                own = name if other == "raw_events" else other
                raise ValueError(
                    f"raw_events is {value!r}, which is topics.{own}: 'segmenter intake' reads "
                    "it and writes into topics.events, so it must be a topic of its own"
                )
            raise ValueError(
                f"{name} is {value!r}, which is topics.{other}: each topic holds records of one "
                "kind, so give them different names"
            )
        return self
