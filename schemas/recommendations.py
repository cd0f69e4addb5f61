"""The items that lead in each segment, and those for single users.

The compacted topics `segment-recommendations` and `user-recommendations`.
"""

from __future__ import annotations

import re
from datetime import datetime

from pydantic import ConfigDict, Field

from schemas.base import Base64, Contract, Identifier

RECOMMENDATIONS_SCHEMA = 1
USER_RECOMMENDATIONS_SCHEMA = 1


class RatingFigures(Contract):
    """Ratings with faded weights."""

    model_config = ConfigDict(extra="allow")

    weight: float = Field(ge=0, description="Faded number of ratings; 0: there is none.")
    mean: float = Field(description="Their weighted mean, 0 where there is none.")
    variance: float = Field(ge=0, description="Their weighted variance, 0 where there is none.")


class RecommendedItem(Contract):
    """An item that leads in a segment."""

    model_config = ConfigDict(extra="allow")

    item_id: str = Field(description="As events name it.")
    score: float = Field(
        ge=0, description="Its share of what the segment's users do, smoothed by that of all users."
    )
    popularity: float = Field(ge=0, description="Faded weight of the segment's events about it.")
    ratings: RatingFigures = Field(description="Of the segment's users.")
    vector: Base64 | None = Field(
        None,
        description="Decayed mean of the vectors of what is written about it, float16, little-"
        "endian; null without a text.",
    )


class SegmentRecommendations(Contract):
    """What leads in a segment as of a time; a tombstone once nothing is known of it.

    Published: it may get further fields.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: int = Field(RECOMMENDATIONS_SCHEMA, ge=1, description="Of this record's form.")
    segment: int | None = Field(description="The segment's id; null for all users.")
    as_of: datetime = Field(description="Event time that everything is faded to.")
    items: list[RecommendedItem] = Field(description="The leading one first.")
    popularity: float = Field(ge=0, description="Faded weight of all of the segment's events.")
    ratings: RatingFigures = Field(description="All ratings of the segment's users.")
    exact: int = Field(
        ge=0, description="So many of the first are certainly those that lead by what is kept."
    )
    slack: float = Field(
        ge=0, description="By how much a score that was left out may be above the last one here."
    )
    partitions: int = Field(ge=1, description="Partitions whose items are in it.")
    parts_end: int = Field(
        0, ge=0, description="Offset behind the latest part that is in it, for the audit."
    )


EVERYBODY_KEY = b"all"
"""Key of what leads among all users."""

RECOMMENDATIONS_KEYS = re.compile(rb"all|[0-9]{1,10}")
"""Keys of what leads in segments; whoever reads the topic passes over records of other keys."""


def recommendations_key(segment: int | None) -> bytes:
    """Give the key of a segment's record, None for all users."""
    return EVERYBODY_KEY if segment is None else str(segment).encode()


class ItemForUser(Contract):
    """An item that a user does not have yet."""

    model_config = ConfigDict(extra="allow")

    item_id: str = Field(description="As events name it.")
    score: float = Field(
        ge=0, le=1, description="Compares the items of this record, and no two users'."
    )
    reason: str = Field(
        description="What brought it up most. segment: it is popular in the user's segment, more "
        "than among all users; popular: it is popular among all users; similar: what is written "
        "about it is like what the user writes."
    )


class ListUsed(Contract):
    """A record of `segment-recommendations` that items were chosen from."""

    model_config = ConfigDict(extra="allow")

    segment: int | None = Field(description="Whose it is; null for all users.")
    as_of: datetime = Field(description="Its own as_of.")


class UserRecommendations(Contract):
    """Items for one user as of the user's latest event that changed them.

    Published: it may get further fields. A tombstone where the user is let go.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: int = Field(
        USER_RECOMMENDATIONS_SCHEMA, ge=1, description="Of this record's form."
    )
    user_id: Identifier = Field(description="The record's key.")
    segment: int | None = Field(description="The user's segment behind the event; null for none.")
    used: str = Field(
        description="What the choice rests on. global: what is popular among all users, since the "
        "user is in no segment of which items are known; first_event: the segment of the user's "
        "only event; mixture: the user's segment, and all users the more the fewer events there "
        "are."
    )
    events: int = Field(ge=0, description="Events counted in the user's profile.")
    profile_at: datetime = Field(description="Time of the latest of them.")
    lists: list[ListUsed] = Field(description="Where the items come from.")
    items: list[ItemForUser] = Field(description="The one to show first is first.")
