"""The segments there are, one record each: the compacted topic `segments`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from schemas.base import Contract


class SegmentState(Contract):
    """A segment as the latest version of the segment model has it; a tombstone once it is retired.

    Published: it may get further fields.
    """

    model_config = ConfigDict(extra="allow")

    id: int = Field(ge=0, description="Stable; never used again for another segment.")
    name: str = Field(description="Its name of today, as changes quote it from now on.")
    words: list[str] = Field(description="Typical words, the most typical first.")
    users: int = Field(ge=0, description="Members among the sampled users.")
    since: int = Field(ge=1, description="Version in which the segment was born.")
    version: int = Field(ge=1, description="Version of the segment model that says so.")
    provisional: bool = Field(
        default=False, description="Whether that version was learned from few users so far."
    )
