"""Reading what other processes have written, perhaps of a newer version."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from consumer.contract.stage import StageError
from schemas.base import claimed_schema, first_problem

Model = TypeVar("Model")


class NewerModelError(StageError):
    """A record in a format that this version does not know yet."""


def read_snapshot(
    value: bytes, place: str, parse: Callable[[bytes], Model], *, what: str, schema: int
) -> Model:
    """Read a snapshot, or another record that has a schema version.

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
        raise StageError(f"{place} is no {what}: {first_problem(error)}") from None
    except ValueError as error:
        raise StageError(f"{place} is no {what}: {error}") from None
