"""Users by attribute and segment: one record of the compacted topic `segment-recommendations`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from schemas.base import Contract

ATTRIBUTES_SCHEMA = 1

ATTRIBUTES_KEY = b"attributes"
"""The record's key, beside those of segments and of all users."""


class SegmentUsers(Contract):
    """Users counted in a segment."""

    model_config = ConfigDict(extra="allow")

    segment: int = Field(description="The segment's id.")
    users: int = Field(ge=1, description="Sampled users who are in it.")


class AttributeUsers(Contract):
    """Users who have an attribute."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="As events name it.")
    value: str = Field(description="What it is.")
    users: int = Field(ge=1, description="Sampled users in a segment who have it.")
    segments: list[SegmentUsers] = Field(description="The same by segment, by its id.")


class AttributeTable(Contract):
    """Sampled users by segment, and by attribute and segment; a user counts once in each.

    Published: it may get further fields.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: int = Field(ATTRIBUTES_SCHEMA, ge=1, description="Of this record's form.")
    users: int = Field(ge=0, description="Sampled users who are in a segment.")
    sampled: float = Field(
        gt=0, le=1, description="Share of all users who are sampled, by their hash."
    )
    segments: list[SegmentUsers] = Field(description="Those users by segment, by its id.")
    attributes: list[AttributeUsers] = Field(description="That which most users have first.")
    left_out: int = Field(
        0, ge=0, description="Attributes that are not told, since fewer users have them."
    )
    parts_end: int = Field(
        0, ge=0, description="Offset behind the latest record that is in it, for the audit."
    )
