"""Event files: JSON lines, gzip or plain."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic_core import from_json

from consumer.records import Record
from consumer.settings import Settings
from schemas.events import parse_rfc3339
from schemas.intake import Intake
from schemas.keys import KeyForm, encode_key


class EventFileError(ValueError):
    """A file that cannot be read as events."""


def read_lines(path: Path) -> Iterator[bytes]:
    """Give the lines of a file without their ends, gzip unpacked; blank lines are left out.

    Raises
    ------
    EventFileError
        If it is not there, or its gzip stream is damaged or cut short.
    """
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            for line in file:
                if stripped := line.rstrip(b"\r\n"):
                    yield stripped
    except (OSError, EOFError, zlib.error) as error:
        raise EventFileError(f"cannot read the events of {path}: {error}") from error


def read_records(path: Path, topic: str, intake: Intake) -> Iterator[Record]:
    """Give the lines of a file as records of one partition, the line's number as the offset.

    A line's key is its user id; a line without one gets none, and is refused like its like on
    Kafka.
    """
    for offset, line in enumerate(read_lines(path)):
        yield Record(
            topic=topic,
            partition=0,
            offset=offset,
            timestamp=-1,
            key=intake.key_of(line),
            value=line,
        )


def with_labels(events: Iterable[Record], path: Path, settings: Settings) -> Iterator[Record]:
    """Put the lines of a file of labels between events, each at its time.

    A label comes before the first event that happened later, or at the same time. Labels keep the
    order of the file, and so do events; one without a time that can be read goes with the one
    before it. So the outcome depends on the two files only.

    Raises
    ------
    EventFileError
        If the file cannot be read.
    """
    labels = _labels(path, settings.topics.labels, settings.labels.key)
    field = settings.events.intake()
    waiting = next(labels, None)
    for event in events:
        time = field.occurred_at(event.value or b"")
        while waiting is not None and time is not None and waiting[0] <= time:
            yield waiting[1]
            waiting = next(labels, None)
        yield event
    while waiting is not None:
        yield waiting[1]
        waiting = next(labels, None)


def _labels(path: Path, topic: str, form: KeyForm) -> Iterator[tuple[datetime, Record]]:
    """Give labels with their times, none earlier than that of the label before."""
    latest = datetime.min.replace(tzinfo=UTC)
    for offset, line in enumerate(read_lines(path)):
        user, time = None, None
        try:
            found = from_json(line)
            user, time = found["user_id"], parse_rfc3339(found["labelled_at"])
        except (ValueError, TypeError, KeyError):
            pass
        latest = latest if time is None else max(latest, time)
        key = encode_key(user, form) if isinstance(user, str) and user else None
        yield latest, Record(topic, 0, offset, -1, key, line)
