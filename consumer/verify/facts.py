"""What stays in memory of changes and profiles: a small part of the records."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Self

from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a user stands: what last change, membership and profile must agree on."""

    sequence: int
    segment: int | None
    label: str | None

    def __str__(self) -> str:
        return f"sequence {self.sequence} in {place_of(self.segment, self.label)}"


NOWHERE = Standing(sequence=0, segment=None, label=None)
"""Of a user who was never in a segment."""


@dataclass(frozen=True, slots=True)
class LatestChange:
    """A change, reduced to what is asked of it later."""

    standing: Standing
    model_version: int
    embedding: str
    document: bytes
    """The change as canonical JSON, for the comparison of all fields."""

    @classmethod
    def of(cls, change: SegmentChange) -> Self:
        """Reduce a change."""
        segment = change.segment
        standing = Standing(
            sequence=change.sequence,
            segment=segment.id if segment else None,
            label=segment.label if segment else None,
        )
        return cls(
            standing,
            change.model.version,
            sys.intern(change.model.embedding),
            change.model_dump_json().encode(),
        )


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """A profile, reduced to what is asked of it later; without the vector above all."""

    standing: Standing
    events: int
    repeats: int
    embedding: str

    @classmethod
    def of(cls, profile: ProfileRecord) -> Self:
        """Reduce a profile."""
        standing = Standing(profile.sequence, profile.segment, profile.segment_label)
        return cls(standing, profile.events, profile.repeats, sys.intern(profile.embedding))


@dataclass(frozen=True, slots=True)
class SeenChange:
    """A change as it was found.

    Attributes
    ----------
    change
        What it says.
    recorded_id
        The CloudEvents id that it came under.
    beginning_lost
        Whether retention may have removed earlier changes of the same user.
    """

    change: SegmentChange
    recorded_id: str
    beginning_lost: bool = False


def place_of(segment: int | None, label: str | None) -> str:
    """Name a segment in a sentence."""
    return "no segment" if segment is None else f"segment {segment} ({label!r})"
