"""What stays in memory of changes and profiles: a small part of the records."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import NamedTuple, Self

from schemas.changes import SegmentChange
from schemas.profiles import ProfileRecord


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a user stands: what last change, membership and profile must agree on."""

    sequence: int
    segment: int | None
    label: str | None

    def is_in(self, segment: int | None, label: str | None) -> bool:
        """Whether the user is in this segment, under this label."""
        return (self.segment, self.label) == (segment, label)

    @property
    def place(self) -> str:
        """The segment, for a sentence."""
        return place_of(self.segment, self.label)

    def __str__(self) -> str:
        return f"sequence {self.sequence} in {self.place}"


NOWHERE = Standing(sequence=0, segment=None, label=None)
"""Of a user who was never in a segment."""


class Footprint(NamedTuple):
    """A standing in four numbers, for an audit that keeps millions of them.

    Attributes
    ----------
    sequence
        Changes published.
    segment
        Where the user is.
    place_digest
        Of segment and label; equal places give equal digests within one process.
    document
        Digest of the record's bytes, 0 where it is not kept.
    """

    sequence: int
    segment: int | None
    place_digest: int
    document: int = 0

    @classmethod
    def of(
        cls, sequence: int, segment: int | None, label: str | None, value: bytes | None = None
    ) -> Self:
        """Reduce what a record says, and the record itself where it is given.

        Numbers beyond 64 bits, which no worker writes, are cut down to fit.
        """
        return cls(
            min(sequence, _MAX_INT64),
            None if segment is None else min(segment, _MAX_INT64),
            hash((segment, label)),
            0 if value is None else hash(value),
        )

    def is_in(self, segment: int | None, label: str | None) -> bool:
        """Whether the user is in this segment, under this label."""
        return self.place_digest == hash((segment, label))

    def agrees(self, other: Footprint) -> bool:
        """Whether both show the same standing."""
        return self[:3] == other[:3]

    @property
    def place(self) -> str:
        """The segment, for a sentence."""
        return "no segment" if self.segment is None else f"segment {self.segment} (label not kept)"

    def __str__(self) -> str:
        place = "no segment" if self.segment is None else f"segment {self.segment}"
        return f"sequence {self.sequence} in {place}"


_MAX_INT64 = 2**63 - 1


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
    label: str | None
    """The label published last."""

    @classmethod
    def of(cls, profile: ProfileRecord) -> Self:
        """Reduce a profile."""
        standing = Standing(profile.sequence, profile.segment, profile.segment_label)
        label = profile.labels.predicted if profile.labels else None
        return cls(standing, profile.events, profile.repeats, sys.intern(profile.embedding), label)


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
