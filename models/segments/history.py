"""What a published version of the segments remembers of those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from schemas.lifecycle import RetiredSegment, SegmentTransition
from schemas.segment_model import SegmentModelRecord

KEPT_RETIRED = 1_000
"""Retired segments that a snapshot remembers. A worker that was away looks its users' segments up
here; a thousand are years of versions, and take 100 kB at most."""


@dataclass(frozen=True)
class History:
    """Where the segments of a version come from, and what became of former ones.

    Everything is by id, and what is not in it is not known: a snapshot of an earlier format, or
    one made by hand, has an empty history.

    Attributes
    ----------
    parents
        Segments that each was made of when it was born; those born of none are left out.
    survival
        Of segments that go on: share of the sampled users under the version before who are in it
        still, in [0, 1].
    overlap
        Of segments that go on: share of its sampled users who were in it before, in [0, 1].
    transitions
        What this version made of the segments of the one before.
    retired
        The latest segments retired, the last one retired last.
    """

    parents: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    survival: Mapping[int, float] = field(default_factory=dict)
    overlap: Mapping[int, float] = field(default_factory=dict)
    transitions: tuple[SegmentTransition, ...] = ()
    retired: tuple[RetiredSegment, ...] = ()

    @classmethod
    def from_record(cls, record: SegmentModelRecord) -> Self:
        """Take the history from a snapshot."""
        segments = record.segments
        return cls(
            parents={s.id: tuple(s.parents) for s in segments if s.parents},
            survival={s.id: s.survival for s in segments if s.survival is not None},
            overlap={s.id: s.overlap for s in segments if s.overlap is not None},
            transitions=tuple(record.transitions),
            retired=tuple(record.retired),
        )
