"""From records and lines to what the engine takes; what cannot be read is said in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from consumer.contract.records import Headers, Record
from consumer.verify.ledger import MembershipFacts, ProfileFacts, Standing
from consumer.verify.report import ViolationKind, Violations
from schemas.base import Contract, Identifier
from schemas.binary import NewerRecordError, RecordError, is_binary
from schemas.changes import SegmentChange, cloudevents_headers
from schemas.dead_letters import HEADER_PREFIX, DeadLetter
from schemas.errors import first_problem
from schemas.profiles import ProfileRecord
from schemas.states import read_state

T = TypeVar("T")
C = TypeVar("C", bound=Contract)
M = TypeVar("M", bound=BaseModel)

# As headers and as an attribute.
_SCHEMA = {"ce_dataschema", "dataschema"}


class MalformedError(ValueError):
    """A value that cannot be read as its contract; the sentence quotes nothing of it."""


def attempt(read: Callable[[], T], place: str, subject: str, violations: Violations) -> T | None:
    """Give what is read, None where that cannot be, which is reported with its place."""
    try:
        return read()
    except MalformedError as error:
        violations.add(ViolationKind.MALFORMED, subject, f"{place} cannot be read: {error}")
        return None


def read(contract: type[M], value: bytes | None) -> M:
    """Read a value as its contract.

    Raises
    ------
    MalformedError
        If there is none, or it is something else.
    """
    if value is None:
        raise MalformedError("it has no value")
    try:
        return contract.model_validate_json(value)
    except ValidationError as error:
        raise MalformedError(first_problem(error)) from None


# --- CloudEvents --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told(Generic[C]):
    """A change or a lifecycle event as it was found.

    Attributes
    ----------
    event
        What it says.
    recorded_id
        The CloudEvents id that it came under.
    place
        Where it was found.
    due_id
        The id that follows from its cause, where it was needed already.
    faults
        Attributes that are not those of the event, but for the id: that has a rule of its own,
        which tells more.
    """

    event: C
    recorded_id: str
    place: str = ""
    due_id: str | None = None
    faults: tuple[str, ...] = ()


def event_in(
    record: Record, contract: type[C], headers_of: Callable[[C, str], Iterable[tuple[str, bytes]]]
) -> Told[C]:
    """Read a CloudEvent in binary mode, whose attributes are headers; raises as `read`."""
    event, headers = read(contract, record.value), texts_of(record.headers)
    if not (recorded_id := headers.get("ce_id", "")):
        raise MalformedError("it has no header ce_id")
    # Any source will do that is one.
    expected = {
        name: value.decode()
        for name, value in headers_of(event, headers.get("ce_source") or "a source")
    }
    faults = _faults(expected, headers)
    return Told(event, recorded_id, record.place, expected["ce_id"], faults)


def change_in(record: Record, violations: Violations) -> Told[SegmentChange] | None:
    """Read a record of `segment-changes`, None where it cannot be read, which is reported."""
    place = record.place
    told = attempt(
        lambda: event_in(record, SegmentChange, cloudevents_headers),
        place,
        record.topic,
        violations,
    )
    if told is not None and record.key != (user := told.event.user_id).encode():
        violations.add(ViolationKind.WRONG_KEY, user, f"{place} has another key than its user")
    return told


def event_on(
    line: bytes, place: str, contract: type[C], structured: Callable[[C, str], dict[str, Any]]
) -> Told[C]:
    """Read a line with a CloudEvent in structured mode; raises as `read`."""
    found = _object(line)
    recorded_id, source = found.get("id"), found.get("source")
    if not isinstance(recorded_id, str) or not isinstance(source, str) or not source:
        raise MalformedError("it is no CloudEvent: id and source must be strings")
    try:
        event = contract.model_validate(found.get("data"))
    except ValidationError as error:
        raise MalformedError(f"data: {first_problem(error)}") from None
    expected = structured(event, source)
    return Told(event, recorded_id, place, expected["id"], _faults(expected, found))


def _faults(expected: Mapping[str, object], found: Mapping[str, object]) -> tuple[str, ...]:
    """Name the attributes that differ from what the event gives.

    What is found may hold more attributes, of a later version. Records of an earlier one name no
    schema.
    """
    return tuple(
        name
        for name, value in expected.items()
        if name not in {"id", "ce_id"}
        and found.get(name) != value
        and (name not in _SCHEMA or name in found)
    )


# --- memberships and profiles -------------------------------------------------------------------


def membership(value: bytes, _key: bytes | None = None) -> tuple[str, MembershipFacts]:
    """Read all of a membership: the user, and what is compared with the change; raises as `read`.

    That is canonical JSON, wherever either comes from.
    """
    change = read(SegmentChange, value)
    return change.user_id, MembershipFacts.of(change, canonical(change))


def canonical(change: SegmentChange) -> bytes:
    """Give a change as JSON that is the same for equal changes."""
    return change.model_dump_json().encode()


def profile(value: bytes, key: bytes | None = None) -> tuple[str, ProfileFacts]:
    """Read all of a profile, of a record in either form or of a line; raises as `read`."""
    if is_binary(value):
        return _state(key or b"", value)
    record = read(ProfileRecord, value)
    return record.user_id, ProfileFacts.of(record)


def _state(key: bytes, value: bytes) -> tuple[str, ProfileFacts]:
    try:
        state = read_state(key, value)
    except NewerRecordError as error:
        raise MalformedError(f"it was written by a newer version ({error})") from None
    except RecordError as error:
        raise MalformedError(str(error)) from None
    return state.user, ProfileFacts.of_state(state)


class _Place(BaseModel):
    id: int = Field(ge=0)
    label: str


class _MembershipHead(BaseModel):
    user_id: Identifier
    sequence: int = Field(ge=1)
    segment: _Place | None


class _Labels(BaseModel):
    predicted: str | None = None


class _ProfileHead(BaseModel):
    user_id: Identifier
    sequence: int = Field(ge=0)
    segment: int | None = Field(ge=0)
    segment_label: str | None
    labels: _Labels | None = None


def membership_head(value: bytes, _key: bytes | None = None) -> tuple[str, MembershipFacts]:
    """Read of a membership what a running audit keeps; raises as `read`.

    Its other fields are those of the change when the bytes are, and the change is read in full.
    """
    head = read(_MembershipHead, value)
    number, label = (head.segment.id, head.segment.label) if head.segment else (None, None)
    standing = Standing.of(head.sequence, number, label, value)
    return head.user_id, MembershipFacts(standing, value)


def profile_head(value: bytes, key: bytes | None = None) -> tuple[str, ProfileFacts]:
    """Read of a profile what a running audit keeps; raises as `read`.

    Of JSON the vector, which is most of it, is passed over; `profile` costs nine times as much.
    """
    if is_binary(value):
        user, found = _state(key or b"", value)
        return user, found._replace(events=0, repeats=0, embedding=None)
    head = read(_ProfileHead, value)
    label = head.labels.predicted if head.labels else None
    facts = ProfileFacts.showing(head.sequence, head.segment, head.segment_label, label)
    return head.user_id, facts


V = TypeVar("V", MembershipFacts, ProfileFacts)

ReadState = Callable[[bytes, bytes | None], tuple[str, V]]
"""From a value and its key: the user, and what is kept of the value; raises MalformedError."""


@dataclass(frozen=True, slots=True)
class State(Generic[V]):
    """A record of a topic whose key is the user.

    Attributes
    ----------
    user
        The key.
    facts
        What was read, None for a tombstone.
    fault
        Why it cannot be read, where it cannot.
    """

    user: str
    facts: V | None = None
    fault: str | None = None


def state_in(
    record: Record,
    read_value: ReadState[V],
    unreadable: V,
    violations: Violations,
) -> State[V] | None:
    """Read a record of a compacted topic, None where its key is no user, which is reported.

    Parameters
    ----------
    record
        The record.
    read_value
        Reads a value that is there.
    unreadable
        What stands for a value that cannot be read.
    violations
        Where the finding goes.
    """
    place = record.place
    try:
        user = (record.key or b"\xff").decode()
    except UnicodeDecodeError:
        sentence = f"{place} has no key of UTF-8 text"
        violations.add(ViolationKind.WRONG_KEY, record.topic, sentence)
        return None
    if record.value is None:
        return State(user)
    try:
        found, facts = read_value(record.value, record.key)
        if found != user:
            raise MalformedError("its key is another user than the one in it")
    except MalformedError as error:
        return State(user, unreadable, f"{place} cannot be read: {error}")
    return State(user, facts)


# --- dead letters -------------------------------------------------------------------------------

Source = tuple[str, int, int]
"""Topic, partition and offset of a refused record."""


def refused_in(record: Record) -> Source:
    """Read from a dead letter which record was refused; raises as `read`."""
    # The others are the refused record's own, and may be anything.
    headers = texts_of(tuple(each for each in record.headers if each[0].startswith(HEADER_PREFIX)))
    topic, partition, offset = (HEADER_PREFIX + name for name in ("topic", "partition", "offset"))
    try:
        return headers[topic], int(headers[partition]), int(headers[offset])
    except (KeyError, ValueError):
        raise MalformedError(
            f"it does not say which record was refused, in the headers {topic}, {partition} and "
            f"{offset}"
        ) from None


def refused_on(line: bytes) -> Source:
    """Read it from a line; raises as `read`."""
    letter = read(DeadLetter, line)
    return letter.topic, letter.partition, letter.offset


# --- bytes --------------------------------------------------------------------------------------


def texts_of(headers: Headers) -> dict[str, str]:
    """Give headers as text, of a repeated one the last; raises MalformedError where one is none."""
    texts = {}
    for name, value in headers:
        try:
            texts[name] = value.decode()
        except UnicodeDecodeError:
            raise MalformedError(f"the header {name} is no UTF-8 text") from None
    return texts


def user_on(line: bytes) -> str | None:
    """Give the user of a line that is otherwise not readable, where that much can be read."""
    try:
        user = _object(line).get("user_id")
    except MalformedError:
        return None
    return user if isinstance(user, str) else None


def _object(line: bytes) -> dict[str, object]:
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        # The parser's messages give a place and what it expected there, never the input.
        raise MalformedError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    return value
