"""Single values out of a source object, as a mapping picks them, and what cannot be picked."""

from __future__ import annotations

from typing import Any

from schemas.ids import nan_name, number_as_id

OPTIONAL = "?"
"""Ends a path that may lead nowhere."""


class MappingError(ValueError):
    """A source object that cannot be read as the mapping says.

    Attributes
    ----------
    field
        The field of the user event, or the path in the source, that it is about.
    missing
        Whether something is not there, rather than not as it should be.
    """

    def __init__(self, field: str, detail: str, *, missing: bool = False) -> None:
        super().__init__(detail)
        self.field = field
        self.missing = missing


def value_at(source: Any, path: str) -> Any:
    """Follow a dotted path; None where it leads nowhere. A key with dots in it is tried first."""
    if isinstance(source, dict):
        if path in source:
            return source[path]
        head, dot, rest = path.partition(".")
        if dot and rest and head in source:
            return value_at(source[head], rest)
    return None


def is_one_step(paths: list[str]) -> bool:
    """Tell whether there is but one path, and that is a name."""
    return len(paths) == 1 and "." not in paths[0] and not paths[0].endswith(OPTIONAL)


def is_short(number: int) -> bool:
    """Tell whether Python turns a number into text without ado."""
    return -(2**63) <= number < 2**63


def id_of(name: str, value: float) -> str:
    """Give the id that a number stands for.

    Raises
    ------
    MappingError
        If it stands for none, or for several.
    """
    try:
        return number_as_id(value)
    except ValueError as error:
        raise MappingError(name, f"{name}: {error}") from None


def item(name: str, value: Any) -> Any:
    """Give a value as it is, the number of an item as text; one that is no id is left out later."""
    if name == "item_id" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return number_as_id(value)
        except ValueError:
            return value
    return value


def part_of_id(name: str, path: str, value: Any) -> str:
    """Give what a value adds to an id joined of several.

    Raises
    ------
    MappingError
        If it is neither text nor a whole number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return id_of(name, value)
    if not isinstance(value, str):
        raise MappingError(name, f"{name}: {path!r} must be a string or a whole number")
    return value


def part_of_text(name: str, path: str, value: Any) -> str:
    """Give what a value adds to a text joined of several.

    Raises
    ------
    MappingError
        If it is neither text nor a number; the message does not quote it.
    """
    if (no_number := nan_name(value)) is not None:
        raise MappingError(name, f"{name}: {path!r} is {no_number}, no text")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise MappingError(name, f"{name}: {path!r} must be a string")
    return str(value)


def hashed(path: str, value: Any) -> str:
    """Give the text that a value has in the hash: the same for 104 and 104.0.

    Raises
    ------
    MappingError
        If it is a float that may stand for several numbers.
    """
    if not isinstance(value, float) or (not value.is_integer() and nan_name(value) is None):
        return str(value)
    try:
        return number_as_id(value)
    except ValueError as error:
        raise MappingError(path, f"event_id cannot be made: {path!r}: {error}") from None


def without_value(path: str, where: str) -> MappingError:
    """Say that a path of an id leads nowhere."""
    return MappingError(
        path,
        f"{where.removeprefix('fields.').removesuffix('_from')} cannot be made: the path {path!r} "
        f"of {where} has no value; mend its spelling, or write {path + OPTIONAL!r} where it may "
        "be absent",
        missing=True,
    )
