"""The latest versions of the segment model, one record each: the topic `segment-model-versions`."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from schemas.base import Contract
from schemas.events import Rfc3339
from schemas.segment_model import SegmentModelRecord

MODEL_VERSION_SCHEMA: Literal[1] = 1


class VersionOrigin(StrEnum):
    """What made a version."""

    TRAINER = "trainer"
    """It was learned."""
    ROLLBACK = "rollback"
    """An operator had an earlier one put in force again."""
    MIGRATION = "migration"
    """`segmenter migrate` brought the one before to another embedding model."""
    UNKNOWN = "unknown"
    """It was in force before versions were kept."""


class ModelVersionRecord(Contract):
    """A version as it was published, to be looked at and to be put in force again.

    Its `learner` is without the clusterer's own state, which may take megabytes, and its list of
    retired segments is empty: whoever puts it in force again has a later one.
    """

    schema_version: Literal[1] = Field(MODEL_VERSION_SCHEMA, description="Version of this format.")
    model: SegmentModelRecord = Field(description="The version; the record's key is its number.")
    origin: VersionOrigin = Field(description="What made it.")
    at: Rfc3339 | None = Field(description="When it was made; null where that is not known.")
    order: str | None = Field(
        default=None, description="Id of the operator's order that made it; null for none."
    )
    settings: dict[str, JsonValue] = Field(
        default={},
        description="The section training of who made it; of a rollback, of who made the earlier "
        "version. Empty where that is not known.",
    )


def version_key(version: int) -> bytes:
    """Give the key of a version's record."""
    return b"%d" % version
