"""The parser of the command line, types of its arguments, and the error of a wrong combination."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from consumer.offline.files.errors import STANDARD_INPUT
from schemas.events import parse_rfc3339

EVENT_FILE = (
    "events: JSON lines, a JSON array, CSV or TSV with a header, or Parquet; plain, gzip, bz2, xz, "
    "zstd or a zip of one file; - is the standard input"
)
"""What is said of a file of events in the help of commands."""


_NO_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """Names the choice that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit with 2."""
        if found := _NO_CHOICE.search(message):
            near = get_close_matches(found[1], re.findall(r"'([^']*)'", found[2]), n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
        super().error(message)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def file(text: str) -> Path:
    """Take the path of a file that is there."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder: name one file in it")
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def event_file(text: str) -> Path:
    """Take the path of a file or a pipe that is there, or `-` for the standard input."""
    path = Path(text)
    # What bash makes of <(command) is a pipe; the standard input may be anything.
    if text in STANDARD_INPUT or path.is_fifo():
        return path
    return file(text)


def folder(text: str) -> Path:
    """Take the path of a folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def seconds(text: str) -> float:
    """Take a time span in seconds, above 0."""
    return _above_0(text, "number of seconds")


def rate(text: str) -> float:
    """Take a number of events a second, above 0."""
    return _above_0(text, "number of events a second")


def _above_0(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no {what} above 0")
    return number


def time(text: str) -> datetime:
    """Take a time as RFC 3339 has it."""
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from None
