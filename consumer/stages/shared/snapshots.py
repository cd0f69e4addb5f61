"""Reading what other processes have written, perhaps of a newer version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from consumer.contract.stage import StageError
from models.labels.model import LabelModel
from models.segments.model import SegmentModel
from schemas.base import claimed_schema
from schemas.errors import first_problem
from schemas.label_model import LABEL_MODEL_SCHEMA, LabelModelRecord
from schemas.segment_model import SEGMENT_MODEL_SCHEMA, SegmentModelRecord

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


def read_model(value: bytes, place: str) -> SegmentModel:
    """Read a snapshot of the segment model, a `SegmentModelRecord`; raises as `read_snapshot`."""
    return read_snapshot(
        value,
        place,
        lambda given: SegmentModel.from_record(SegmentModelRecord.model_validate_json(given)),
        what="segment model",
        schema=SEGMENT_MODEL_SCHEMA,
    )


def read_label_model(value: bytes, place: str) -> LabelModel:
    """Read a snapshot of the label model, a `LabelModelRecord`; raises as `read_snapshot`."""
    return read_snapshot(
        value,
        place,
        lambda given: LabelModel.from_record(LabelModelRecord.model_validate_json(given)),
        what="label model",
        schema=LABEL_MODEL_SCHEMA,
    )


def load_model(path: Path) -> SegmentModel:
    """Read a segment model from a file such as a replay's model.json.

    Raises
    ------
    StageError
        If the file holds none.
    OSError
        If it cannot be read.
    """
    return read_model(path.read_bytes(), str(path))


def load_label_model(path: Path) -> LabelModel:
    """Read a label model from a file such as a replay's label-model.json; raises likewise."""
    return read_label_model(path.read_bytes(), str(path))
