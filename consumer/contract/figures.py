"""What a room tells of itself, to whoever shows it: figures by name, without a metrics library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Value = float | None | Mapping[Any, float]
"""One number; None where there is none yet; or numbers by a label's value, a tuple of several."""

Figures = Iterable[tuple[str, Value]]
"""By name; `consumer.telemetry.table` says what each name means."""
