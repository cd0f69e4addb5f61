"""The section `recommendations`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from models.recommendation.policy import RecommendationPolicy


class RecommendationSettings(RecommendationPolicy):
    """Items for segments: what workers write of events that name an item, and what comes of it."""

    # Off, since it asks for topics, and rights on them, that a group without items has no use for.
    enabled: bool = Field(
        False, description="Write what events say of items, and read it in 'segmenter recommender'."
    )
    max_items: int = Field(
        100_000,
        ge=1,
        le=100_000_000,
        description="Items that are kept of each partition; of more the least popular leave.",
    )
    interval_hours: float = Field(
        1,
        ge=0.02,
        le=1e6,
        description="Hours of event time, or by the clock, after which a segment's items are "
        "published anew; and when the stream pauses, or an item is withdrawn.",
    )
    min_interval_seconds: float = Field(
        10,
        ge=0,
        le=86_400,
        description="Seconds that pass at least until a partition gives its part in that again.",
    )
    users: bool = Field(
        False,
        description="Publish items for single users too: the workers do, where enabled is true.",
    )
    user_top: int = Field(20, ge=1, le=200, description="Items published for each user.")
    user_items: int = Field(
        64,
        ge=0,
        le=4096,
        description="Latest items kept of each user, which are not recommended to the user again.",
    )

    @model_validator(mode="after")
    def _users_need_items(self) -> Self:
        if self.users and not self.enabled:
            raise ValueError(
                "users is true and enabled is false: what is published for users rests on the "
                "items of segments; set enabled too"
            )
        return self

    @property
    def items_kept(self) -> int | None:
        """How many items are kept of each user; None where users get no recommendations."""
        return self.user_items if self.users else None
