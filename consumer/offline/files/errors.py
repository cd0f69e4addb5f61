"""What can be wrong with a file as a whole."""

from __future__ import annotations

import lzma
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

from consumer.contract.errors import ExpectedError


class EventFileError(ExpectedError):
    """A file that cannot be read as events, or not to its end."""


class FormError(ValueError):
    """What is wrong inside of a file, in words that its name is put before."""


def damage() -> tuple[type[Exception], ...]:
    """Give what is raised for a file that is damaged, cut short, not to be had or of no use."""
    found = (
        *(FormError, OSError, EOFError, UnicodeError),
        *(zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    )
    zstd: Any = sys.modules.get("backports.zstd")  # of an extra, and loaded for such files only
    return found if zstd is None else (*found, zstd.ZstdError)


def told(error: Exception) -> str:
    """Say what is wrong without the names and numbers of Python's own errors."""
    if isinstance(error, UnicodeError):
        return "it is not valid in the encoding that its byte order mark names"
    if isinstance(error, EOFError):
        return "it is cut short: the packed data has no end"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def name_of(path: Path) -> str:
    """Give the name of an input in sentences."""
    return "standard input" if str(path) in STANDARD_INPUT else str(path)


STANDARD_INPUT = ("-", "/dev/stdin")
"""Names under which the standard input is read."""
