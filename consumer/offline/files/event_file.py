"""One reading of a file: its records, how far it has come, and what went wrong where."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from pydantic_core import from_json

from consumer.offline.files import columns
from consumer.offline.files.errors import EventFileError, damage, name_of, told
from consumer.offline.files.forms import IsRecord, form_of
from consumer.offline.files.lines import Numbered
from consumer.offline.files.packing import (
    HEAD_BYTES,
    Pieces,
    as_utf8,
    from_start,
    look,
    open_raw,
    seekable,
    size_of,
    unpack,
)

PARQUET = "Parquet"


def _has_user(value: bytes) -> bool:
    try:
        return "user_id" in from_json(value)
    except (ValueError, TypeError):
        return False


class EventFile:
    """A file, a pipe or the standard input (`-`), read once from its beginning to its end.

    Iterating gives each record as the bytes of a JSON object, or of what stands in the place of
    one: a record that is none is for the intake to refuse.

    Parameters
    ----------
    path
        The file. What is in it, and how it is packed, is told by its content.
    is_record
        Whether a JSON object is itself a record; asked where a file holds one single object.
    name
        What it is called in sentences; its path by default.

    Attributes
    ----------
    name
        What it is called in sentences.
    form
        What it turned out to be, such as "a JSON array in gzip"; empty before the first record.
    records
        Records read so far.
    """

    def __init__(self, path: Path, is_record: IsRecord = _has_user, name: str = "") -> None:
        self.path = path
        self.name = name or name_of(path)
        self.form = ""
        self.records = 0
        self._is_record = is_record
        self._raw: io.FileIO | None = None
        self._unpacked: Pieces | None = None
        self._size: int | None = None
        self._total: int | None = None
        # From which record on lines are how far ahead of records: blank lines, rows over several.
        self._gaps: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[bytes]:
        """Give the records.

        Raises
        ------
        EventFileError
            If the file is not there, of a form that cannot be read, damaged or cut short.
        """
        try:
            with ExitStack() as stack:
                for line, value in self._open(stack):
                    ahead = line - self.records
                    if not self._gaps or self._gaps[-1][1] != ahead:
                        self._gaps.append((self.records, ahead))
                    self.records += 1
                    yield value
        except damage() as error:
            read = (
                f"; {self.records:,} records were read before that, which are not the whole file"
                if self.records
                else ""
            )
            raise EventFileError(
                f"cannot read the events of {self.name}: {told(error)}{read}"
            ) from error
        finally:
            self._raw = None
        self._total = self.records

    def expected(self) -> int | None:
        """Estimate the records of the whole file by how much of it was read; None for a pipe."""
        if self._total is not None:
            return self._total
        if self._raw is None or self._unpacked is None or not self._size or not self.records:
            return None
        # What was read ahead of the records counts as much less of the file as it was packed.
        read = self._raw.tell() * self._unpacked.given / self._unpacked.taken
        return max(self.records, round(self.records * self._size / max(read, 1)))

    @property
    def has_lines(self) -> bool:
        """Whether its records are on lines that can be looked at, and not in Parquet's columns."""
        return not self.form.startswith(PARQUET)

    def line_of(self, record: int) -> int:
        """Give the line that a record, counted from 0, begins on, counted from 1."""
        place = bisect_right(self._gaps, record, key=lambda gap: gap[0]) - 1
        return record + self._gaps[place][1]

    def _open(self, stack: ExitStack) -> Numbered:
        raw = open_raw(self.path, stack)
        head, stream, layers = unpack(raw, stack)
        # A zip within something else was copied as a whole before its first record.
        self._raw, self._size = raw, None if "zip" in layers[1:] else size_of(raw)
        within = "".join(f" in {layer}" for layer in reversed(layers))
        if head.startswith(columns.MAGIC):
            file = stream if layers else from_start(raw, stream, stack)
            opened = columns.open_parquet(seekable(file, stack))
            self._total = opened.metadata.num_rows
            self.form = PARQUET + within
            return columns.parquet_rows(opened)
        head, self._unpacked = look(as_utf8(head, stream))
        form = form_of(head, whole=len(head) < HEAD_BYTES, is_record=self._is_record)
        self.form = form.name + within
        return form.read(cast(BinaryIO, io.BufferedReader(self._unpacked)))


def read_lines(path: Path) -> Iterator[bytes]:
    """Give the records of a file, each as the bytes of a JSON object.

    Raises
    ------
    EventFileError
        If it cannot be read, or not to its end.
    """
    return iter(EventFile(path))
