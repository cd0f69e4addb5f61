"""The segment model as the trainer publishes it: one versioned snapshot on `segment-models`."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from schemas.base import Base64, Contract, Sha256
from schemas.lifecycle import RetiredSegment, SegmentTransition

# 2 added what became of segments, and the clusterer's state. Version 1 lacks them and is read as if
# nothing were known of that; a reader of version 1 would refuse the new fields, hence the number.
# 3 added `rollback_of`, and is the form of rolled-back versions alone: all others are of form 2, so
# that readers of before go on with them. 4 added `migrated_from` likewise, for versions that bring
# a group to another embedding model: none but workers of that model have a use for them.
SEGMENT_MODEL_SCHEMA: Literal[4] = 4
ROLLED_BACK_SCHEMA: Literal[3] = 3
"""The form of versions that put an earlier one in force again."""
LEARNED_SCHEMA: Literal[2] = 2
"""The form of versions that were learned."""

SEGMENT_MODEL_KEY = b"segments"
"""Key of every snapshot: compaction keeps the latest."""

NO_SEGMENT = -1
"""What stands for "no segment" in an array of ids; real ids are never negative."""


def is_provisional(learner: str | None) -> bool:
    """Tell from `learner` whether a version is of few users: another one follows with more."""
    try:
        told = json.loads(learner or "{}")
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("provisional") is True


class SegmentRecord(Contract):
    """One segment of a snapshot."""

    id: int = Field(ge=0, description="Stable; never used again for another segment.")
    label: str = Field(description="The most typical words, as changes quote them.")
    words: list[str] = Field(description="Typical words, the most typical first.")
    centre: Base64 = Field(description="Little-endian float64.", repr=False)
    radius: float = Field(ge=0, description="Root mean square distance of members to the centre.")
    size: int = Field(ge=0, description="Members among the sampled users.")
    since: int = Field(ge=1, description="Version in which the segment was born.")
    parents: list[int] = Field(
        default=[],
        description="Segments that it was made of then: the one it was split off, and those merged "
        "into it.",
    )
    survival: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of its sampled users under the version before who still are in it; null "
        "where it is new or had none.",
    )
    overlap: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of its sampled users who were in it under the version before; null "
        "where it is new or has none.",
    )


class SegmentModelRecord(Contract):
    """Everything a worker needs to assign users, and a trainer to go on."""

    schema_version: Literal[1, 2, 3, 4] = Field(
        SEGMENT_MODEL_SCHEMA, description="Version of this format."
    )
    version: int = Field(ge=1, description="Version of the segments: 1, then one more each.")
    embedding: Sha256 = Field(description="Identity of the embedding model of the profiles.")
    dimensions: int = Field(ge=1, description="Numbers in a centre.")
    segments: list[SegmentRecord] = Field(min_length=1, description="The segments there are.")
    next_id: int = Field(ge=1, description="The id that the next new segment gets.")
    sample_threshold: float = Field(
        gt=0, le=1, description="Users whose hash, as a share, is at most this feed the trainer."
    )
    samples: int = Field(ge=0, description="Samples learned so far.")
    seed: int = Field(ge=0, description="The setting training.seed it was learned with.")
    transitions: list[SegmentTransition] = Field(
        default=[], description="What this version made of the segments of the one before."
    )
    retired: list[RetiredSegment] = Field(
        default=[], description="Segments retired, the latest 1,000, in the order of retirement."
    )
    learner: str | None = Field(
        default=None,
        description="What the trainer's clusterer holds beside the centres, as JSON, for the next "
        "trainer to go on from; null where that is not known. Of no use to workers.",
    )
    # Left out of all others, so that readers that do not know it can read those.
    rollback_of: int | None = Field(
        default=None,
        ge=1,
        description="Where an operator had an earlier version put in force again: that version. "
        "Absent in versions that were learned.",
        exclude_if=lambda value: value is None,
    )
    migrated_from: Sha256 | None = Field(
        default=None,
        description="Where an operator had the group changed to another embedding model by this "
        "version: the former model. Absent in all others.",
        exclude_if=lambda value: value is None,
    )
