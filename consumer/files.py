"""Event files: JSON lines, gzip or plain."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from consumer.records import Record
from schemas.intake import Intake


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
        user = intake.user_id(line)
        yield Record(
            topic=topic,
            partition=0,
            offset=offset,
            timestamp=-1,
            key=None if user is None else user.encode(),
            value=line,
        )
