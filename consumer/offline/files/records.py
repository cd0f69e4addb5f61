"""Records as they would come from Kafka, from files of events and of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic_core import from_json

from consumer.contract.records import Record
from consumer.offline.files.event_file import EventFile, read_lines
from consumer.settings import Settings
from schemas.events import parse_rfc3339
from schemas.intake import Intake
from schemas.keys import KeyForm, encode_key


def event_file(path: Path, intake: Intake, name: str = "") -> EventFile:
    """Give a file of events as the intake reads them; `name` is what it is called."""
    return EventFile(path, lambda value: intake.user_id(value) is not None, name)


def read_records(file: Path | EventFile, topic: str, intake: Intake) -> Iterator[Record]:
    """Give the records of a file as those of one partition, their number as the offset.

    A record's key is its user id; one without gets none, and is refused like its like on Kafka.
    """
    opened = file if isinstance(file, EventFile) else event_file(file, intake)
    for offset, value in enumerate(opened):
        yield Record(
            topic=topic,
            partition=0,
            offset=offset,
            timestamp=-1,
            key=intake.key_of(value),
            value=value,
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
