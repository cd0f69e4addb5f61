"""Ids that arrive as numbers."""

from __future__ import annotations

EXACT_FLOATS = 2**53
"""From it on a float may stand for several whole numbers."""


def number_as_id(value: float) -> str:
    """Give the id that a number stands for: 104 and 104.0 are both "104".

    Raises
    ------
    ValueError
        If a float is not whole, or of 2**53 or more; the message says so and goes behind a field.
    """
    if isinstance(value, int):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124
        raise ValueError(f"is {nan_name(value)}, no id")
    if not value.is_integer():
        raise ValueError(f"{value!r} is no whole number; ids are strings or whole numbers")
    if abs(value) >= EXACT_FLOATS:
        raise ValueError(
            f"{value!r} is a float of 2^53 or more, which may stand for several ids; "
            "have it written as a string"
        )
    return str(int(value))


def nan_name(value: object) -> str | None:
    """Name a float that is no finite number as JSON's writers spell it; None for all else."""
    if not isinstance(value, float):
        return None
    if value != value:  # noqa: PLR0124
        return "NaN"
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value)
