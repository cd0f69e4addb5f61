"""The section `report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Section


class ReportSettings(Section):
    """What `segmenter report` shows of single users."""

    texts: bool = Field(
        False, description="Whether typical texts are quoted, as their users wrote them."
    )
    ids: Literal["hidden", "hashed", "shown"] = Field(
        "hashed",
        description="Ids of users: left out, as hashes with a key that is made for each report and "
        "kept nowhere, or as they are.",
    )
    users: int = Field(
        5_000, ge=1, le=5_000, description="Users on the map at most, drawn at random of all."
    )
