"""`segmenter config`."""

from __future__ import annotations

import click

from consumer.cli.command import Command
from consumer.settings import Settings
from consumer.settings.format import FORMATS


@click.command(cls=Command)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="json",
    help="toml: what --config reads; env: variables, quoted for a shell.",
)
def config(settings: Settings, form: str) -> None:
    """Print the effective settings, secrets masked."""
    click.echo(FORMATS[form](settings.masked()), nl=False)
