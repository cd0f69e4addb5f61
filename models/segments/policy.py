"""When users change segment: the section `assignment` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from schemas.base import Section


class AssignmentPolicy(Section):
    """When a user enters, changes and leaves a segment."""

    # docs/stability.md has the curve that these are picked from, and why.
    margin: float = Field(
        0.05,
        ge=0,
        le=2,
        description="A user moves only when the new segment is nearer by this Euclidean distance "
        "between the unit profile vector and the centres.",
    )
    min_events: int = Field(1, ge=1, description="Events before a user enters a first segment.")
    dwell_events: int = Field(
        6, ge=0, description="Events after a change before behaviour moves a user again."
    )
    max_distance: float | None = Field(
        None, gt=0, le=2, description="Farther than this from every centre: in no segment."
    )
    min_confidence: float = Field(
        0,
        ge=0,
        lt=1,
        description="Confidence without which a user neither enters a segment nor moves to "
        "another; 0 for none.",
    )

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        if self.max_distance is not None and not self.max_distance > self.margin:
            raise ValueError(
                f"max_distance is {self.max_distance} and margin {self.margin}: give a "
                "max_distance above the margin, or nobody could enter a segment"
            )
        return self
