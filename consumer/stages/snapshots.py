"""Reading what the trainer has published."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from consumer.stage import StageError
from schemas.base import claimed_schema

Model = TypeVar("Model")


class NewerModelError(StageError):
    """A snapshot in a format that this version does not know yet."""


def read_snapshot(
    value: bytes, place: str, parse: Callable[[bytes], Model], *, what: str, schema: int
) -> Model:
    """Read a snapshot.

    Parameters
    ----------
    value
        Its JSON.
    place
        Where it came from, for the error.
    parse
        Makes the model of it.
    what
        What it should be, for the error.
    schema
        The newest format that is known.

    Raises
    ------
    StageError
        If it is none; NewerModelError if a newer version has written it.
    """
    try:
        return parse(value)
    except ValidationError as error:
        if (claimed := claimed_schema(value)) > schema:
            raise NewerModelError(
                f"{place} was written by a newer version (schema {claimed}; this one knows "
                f"{schema}): upgrade this process"
            ) from None
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StageError(f"{place} is no {what}: {where}: {first['msg']}") from None
    except ValueError as error:
        raise StageError(f"{place} is no {what}: {error}") from None
