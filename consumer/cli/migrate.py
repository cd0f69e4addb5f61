"""`segmenter migrate`."""

from __future__ import annotations

import sys

import click

from consumer.cli.command import Command
from consumer.settings import Settings


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Say what there is to do, write nothing.")
@click.option(
    "--accept-missing-history",
    is_flag=True,
    help="Go on where the input lacks events that profiles have counted.",
)
def migrate(settings: Settings, dry_run: bool, accept_missing_history: bool) -> None:
    """Bring a stopped group to another embedding model."""
    from consumer.migrate import Migration
    from consumer.migrate import migrate as run
    from consumer.wiring.embedder import load_embedder

    migration = Migration(
        settings, load_embedder(settings), accept_missing_history=accept_missing_history
    )
    run(migration, dry_run=dry_run, say=sys.stdout.write)
