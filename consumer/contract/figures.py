"""What a room tells of itself, to whoever shows it: figures by name, without a metrics library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Value = float | None | Mapping[Any, float]
"""One number; None where there is none yet; or numbers by a label's value, a tuple of several."""

Figures = Iterable[tuple[str, Value]]
"""By name; `consumer.telemetry.table` says what each name means."""


def together(*rooms: Figures) -> Figures:
    """Give the figures of several rooms that tell of the same things as one room's, added up.

    Of a version the newest counts, of a time the latest, and what is not settled in one is not.
    """
    found: dict[str, Value] = {}
    for room in rooms:
        for name, value in room:
            found[name] = value if name not in found else _added(name, found[name], value)
    yield from found.items()


_LATEST = ("_version", "_timestamp_seconds")


def _added(name: str, one: Value, other: Value) -> Value:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
    if isinstance(one, Mapping) or isinstance(other, Mapping):
        raise TypeError(f"{name} is one number here, and several there")
    numbers = [each for each in (one, other) if each is not None]
    if not numbers:
        return None
    if name.endswith(_LATEST):
        return max(numbers)
    return min(numbers) if isinstance(one, bool) else sum(numbers)
