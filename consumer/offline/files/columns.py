"""Parquet, by the extra `files`."""

from __future__ import annotations

import base64
import json
import math
from datetime import date, datetime, time
from typing import TYPE_CHECKING, BinaryIO

from consumer.contract.extras import wants
from consumer.offline.files.errors import FormError
from consumer.offline.files.lines import Numbered

if TYPE_CHECKING:
    import pyarrow.parquet

MAGIC = b"PAR1"

_ROWS = 1_000


def open_parquet(file: BinaryIO) -> pyarrow.parquet.ParquetFile:
    """Open a Parquet file that can be sought in.

    Raises
    ------
    FormError
        If the extra is not installed, or the file is damaged.
    """
    try:
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise FormError(wants("it is Parquet, which", "files")) from None
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise FormError(f"its Parquet is damaged or cut short: {_first_line(error)}") from None


def parquet_rows(opened: pyarrow.parquet.ParquetFile) -> Numbered:
    """Give the rows as JSON objects; null and NaN are fields that are absent.

    A time without a zone stays without one, so that the settings say how it is read.
    """
    import pyarrow  # noqa: PLC0415

    number = 0
    try:
        for batch in opened.iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                number += 1
                kept = {name: value for name, value in row.items() if not _is_absent(value)}
                written = json.dumps(kept, ensure_ascii=False, default=_plain)
                yield number, written.encode("utf-8", "surrogatepass")
    except pyarrow.ArrowException as error:
        raise FormError(
            f"its Parquet is damaged behind row {number:,}: {_first_line(error)}"
        ) from None


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> str:
    """Give what JSON has no type for as text."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
