"""From bytes to what the checks take."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field, ValidationError

from consumer.verify.facts import Footprint
from schemas.base import Identifier
from schemas.changes import SegmentChange
from schemas.errors import first_problem
from schemas.lifecycle import LifecycleEvent
from schemas.profiles import ProfileRecord

# As headers and as an attribute.
_SCHEMA = {"ce_dataschema", "dataschema"}


class MalformedError(ValueError):
    """A value that cannot be read as its contract; the sentence quotes nothing of it."""


def read_change(value: bytes) -> SegmentChange:
    """Read a segment change.

    Raises
    ------
    MalformedError
        If it is none.
    """
    try:
        return SegmentChange.model_validate_json(value)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None


def read_profile(value: bytes) -> ProfileRecord:
    """Read a profile.

    Raises
    ------
    MalformedError
        If it is none.
    """
    try:
        return ProfileRecord.model_validate_json(value)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None


def read_lifecycle_event(value: bytes) -> LifecycleEvent:
    """Read a lifecycle event.

    Raises
    ------
    MalformedError
        If it is none.
    """
    try:
        return LifecycleEvent.model_validate_json(value)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None


def envelope_faults(expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    """Name the CloudEvents attributes that differ from what the change in the event gives.

    What is found may hold more attributes, of a later version. Records of an earlier one name no
    schema.
    """
    return [
        name
        for name, value in expected.items()
        if found.get(name) != value and (name not in _SCHEMA or name in found)
    ]


class _Place(BaseModel):
    id: int = Field(ge=0)
    label: str


class _MembershipHead(BaseModel):
    user_id: Identifier
    sequence: int = Field(ge=1)
    segment: _Place | None


class _ProfileHead(BaseModel):
    user_id: Identifier
    sequence: int = Field(ge=0)
    segment: int | None = Field(ge=0)
    segment_label: str | None


def membership_head(value: bytes) -> tuple[str, Footprint]:
    """Read of a membership what a running audit keeps.

    Its other fields are those of the change when the bytes are, and the change is read in full.

    Raises
    ------
    MalformedError
        If these fields are not there.
    """
    try:
        head = _MembershipHead.model_validate_json(value)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None
    place = head.segment
    segment, label = (place.id, place.label) if place else (None, None)
    return head.user_id, Footprint.of(head.sequence, segment, label, value)


def profile_head(value: bytes) -> tuple[str, Footprint]:
    """Read of a profile what a running audit keeps.

    The vector, which is most of the record, is passed over; `read_profile` costs nine times as
    much.

    Raises
    ------
    MalformedError
        If these fields are not there.
    """
    try:
        head = _ProfileHead.model_validate_json(value)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None
    return head.user_id, Footprint.of(head.sequence, head.segment, head.segment_label)
