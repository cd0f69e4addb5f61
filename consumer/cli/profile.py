"""`segmenter profile`."""

from __future__ import annotations

from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from consumer.cli.command import Command
from consumer.cli.values import ANY_PATH
from consumer.settings import Settings
from schemas.base import Identifier
from schemas.errors import first_problem

_IDENTIFIER = TypeAdapter[str](Identifier)


def _checked(context: click.Context, parameter: click.Parameter, user: str) -> str:
    """Refuse what no event can have as its user; an argument that is no UTF-8 has surrogates."""
    try:
        return _IDENTIFIER.validate_python(user)
    except ValidationError as error:
        raise click.BadParameter(first_problem(error), context, parameter) from None


@click.command(cls=Command)
@click.argument("user", help="The user's id.", callback=_checked)
@click.option(
    "--file",
    type=ANY_PATH,
    metavar="PATH",
    help="Look there instead of on the topic: a record's bytes, JSON lines, or a replay's folder.",
)
def profile(settings: Settings, user: str, file: Path | None) -> None:
    """Show a user's latest state record as JSON."""
    if file is not None:
        from consumer.state.lookup import find_in_file

        found = find_in_file(file, user)
    else:
        from consumer.state.lookup import find_profile

        found = find_profile(settings, user)
    click.echo(f"{found.place}: {found.form}", err=True)
    click.echo(found.record.model_dump_json(indent=1))
