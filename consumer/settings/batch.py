"""The section `batch`."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Section


class BatchSettings(Section):
    """How much goes into one transaction."""

    max_records: int = Field(512, ge=1, le=100_000, description="Records in a batch at most.")
    max_bytes: int = Field(
        4_000_000,
        ge=1000,
        le=1024_000_000,
        description="Bytes of records (keys, values, headers) in a batch at most; a larger record "
        "is a batch by itself. A process holds four batches, and as much again in its client's "
        "queue.",
    )
    max_wait_seconds: float = Field(
        0.5, gt=0, le=60, description="Seconds that a batch waits to fill."
    )
    prepare_timeout_seconds: float = Field(
        300,
        gt=0,
        le=86400,
        description="Seconds after which a batch that is still not embedded ends the process: a "
        "device that hangs cannot be interrupted.",
    )
    reassign_users: int = Field(
        2000, ge=1, le=100_000, description="Users looked at in one transaction on a new model."
    )
