"""The section `batch`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from schemas.base import Section
from schemas.errors import quoted

BATCH_BYTES = 4_000_000
"""Bytes in a batch where nobody says otherwise."""

USUAL_RECORDS = 512
"""Records that are enough for a batch where no other is under way."""


class BatchSettings(Section):
    """How much goes into one transaction."""

    max_records: int = Field(
        2048,
        ge=1,
        le=100_000,
        description="Records in a batch at most. 512 are enough where none is being prepared; more "
        "come together while one is, as many as are prepared in a fifth of a second.",
    )
    max_bytes: int = Field(
        BATCH_BYTES,
        ge=1000,
        le=1_000_000_000,
        description="Bytes of records (keys, values, headers) in a batch at most; a larger record "
        "is a batch by itself. A process holds four batches, one more for each process that "
        "prepares, and as much again in its client's queue.",
    )
    max_wait_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="Seconds that a batch waits to fill at most. One that is not full begins after "
        "four times what a transaction takes, a fifth of this at least, from the beginning of the "
        "one before.",
    )
    prepare_timeout_seconds: float = Field(
        300,
        gt=0,
        le=86400,
        description="Seconds after which a batch that is still not embedded ends the process: a "
        "device that hangs cannot be interrupted.",
    )
    prepare_processes: int | Literal["auto"] = Field(
        "auto",
        description="Processes that validate, clean and tokenise batches; 0: in threads. auto is 0 "
        "where the model runs on the CPU, else 2 less than the cores, at least 1 and at most 6.",
    )
    reassign_users: int = Field(
        2000, ge=1, le=100_000, description="Users looked at in one transaction on a new model."
    )

    @property
    def usual_records(self) -> int:
        """Records that are enough for a batch, and the most of one that nobody waits for."""
        return min(USUAL_RECORDS, self.max_records)

    @field_validator("prepare_processes", mode="before")
    @classmethod
    def _count_or_auto(cls, value: object) -> int | str:
        # One sentence instead of one for each type that the field may have.
        if isinstance(value, str) and re.fullmatch("[0-9]+", value.strip()):
            value = int(value)
        if value == "auto" or (type(value) is int and 0 <= value <= 64):
            return value
        raise ValueError(f"is {quoted(value)}: give a number of processes from 0 to 64, or auto")
