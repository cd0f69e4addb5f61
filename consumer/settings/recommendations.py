"""The section `recommendations`."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Section


class RecommendationSettings(Section):
    """Items for segments: what workers write of events that name an item, and what comes of it."""

    # Off, since it asks for topics, and rights on them, that a group without items has no use for.
    enabled: bool = Field(
        False, description="Write what events say of items, and read it in 'segmenter recommender'."
    )
