"""What the trainer measures drift against: the latest record on `drift-reference`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Base64, Contract, Sha256
from schemas.events import Rfc3339

DRIFT_REFERENCE_SCHEMA: Literal[1] = 1

DRIFT_REFERENCE_KEY = b"reference"
"""Key of every reference: compaction keeps the latest."""


class DriftReferenceRecord(Contract):
    """The latest texts of some users as they were once; without users it is still being collected.

    Users are known by the number that stands for them in the trainer's sample, a hash of their id.
    """

    schema_version: Literal[1] = Field(
        DRIFT_REFERENCE_SCHEMA, description="Version of this format."
    )
    embedding: Sha256 = Field(description="Identity of the embedding model of the vectors.")
    epoch: int = Field(ge=0, description="The setting drift.reference_epoch that it goes by.")
    begin: int = Field(ge=0, description="Offset of the first text that counts.")
    end: int = Field(ge=0, description="Offset behind the last one; `begin` while it is collected.")
    set_at: Rfc3339 | None = Field(
        description="Latest event time of its users; null while it is collected."
    )
    model_version: int = Field(
        ge=0, description="Segment model by which `segments` were found; 0 while it is collected."
    )
    dimensions: int = Field(ge=0, description="Numbers in a vector; 0 while it is collected.")
    users: Base64 = Field(
        description="Ranks of the users, in the order in which their texts came, little-endian "
        "float64."
    )
    vectors: Base64 = Field(
        description="Embedding of each user's latest text, little-endian float16.", repr=False
    )
    segments: Base64 = Field(
        description="Segment of each user's profile then, little-endian int64.", repr=False
    )
