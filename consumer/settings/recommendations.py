"""The section `recommendations`."""

from __future__ import annotations

from pydantic import Field

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
