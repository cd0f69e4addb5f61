"""How drift is looked for: the section `drift` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from schemas.base import Section


class DriftPolicy(Section):
    """How the trainer tells that users write of other things than before."""

    enabled: bool = Field(
        True, description="Whether workers send sampled users' latest texts, and the trainer looks."
    )
    # With 500 users a shift of a tenth of what users write was missed by most looks; 2,000 of a
    # sample of 3,000 take long to come.
    users: int = Field(
        1000, ge=20, le=10_000, description="Users in the reference, and of today, to be compared."
    )
    min_users: int = Field(
        100,
        ge=20,
        le=10_000,
        description="With so many users it is done too, where so few of the sampled users write.",
    )
    segment_users: int = Field(
        50, ge=10, description="Users that a segment needs on either side to be compared by itself."
    )
    every: int = Field(250, ge=1, description="Samples between two looks.")
    significance: float = Field(
        0.0002,
        gt=0,
        lt=0.5,
        description="Chance of a false alarm, of any test, while today's users change once.",
    )
    retrain: bool = Field(
        False,
        description="Whether an alarm makes the trainer look for better segments at once, and "
        "collect a new reference.",
    )
    reference_days: float | None = Field(
        None,
        gt=0,
        description="Days, by event time, after which today's users become the reference; none "
        "keeps it.",
    )
    reference_epoch: int = Field(
        0, ge=0, description="Another number than before has a new reference collected."
    )

    @model_validator(mode="after")
    def _enough_users(self) -> Self:
        if self.min_users > self.users:
            raise ValueError(
                f"min_users is {self.min_users}, more than the {self.users} users to compare"
            )
        return self
