"""The section `http`."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Section


class HttpSettings(Section):
    """The port of /metrics, /healthz and /readyz."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - pods need it
    port: int | None = Field(
        None, ge=0, le=65535, description="Port; 0 picks a free one, none serves nothing."
    )
    live_seconds: float = Field(
        60, gt=0, description="Seconds without a turn of the loop after which /healthz fails."
    )
