"""From a topic's messages to what the checks take; what cannot be read is reported on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from confluent_kafka import Message

from consumer.verify.cut import Spans
from consumer.verify.decode import (
    MalformedError,
    envelope_faults,
    read_change,
    read_lifecycle_event,
)
from consumer.verify.facts import SeenChange
from consumer.verify.lifecycle import SeenLifecycle
from consumer.verify.report import ViolationKind, Violations
from schemas.changes import cloudevents_headers
from schemas.dead_letters import HEADER_PREFIX
from schemas.lifecycle import lifecycle_headers

T = TypeVar("T")


def changes_in(
    messages: Iterable[Message], topic: str, spans: Spans, violations: Violations
) -> Iterator[SeenChange]:
    """Read `segment-changes`: binary CloudEvents, whose attributes are headers."""
    for message in messages:
        lost = spans[message.partition() or 0].low > 0
        if seen := change_in(message, topic, violations, beginning_lost=lost):
            yield seen


def change_in(
    message: Message, topic: str, violations: Violations, *, beginning_lost: bool
) -> SeenChange | None:
    """Read one record of `segment-changes`, None where it cannot be read."""
    place = _place(message)
    try:
        change, headers = read_change(value_of(message)), _headers(message)
        if not (recorded_id := headers.pop("ce_id", "")):
            raise MalformedError("it has no header ce_id")
    except MalformedError as error:
        violations.add(ViolationKind.MALFORMED, topic, f"{place} cannot be read: {error}")
        return None
    if message.key() != change.user_id.encode():
        violations.add(
            ViolationKind.WRONG_KEY, change.user_id, f"{place} has another key than its user"
        )
    # The id has a check of its own, and any source will do that is one.
    expected = {
        name: value.decode()
        for name, value in cloudevents_headers(change, headers.get("ce_source") or "a source")
        if name != "ce_id"
    }
    if faults := envelope_faults(expected, headers):
        violations.add(
            ViolationKind.ENVELOPE,
            change.user_id,
            f"the headers of {place} do not fit its change in {', '.join(faults)}",
        )
    return SeenChange(change, recorded_id, beginning_lost)


def lifecycle_in(
    messages: Iterable[Message], topic: str, violations: Violations
) -> Iterator[SeenLifecycle]:
    """Read `segment-lifecycle`: binary CloudEvents, too."""
    for message in messages:
        place = _place(message)
        try:
            event, headers = read_lifecycle_event(value_of(message)), _headers(message)
            if not (recorded_id := headers.pop("ce_id", "")):
                raise MalformedError("it has no header ce_id")
        except MalformedError as error:
            violations.add(ViolationKind.MALFORMED, topic, f"{place} cannot be read: {error}")
            continue
        expected = {
            name: value.decode()
            for name, value in lifecycle_headers(event, headers.get("ce_source") or "a source")
            if name != "ce_id"
        }
        if faults := envelope_faults(expected, headers):
            violations.add(
                ViolationKind.ENVELOPE,
                topic,
                f"the headers of {place} do not fit its event in {', '.join(faults)}",
            )
        yield SeenLifecycle(event, recorded_id)


@dataclass(slots=True)
class Compacted(Generic[T]):
    """A compacted topic, read: each user's latest value; tombstones have removed users.

    Attributes
    ----------
    values
        By user. A value that cannot be read is None; it counts only where no later one has
        replaced it.
    removed
        Users whose latest record is a tombstone.
    """

    values: dict[str, T | None] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


def latest_in(
    messages: Iterable[Message],
    topic: str,
    parse: Callable[[bytes], tuple[str, T]],
    violations: Violations,
) -> Compacted[T]:
    """Read a compacted topic whose key is the user.

    Parameters
    ----------
    messages, topic
        What to read, and where it comes from.
    parse
        Gives the user and what is to be kept, or raises MalformedError.
    violations
        Where the findings go.
    """
    latest = Compacted[T]()
    faults: dict[str, str] = {}
    for message in messages:
        if (key := user_key(message, topic, violations)) is None:
            continue
        faults.pop(key, None)
        latest.removed.discard(key)
        if (value := message.value()) is None:
            latest.values.pop(key, None)
            latest.removed.add(key)
            continue
        try:
            latest.values[key] = parse_for(key, value, parse)
        except MalformedError as error:
            latest.values[key] = None
            faults[key] = f"{_place(message)} cannot be read: {error}"
    for fault in faults.values():
        violations.add(ViolationKind.MALFORMED, topic, fault)
    return latest


def user_key(message: Message, topic: str, violations: Violations) -> str | None:
    """Give the user that a record's key names, None where it is no key."""
    if (key := _text(message.key())) is None:
        violations.add(
            ViolationKind.WRONG_KEY, topic, f"{_place(message)} has no key of UTF-8 text"
        )
    return key


def parse_for(user: str, value: bytes, parse: Callable[[bytes], tuple[str, T]]) -> T:
    """Parse a record that must be of this user.

    Raises
    ------
    MalformedError
        If it cannot be read or is of another user.
    """
    found, parsed = parse(value)
    if found != user:
        raise MalformedError("its key is another user than the one in it")
    return parsed


def latest_of(
    message: Message,
    topic: str,
    parse: Callable[[bytes], tuple[str, T]],
    violations: Violations,
) -> tuple[str, T | None] | None:
    """Read one record of a compacted topic whose key is the user.

    Returns
    -------
    The user and what was parsed, or None for a tombstone. None alone where it cannot be read.
    """
    if (key := user_key(message, topic, violations)) is None:
        return None
    if (value := message.value()) is None:
        return key, None
    try:
        return key, parse_for(key, value, parse)
    except MalformedError as error:
        violations.add(ViolationKind.MALFORMED, topic, f"{_place(message)} cannot be read: {error}")
        return None


def refused_in(
    messages: Iterable[Message], topic: str, violations: Violations
) -> Iterator[tuple[str, int, int] | None]:
    """Read the dead letters: topic, partition and offset of each refused record.

    None stands for a dead letter that does not say them.
    """
    return (refused_by(message, topic, violations) for message in messages)


def refused_by(message: Message, topic: str, violations: Violations) -> tuple[str, int, int] | None:
    """Read one dead letter: topic, partition and offset of the refused record, else None."""
    try:
        headers = _headers(message)
        return (
            headers[f"{HEADER_PREFIX}topic"],
            int(headers[f"{HEADER_PREFIX}partition"]),
            int(headers[f"{HEADER_PREFIX}offset"]),
        )
    except (KeyError, ValueError):
        violations.add(
            ViolationKind.MALFORMED,
            topic,
            f"{_place(message)} does not say which record was refused: it needs the headers "
            f"{HEADER_PREFIX}topic, {HEADER_PREFIX}partition and {HEADER_PREFIX}offset",
        )
        return None


def _place(message: Message) -> str:
    return f"{message.topic()}[{message.partition()}]@{message.offset()}"


def value_of(message: Message) -> bytes:
    """Give a record's value.

    Raises
    ------
    MalformedError
        If it has none.
    """
    if (value := message.value()) is None:
        raise MalformedError("it has no value")
    return value


def _text(data: str | bytes | None) -> str | None:
    if not isinstance(data, bytes):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _headers(message: Message) -> dict[str, str]:
    """Give the headers as text; of a repeated one the last."""
    pairs = message.headers() or ()
    found: Mapping[str, str | bytes | None] = dict(pairs)
    headers: dict[str, str] = {}
    for name, value in found.items():
        if (text := _text(value)) is None:
            raise MalformedError(f"the header {name} is no UTF-8 text")
        headers[name] = text
    return headers
