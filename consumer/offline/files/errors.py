"""What can be wrong with a file as a whole."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path


class EventFileError(ValueError):
    """A file that cannot be read as events, or not to its end."""


class FormError(ValueError):
    """What is wrong inside of a file, in words that its name is put before."""


DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, UnicodeError)
"""What the standard library raises for a file that is damaged, cut short, or not to be had."""


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
