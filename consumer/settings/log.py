"""The section `log`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Section


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level.")
    format: Literal["text", "json"] = Field("text", description="Lines for people or machines.")
    progress_seconds: float | None = Field(
        30, gt=0, description="From one line on records, lag and the time to go to the next."
    )
