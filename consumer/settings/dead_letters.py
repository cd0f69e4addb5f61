"""The section `dead_letters`."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Section


class DeadLetterSettings(Section):
    """What becomes of records that cannot be used."""

    max_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The worker stops when more than this share of the latest records is refused; "
        "1 never stops it.",
    )
    window: int = Field(1000, ge=1, description="How many of the latest records that looks at.")
    min_records: int = Field(200, ge=1, description="Records before the share is looked at.")
    max_unexpected: int = Field(
        20,
        ge=0,
        description="The worker stops when more than so many of the latest records made the "
        "program itself fail: the machine or the program is to blame, not the records.",
    )
    values: bool = Field(
        False,
        description="Whether dead letters hold the refused record's value and headers, so what "
        "users wrote. Without, both stay in the input alone, where a redrive fetches them.",
    )
    max_value_bytes: int = Field(
        8_388_608,
        ge=1024,
        description="Longest value kept where values are; of a longer one only the beginning.",
    )

    @property
    def most_bytes(self) -> int | None:
        """Bytes kept of a value; None where values are not kept."""
        return self.max_value_bytes if self.values else None
