"""The records, as pydantic models that take fields of later versions along."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Segment(_Record):
    """A segment by its stable id, and what it was called at that moment."""

    id: int
    label: str


class Label(_Record):
    """The label that was predicted for a user, where the group learns labels."""

    name: str | None = None
    probability: float | None = None
    previous: str | None = None
    version: int


class Profile(_Record):
    """How much a decision rests on."""

    events: int
    weight: float
    updated_at: datetime


class Model(_Record):
    """Which models decided."""

    embedding: str
    version: int


class Source(_Record):
    """The event that caused a change."""

    topic: str
    partition: int
    offset: int
    event_id: str


class EventShare(_Record):
    """What one event adds to a margin."""

    event_id: str
    offset: int
    share: float


class Shares(_Record):
    """What makes the margin of a change; events, others and centres add up to it."""

    against: Segment
    events: list[EventShare]
    others: float
    centres: float


class Change(_Record):
    """A user entered, switched or left a segment, and why.

    Values of `status`, `reason` and `cause` that a later version adds are taken as they are.
    """

    user_id: str
    sequence: int = Field(description="1 for a user's first change, then one more each.")
    status: str = Field(description="entered, switched, exited or labelled.")
    segment: Segment | None = Field(description="None where the user left without another.")
    previous_segment: Segment | None
    reason: str
    cause: str | None = Field(None, description="user, model or operator; None in older changes.")
    changed_at: datetime
    occurred_at: datetime | None
    distance: float | None = None
    previous_distance: float | None = None
    margin: float | None = None
    confidence: float | None = None
    profile: Profile
    model: Model
    source: Source | None = None
    label: Label | None = None
    shares: Shares | None = None


class ItemForUser(_Record):
    """An item that a user does not have yet."""

    item_id: str
    score: float = Field(description="Compares the items of one record.")
    reason: str = Field(description="segment, popular or similar.")


class ListUsed(_Record):
    """Items of a segment that a user's were chosen from."""

    segment: int | None = Field(description="None for those of all users.")
    as_of: datetime


class UserItems(_Record):
    """Items for one user, the one to show first in front."""

    schema_version: int = 1
    user_id: str
    segment: int | None
    used: str = Field(description="What they rest on: global, first_event or mixture.")
    events: int
    profile_at: datetime
    lists: list[ListUsed]
    items: list[ItemForUser]


class SegmentName(_Record):
    """A segment as it is called today."""

    id: int
    name: str
    words: list[str]
    users: int = Field(description="Members among the sampled users.")
    since: int = Field(description="Version of the model in which it was born.")
    version: int
    provisional: bool = Field(
        default=False, description="Whether that version was learned from few users so far."
    )
