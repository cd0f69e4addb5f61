"""What becomes of segments from one version to the next: CloudEvents on `segment-lifecycle`.

Where a segment came from and where it went is told by the sampled users: which segment each is in
under the version before, and under the new one. So all figures here count sampled users.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from schemas.base import Contract, Open, schema_id
from schemas.cloudevents import EventHeaders, binary_headers, structured
from schemas.events import Rfc3339

LIFECYCLE_SCHEMA = schema_id("segment-lifecycle")

# Namespace of the ids below; made once with uuid4. Another one would give every event a new id.
_LIFECYCLE_NAMESPACE = uuid.UUID("455a8a10-4c1f-47ef-9353-23ba30466820")


class TransitionType(StrEnum):
    """What happened to a segment.

    Every new id is CREATED once and every id that ends is RETIRED. SPLIT and MERGED say what made
    that so: of a split the parts but one are created, of a merger all but one are retired. A
    rollback to an earlier version has segments RESTORED that were retired since, and those that
    came since RETIRED; only so does an id come back. RENAMED is of a segment that goes on; no
    snapshot holds it, since two of them tell it.
    """

    CREATED = "created"
    RESTORED = "restored"
    SPLIT = "split"
    MERGED = "merged"
    RETIRED = "retired"
    RENAMED = "renamed"


class Flow(Contract):
    """The users of one segment who are in another one, or in the same, under the new version."""

    parent: int = Field(ge=0, description="Segment under the version before.")
    child: int = Field(ge=0, description="Segment under the new version.")
    users: int = Field(ge=1, description="Sampled users who are in both.")
    of_parent: float = Field(gt=0, le=1, description="Their share of the parent's users.")
    of_child: float = Field(gt=0, le=1, description="Their share of the child's users.")


class SegmentTransition(Contract):
    """What one version made of one segment, as its snapshot tells it."""

    type: TransitionType = Field(description="What happened.")
    segment: int = Field(
        ge=0,
        description="The new segment, the one restored, the one retired, the one split, the merged "
        "or the renamed one.",
    )
    label: str = Field(
        description="Its typical words: of a segment that is split or retired those of the version "
        "before."
    )
    parents: list[int] = Field(
        description="created: the segment that it was split off, and those merged into it; "
        "merged: all that went into it, itself among them where its id goes on."
    )
    children: list[int] = Field(
        description="split: its parts, itself among them where its id goes on."
    )
    successor: int | None = Field(
        ge=0, description="retired: the segment that took over most of its users, if one did."
    )
    size_before: int = Field(ge=0, description="Sampled users in it under the version before.")
    size: int = Field(ge=0, description="Sampled users in it under the new version.")
    flows: Sequence[Flow] = Field(
        description="created, restored, merged: where its users came from; split, retired: where "
        "they went."
    )


class PublishedFlow(Flow):
    """The users of one segment who are in another one, or in the same, under the new version."""

    model_config = ConfigDict(extra="allow")


class LifecycleEvent(SegmentTransition):
    """A transition, published: unlike the snapshot's it may get further fields and types."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[TransitionType, Open()] = Field(
        description="What happened. Later versions may have further values."
    )
    flows: Sequence[PublishedFlow] = Field(
        description="created, restored, merged: where its users came from; split, retired: where "
        "they went."
    )
    previous_label: str | None = Field(
        default=None, description="renamed: the label before; null in other events."
    )
    version: int = Field(ge=1, description="Version of the segment model that made it.")
    at: Rfc3339 = Field(description="When that version was made (processing time).")

    @property
    def id(self) -> str:
        """The CloudEvents id: a UUIDv5 of version, segment and type, the same for a retry."""
        name = f"{self.version}\n{self.segment}\n{self.type}"
        return str(uuid.uuid5(_LIFECYCLE_NAMESPACE, name))


class RetiredSegment(Contract):
    """What a snapshot keeps of a segment that is no more."""

    id: int = Field(ge=0, description="Its id.")
    version: int = Field(ge=1, description="The first version without it.")
    successor: int | None = Field(ge=0, description="The segment that took over most of its users.")
    since: int = Field(ge=1, description="Version in which it was born.")
    parents: list[int] = Field(description="Segments that it was made of then.")


def lifecycle_headers(event: LifecycleEvent, source: str) -> EventHeaders:
    """Kafka headers of CloudEvents 1.0 in binary mode for one event."""
    return binary_headers(
        event_id=event.id,
        source=source,
        event_type=f"segmenter.segment.{event.type}.v1",
        data_schema=LIFECYCLE_SCHEMA,
        subject=str(event.segment),
        time=event.at,
    )


def structured_lifecycle_event(event: LifecycleEvent, source: str) -> dict[str, object]:
    """Give one event as CloudEvents 1.0 in structured JSON mode, for files."""
    return structured(lifecycle_headers(event, source), event)
