"""How items are counted and mixed: the section `recommendation` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from schemas.base import Section
from schemas.events import EventType

_NARROWEST = 1e-6
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e6


class RecommendationPolicy(Section):
    """How items' popularity fades, is smoothed, and is mixed with what is known of a user."""

    half_life_days: float = Field(
        30, ge=0.001, le=36_500, description="Days after which an event counts half for its item."
    )
    type_weights: dict[EventType, float] = Field(
        {EventType.VIEW: 0.1, EventType.CLICK: 0.2, EventType.QUESTION: 0.5},
        description="What events of a type count; 1 for types that are not named, 0 for nothing.",
    )
    rating_low: float = Field(
        1,
        ge=-1e12,
        le=1e12,
        description="The worst rating there is, and what worse ones are taken for: an event counts "
        "nothing.",
    )
    rating_high: float = Field(
        5,
        ge=-1e12,
        le=1e12,
        description="The best one, and what better ones are taken for: an event counts twice; one "
        "in the middle counts once.",
    )
    # Of six that were tried that which loses least of the best on any of three streams:
    # docs/evaluation.md.
    prior_weight: float = Field(
        200,
        ge=0,
        le=1e9,
        description="Of how many events the popularity among all users counts in a segment's.",
    )
    top: int = Field(50, ge=1, le=1000, description="Items published for each segment.")
    candidates: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Items that each partition gives for each segment; at least 'top'. No more "
        "than fit into a record of 16 MiB are given.",
    )
    evidence_events: float = Field(
        5,
        gt=0,
        le=1e6,
        description="Events k after which a user's own evidence counts half: n / (n + k).",
    )
    own_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="What a user's own evidence counts at most, beside popularity in the segment.",
    )
    similarity_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the similarity of text in what is known of a user; the rest is the "
        "factors', which 'segmenter evaluate --recommend' alone has.",
    )
    silent_half_lives: float = Field(
        20, ge=1, le=1000, description="Half-lives without an event after which an item leaves."
    )

    @model_validator(mode="after")
    def _fits(self) -> RecommendationPolicy:
        if not self.rating_low < self.rating_high:
            raise ValueError(
                f"rating_low {self.rating_low} is not below rating_high {self.rating_high}"
            )
        if self.candidates < self.top:
            raise ValueError(f"candidates {self.candidates} are fewer than top {self.top}")
        # More, or next to nothing, and sums would leave what float32 holds.
        if self.rating_high - self.rating_low < _NARROWEST:
            raise ValueError(
                f"rating_high {self.rating_high} is less than {_NARROWEST} above rating_low "
                f"{self.rating_low}"
            )
        for each, weight in self.type_weights.items():
            if not (weight == 0 or _LEAST_WEIGHT <= weight <= _MOST_WEIGHT):
                raise ValueError(
                    f"type_weights must be 0, or from {_LEAST_WEIGHT} to {_MOST_WEIGHT:,.0f}: "
                    f"{each.value} has {weight}"
                )
        return self

    @property
    def half_life(self) -> timedelta:
        """After this time an event counts half."""
        return timedelta(days=self.half_life_days)

    @property
    def faintest(self) -> float:
        """What the least event weighs when its item falls silent: less is as good as nothing."""
        least = min([1.0, *(each for each in self.type_weights.values() if each > 0)])
        return float(least * 2.0**-self.silent_half_lives)

    @property
    def silent_after(self) -> timedelta:
        """Silent for so long, an item leaves."""
        return timedelta(days=self.half_life_days * self.silent_half_lives)
