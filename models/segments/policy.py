"""When users change segment: the section `assignment` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from schemas.base import Section

# By what distances were replaced, of which each embedding model has its own: docs/upgrading.md.
_SHARES = {
    "margin": "margin_share, a share of the distance to the present segment",
    "max_distance": "max_distance_share, a share of the distance to the middle of all segments",
}


class AssignmentPolicy(Section):
    """When a user enters, changes and leaves a segment.

    Distances are compared with each other, never with a number: in one embedding model any two
    texts have a cosine of .8, in another of .05.
    """

    # docs/stability.md has the curve that these are picked from, and why.
    margin_share: float = Field(
        0.06,
        ge=0,
        lt=1,
        description="A user moves only when the new segment is nearer by this share of the "
        "distance to the present one.",
    )
    thin_margin_share: float = Field(
        0.36,
        ge=0,
        lt=1,
        description="The same where a profile rests on one text; on texts of weight w it is this "
        "divided by w. The larger of both margins counts.",
    )
    min_events: int = Field(1, ge=1, description="Events before a user enters a first segment.")
    dwell_events: int = Field(
        8,
        ge=0,
        description="Events after a change before behaviour moves a user again; at most twice as "
        "many as the user had at the change.",
    )
    max_distance_share: float | None = Field(
        None,
        gt=0,
        le=2,
        description="Farther from every centre than this share of the distance to the middle of "
        "all centres: in no segment.",
    )
    min_confidence: float = Field(
        0,
        ge=0,
        lt=1,
        description="Confidence without which a user neither enters a segment nor moves to "
        "another; 0 for none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_distances(cls, given: object) -> object:
        if isinstance(given, Mapping):
            for name, instead in _SHARES.items():
                if name in given:
                    raise ValueError(f"{name} was a distance and is gone: give {instead}")
        return given
