"""`segmenter profile`."""

from __future__ import annotations

from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import ANY_PATH, user_id
from consumer.settings import Settings


@click.command(cls=Command)
@click.argument("user", help="The user's id.", callback=user_id)
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
