"""Numbers out of bounds, refused in one sentence: by clusterers and policies alike."""

from __future__ import annotations

import math


def at_least(error: type[ValueError], least: int = 1, **counts: int | None) -> None:
    """Refuse counts, by name, that are below the least; None is one that was not given.

    Raises
    ------
    ValueError
        The error given; names the count and its value.
    """
    for name, count in counts.items():
        if count is not None and count < least:
            raise error(f"{name} is {count}: give a count, {least} or more")


def shares(error: type[ValueError], **values: float) -> None:
    """Refuse what is no share in (0, 1]; as `at_least`."""
    for name, value in values.items():
        if not 0 < value <= 1:
            raise error(f"{name} is {value}: give a share in (0, 1]")


def above_zero(error: type[ValueError], **values: float | None) -> None:
    """Refuse what is not a number above 0; as `at_least`."""
    for name, value in values.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise error(f"{name} is {value}: give a number above 0")
