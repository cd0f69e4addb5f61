"""The section `topics`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from schemas.base import Section


class TopicSettings(Section):
    """Names of the topics, and how `segmenter topics create` makes them."""

    events: str = Field("user-events", min_length=1, description="Input.")
    raw_events: str | None = Field(
        None,
        min_length=1,
        description="A foreign topic whose keys or partitions cannot be trusted, which 'segmenter "
        "intake' re-keys into events; none where producers write events themselves.",
    )
    dead_letters: str = Field("user-events.dlq", min_length=1, description="Refused records.")
    changes: str = Field("segment-changes", min_length=1, description="Output.")
    memberships: str = Field(
        "segment-memberships", min_length=1, description="Each user's latest change, compacted."
    )
    profiles: str = Field("user-profiles", min_length=1, description="Changelog of the state.")
    samples: str = Field(
        "profile-samples", min_length=1, description="Feed of the trainer, one partition."
    )
    models: str = Field("segment-models", min_length=1, description="Snapshots, one partition.")
    lifecycle: str = Field(
        "segment-lifecycle",
        min_length=1,
        description="Segments created, split, merged and retired, one partition.",
    )
    labels: str = Field(
        "segment-labels",
        min_length=1,
        description="Labels of users, read where labels.enabled; as many partitions as events.",
    )
    label_dead_letters: str = Field(
        "segment-labels.dlq", min_length=1, description="Refused records of labels."
    )
    label_models: str = Field(
        "label-models", min_length=1, description="Snapshots of the label model, one partition."
    )
    drift_reference: str = Field(
        "drift-reference",
        min_length=1,
        description="What the trainer measures drift against, compacted, one partition.",
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
        description="Hours that changes, lifecycle events and dead letters are kept; -1 is for "
        "ever.",
    )

    @model_validator(mode="after")
    def _one_role_each(self) -> Self:
        roles: dict[str, str] = {}
        for name, value in self:
            if not isinstance(value, str):
                continue
            if (other := roles.setdefault(value, name)) == name:
                continue
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
