"""How profiles fade and what they remember: the section `profile` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from schemas.base import Section


class ProfilePolicy(Section):
    """How users' profiles fade."""

    # Reviews are rare: with 30 days most profiles are one text, which is mostly noise. On the Stack
    # Exchange stream offline k-means reaches a V-measure of 0.93 at 30 days and 1.00 at 180.
    half_life_days: float = Field(
        180, gt=0, le=36_500, description="Days after which an event counts half."
    )
    event_memory: int = Field(
        64, ge=1, le=65_536, description="Latest event ids remembered for each user."
    )
    references: int = Field(
        8,
        ge=0,
        le=64,
        description="Of how many events of each user, those that weigh most, it is kept where the "
        "input has them, so that 'segmenter explain' can tell what each did; 0 keeps none.",
    )
    inactive_half_lives: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="Half-lives without an event, by event time, after which all that is known of "
        "a user is let go; none keeps everybody.",
    )
    terms: int = Field(16, ge=0, le=256, description="Typical words kept for each user.")
    words: Literal["sampled", "all"] = Field(
        "sampled",
        description="Whose words are kept: of the users from whom segments are learned and named "
        "(training.sample_users), or of all.",
    )

    precision: Literal["float32", "float16"] = Field(
        "float32",
        description="How sums of embeddings are kept: float16 takes half of the memory.",
    )
    float16_max_weight: float = Field(
        128,
        gt=0,
        le=1024,
        description=(
            "Up to this weight of a profile precision float16 holds; heavier ones stay float32, "
            "since float16 would swallow new events."
        ),
    )

    @property
    def float16_limit(self) -> float | None:
        """Weight up to which sums are float16, None where none are."""
        return self.float16_max_weight if self.precision == "float16" else None

    @property
    def inactive_after(self) -> timedelta | None:
        """Silent for so long, a user is let go; None for never."""
        if self.inactive_half_lives is None:
            return None
        return timedelta(days=self.half_life_days * self.inactive_half_lives)

    @property
    def half_life(self) -> timedelta:
        """After this time an event counts half."""
        return timedelta(days=self.half_life_days)
