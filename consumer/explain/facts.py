"""What `segmenter explain` tells; `--json` writes just that."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Fact(BaseModel):
    """A part of an explanation."""

    model_config = ConfigDict(frozen=True)


class Segment(Fact):
    """A segment, under the name that it had."""

    id: int
    label: str


class Near(Fact):
    """How far the profile lies from a segment."""

    segment: Segment
    distance: float = Field(description="Euclidean, of the unit profile vector to the centre.")
    farther: float = Field(description="Than the user's own segment, or than the nearest one.")


class Pushed(Fact):
    """What one event added to the margin of a change."""

    event_id: str
    offset: int
    share: float


class Pushes(Fact):
    """What made the margin of a change, as it was published."""

    against: Segment
    events: list[Pushed]
    others: float
    centres: float


class Change(Fact):
    """A change that was published."""

    sequence: int
    status: str
    reason: str
    cause: str | None
    previous: Segment | None
    segment: Segment | None
    changed_at: datetime
    occurred_at: datetime | None
    events: int = Field(description="Counted then.")
    distance: float | None
    margin: float | None
    confidence: float | None
    version: int
    event_id: str | None = Field(description="Of the event that caused it.")
    shares: Pushes | None


class Found(StrEnum):
    """What became of an event of which the place is kept."""

    READ = "read"
    GONE = "gone"
    """The input does not have it any more."""
    OTHER = "other"
    """Another event is there: the topic was made anew, or it is another file."""
    REFUSED = "refused"
    """It is there, and under the settings of now it is refused or has no vector."""
    NOT_ASKED = "not_asked"
    """There is no input to look into."""


class Part(Fact):
    """A sentence or a word, and what its text's share has of it."""

    text: str
    share: float = Field(description="By how much less the event would push without it.")


class Event(Fact):
    """One of the events that weigh most."""

    offset: int
    event_id: str | None
    type: str | None
    occurred_at: datetime
    weight: float = Field(description="In the profile, faded to its latest event.")
    found: Found
    share: float | None = Field(description="Of the margin; null where the text is not known.")
    text: str | None = Field(description="Null where it is hidden or not known.")
    sentences: list[Part] = Field(description="The ones that push most, by leaving each out.")
    words: list[Part] = Field(description="Likewise, of the text or of its first sentence above.")


class Margin(Fact):
    """How much nearer the user is to one segment than to another, and what that is made of.

    The shares of the events, `centres`, `others` and `rounding` add up to `margin`.
    """

    nearer: Segment
    farther: Segment
    margin: float
    events: float = Field(description="The shares of the events whose texts are known, together.")
    centres: float = Field(description="No event's: how the two centres lie.")
    others: float = Field(description="Of all other events, together.")
    others_weight: float = Field(description="What they weigh in the profile.")
    rounding: float


class Without(Fact):
    """Events that were taken away, and where the user would be."""

    offsets: list[int]
    segment: Segment | None


class More(Fact):
    """Further events like one that there is, or right in the middle of a segment."""

    like: str = Field(description="`event` or `segment`.")
    offset: int | None
    towards: Segment | None
    events: int | None = Field(description="How many move the user; null where no number does.")
    segment: Segment | None = Field(description="Where to; null for no segment.")


class Counterfactuals(Fact):
    """What would move the user, by the rules by which users are moved."""

    would_not_be_here: list[Without] = Field(
        description="Each of these events, without which the user would not have come here from "
        "the segment before; none where the user would not come here with all of them either."
    )
    decided_anew: Segment | None = Field(
        description="Where the user would be, put back where the user was before the latest change "
        "and decided on anew by the profile of now: the segment of now, or the one before where "
        "only the margin that a move wants keeps the user here. Null where that is not known."
    )
    fewest: Without | None = Field(
        description="The fewest of the events, those that push most, without which another segment "
        "is nearest."
    )
    more: list[More]


class Explanation(Fact):
    """All that is told of a user."""

    user_id: str
    source: str = Field(description="Where it was read.")
    at: datetime | None = Field(description="What was known then; null for now.")
    segment: Segment | None
    since: Change | None = Field(description="The change that brought the user here.")
    events: int | None
    weight: float | None
    updated_at: datetime | None
    version: int = Field(description="Of the segments by which distances are told.")
    decided_under: int | None = Field(description="Version of the latest decision on the user.")
    nearest: list[Near]
    margin: Margin | None
    known: list[Event] = Field(description="Those that weigh most, the greatest share first.")
    counterfactuals: Counterfactuals | None
    changes: list[Change]
    notes: list[str] = Field(description="What could not be told, and why.")
