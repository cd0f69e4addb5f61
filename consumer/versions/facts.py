"""What is told of versions, as `segmenter models ... --json` writes it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from schemas.lifecycle import SegmentTransition
from schemas.model_control import OrderAnswer


class Fact(BaseModel):
    """Something that was so at the moment of the question."""

    model_config = ConfigDict(frozen=True)


class Version(Fact):
    """A version of the segments."""

    version: int
    at: datetime | None = Field(description="When it was made; null where that is not known.")
    origin: str = Field(description="trainer, rollback, migration or unknown.")
    rollback_of: int | None = Field(description="The version that it puts in force again.")
    segments: int
    users: int = Field(description="In all of them, of the trainer's sample.")
    provisional: bool = Field(description="Whether it was learned from few users.")
    in_force: bool
    kept: bool = Field(description="Whether it can be rolled back to.")


class WaitingOrder(Fact):
    """An order that no trainer has answered."""

    id: str
    action: str
    version: int | None
    at: datetime | None = Field(description="null where it cannot be read.")
    by: str


class Versions(Fact):
    """How the segment model stands."""

    in_force: int | None = Field(description="The latest version; null before the first.")
    frozen: bool = Field(description="Whether no new version is learned.")
    frozen_since: datetime | None
    frozen_by: str | None = Field(description="The order that did it: freeze or rollback.")
    versions: list[Version] = Field(description="The latest first.")
    waiting: list[WaitingOrder] = Field(description="Orders that wait for a trainer.")
    answers: list[OrderAnswer] = Field(description="The latest answers, the latest first.")


class Segment(Fact):
    """A segment of a version."""

    id: int
    name: str
    words: list[str]
    users: int = Field(description="Of the trainer's sample.")
    since: int = Field(description="Version in which it was born.")


class VersionDetails(Version):
    """A version with all that is known of it, but for centres."""

    embedding: str
    dimensions: int
    members: list[Segment]
    transitions: list[SegmentTransition] = Field(description="What it made of segments.")
    settings: dict[str, JsonValue] = Field(
        description="The section training that it was learned with; empty where not known."
    )
    order: str | None = Field(description="Id of the order that made it.")


class Renaming(Fact):
    """A segment that gets its former name back."""

    id: int
    name: str
    former: str = Field(description="What it is called now.")


class RollbackPreview(Fact):
    """What a rollback would change."""

    version: int = Field(description="The one to put in force again.")
    in_force: int
    becomes: int = Field(description="The version that it would be published as.")
    restored: list[Segment] = Field(description="Segments that come back.")
    retired: list[Segment] = Field(description="Segments that go away.")
    renamed: list[Renaming]
    users: int = Field(description="In the trainer's sample.")
    moved: int = Field(description="Of these, who would be nearest to another segment.")
    moved_of_all: int | None = Field(
        description="About so many users of the group: the sample is uniform. Null without a one."
    )
    frozen: bool = Field(description="Whether the model is frozen already; it is afterwards.")
