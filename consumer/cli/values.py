"""Types of what is given beside the settings, and what several commands are given."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from schemas.base import Identifier
from schemas.errors import first_problem
from schemas.events import parse_rfc3339

_IDENTIFIER = TypeAdapter[str](Identifier)


class GivenPath(click.Path):
    """A path that is one: of an empty text Python makes the folder that the process is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty text, which a script gives where its variable is not set."""
        if value == "":
            self.fail("the path is empty; the present folder is '.'.", param, ctx)
        return super().convert(value, param, ctx)


class GivenName(click.types.StringParamType):
    """A name that is one, for the same reason: a model that is named by its folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty text."""
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


FILE = GivenPath(exists=True, dir_okay=False, path_type=Path)
FOLDER = GivenPath(file_okay=False, path_type=Path)
ANY_PATH = GivenPath(path_type=Path)
# `-` is the standard input. What bash makes of <(command) is a pipe, which is a file here.
EVENTS = GivenPath(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


class Count(click.IntRange):
    """A whole number, in digits from 0 to 9: Python takes those of other scripts too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take a number."""
        if isinstance(value, str) and not value.isascii():
            self.fail(f"{value!r} is no number in the digits 0 to 9.", param, ctx)
        return super().convert(value, param, ctx)


def above_0(text: str) -> float:
    """Take a number above 0; NaN and infinity are none, nor are digits of other scripts."""
    with suppress(ValueError):
        if text.isascii() and 0 < (number := float(text)) < math.inf:
            return number
    raise click.BadParameter(f"{text} is no number above 0.")


def at_least_0(text: str) -> float:
    """Take a number of 0 or more; NaN and infinity are none, nor are digits of other scripts."""
    with suppress(ValueError):
        if text.isascii() and 0 <= (number := float(text)) < math.inf:
            return number
    raise click.BadParameter(f"{text} is no number of 0 or more.")


def time(text: str) -> datetime:
    """Take a time as RFC 3339 has it."""
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} {error}") from None


def user_id(context: click.Context, parameter: click.Parameter, user: str) -> str:
    """Refuse what no event can have as its user; an argument that is no UTF-8 has surrogates."""
    try:
        return _IDENTIFIER.validate_python(user)
    except ValidationError as error:
        raise click.BadParameter(first_problem(error), context, parameter) from None


event_file = click.argument(
    "file",
    type=EVENTS,
    help="Events: JSON lines, a JSON array, CSV or TSV with a header, or Parquet; plain, gzip, "
    "bz2, xz, zstd or a zip of one file; - is the standard input.",
)
segment_model = click.option(
    "--model", type=FILE, help="Keep this segment model; no trainer is heeded, nothing learned."
)
now = click.option(
    "--now", type=time, help="What event times in the future are told by; else the clock."
)


asks_workers = click.option(
    "--workers",
    multiple=True,
    metavar="HOST:PORT",
    help="Ask this process too, by its http.port; all addresses of a name. May be given again.",
)
"""The option of commands that ask processes how they stand."""
