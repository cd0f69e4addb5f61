"""What operators order of the segment model, and how it stands: the topic `segment-model-control`.

An order is a record under an id of its own. The trainer reads it as input, and in the transaction
that follows it or refuses it writes a tombstone in its place and its answer into the state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from schemas.base import Contract, Open, Sha256
from schemas.events import Rfc3339
from schemas.segment_model import SegmentModelRecord

MODEL_CONTROL_SCHEMA: Literal[1] = 1

CONTROL_STATE_KEY = b"state"
"""Key of the trainer's state; orders have ids that are UUIDs."""

KEPT_ANSWERS = 50
"""The latest answers that the state holds."""


class OrderAction(StrEnum):
    """What an operator asks for."""

    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    ROLLBACK = "rollback"
    MIGRATE = "migrate"


class ModelOrder(Contract):
    """An operator's order; the record's key is its id."""

    # It is read by trainers that are perhaps older than the command, and answer what they know.
    model_config = ConfigDict(extra="allow")

    schema_version: int = Field(MODEL_CONTROL_SCHEMA, ge=1, description="Version of this format.")
    action: Annotated[OrderAction, Open()] = Field(
        description="What is asked for. Later versions may have further values."
    )
    version: int | None = Field(
        default=None, ge=1, description="rollback: the version to put in force again."
    )
    seen: int | None = Field(
        default=None,
        ge=1,
        description="rollback, migrate: the version that was in force when it was given. It is "
        "refused where another rollback, or of migrate any version, has come since.",
    )
    model: SegmentModelRecord | None = Field(
        default=None,
        description="migrate: the version to publish, of another embedding model; without one no "
        "version is learned until it comes.",
        exclude_if=lambda value: value is None,
    )
    at: Rfc3339 = Field(description="When it was given.")
    by: str = Field(default="", max_length=200, description="Who gave it, as user@host.")


class OrderAnswer(Contract):
    """What the trainer made of an order."""

    id: str = Field(description="The order's id.")
    action: str = Field(description="What was asked for.")
    version: int | None = Field(default=None, description="rollback: the version asked for.")
    by: str = Field(default="", description="Who asked.")
    ordered_at: Rfc3339 = Field(description="When it was asked for.")
    at: Rfc3339 = Field(description="When it was answered.")
    done: bool = Field(description="Whether it was followed; false: it was refused.")
    detail: str = Field(description="A sentence: what came of it, or why it was refused.")
    model_version: int | None = Field(
        default=None, description="The version in force afterwards; null where there is none."
    )


class ModelControlState(Contract):
    """How the segment model stands: whether new versions may be learned, and the latest answers."""

    schema_version: Literal[1] = Field(MODEL_CONTROL_SCHEMA, description="Version of this format.")
    frozen: bool = Field(
        default=False, description="Whether no new version is learned until it is unfrozen."
    )
    since: Rfc3339 | None = Field(default=None, description="Since when; null where it is not.")
    cause: str | None = Field(
        default=None,
        description="The order that froze it: freeze, rollback or migrate; null likewise.",
    )
    # Left out where there is none, so that releases that do not know it read the state.
    former_embedding: Sha256 | None = Field(
        default=None,
        description="The embedding model that the group was changed from while it ran: samples of "
        "it are passed over. Absent where there is none.",
        exclude_if=lambda value: value is None,
    )
    answers: list[OrderAnswer] = Field(
        default=[], description="The latest 50 answers, in their order."
    )
