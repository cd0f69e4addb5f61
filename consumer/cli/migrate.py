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
@click.option(
    "--running",
    is_flag=True,
    help="Do it beside a group that goes on working; its workers need embedding.former.",
)
@click.option(
    "--abort",
    is_flag=True,
    help="With --running: remove what was built, as long as no partition has gone over.",
)
def migrate(
    settings: Settings, dry_run: bool, accept_missing_history: bool, running: bool, abort: bool
) -> None:
    """Bring a group, stopped or at work, to another embedding model."""
    from consumer.migrate import Migration, migrate_running
    from consumer.migrate import migrate as run
    from consumer.wiring.embedder import load_embedder

    if abort and not running:
        raise click.UsageError("--abort is for --running: a stopped group's is begun and run again")
    if running and dry_run:
        raise click.UsageError(
            "--dry-run looks at what a migration would do, beside a running group as well: leave "
            "--running out"
        )
    if running:
        migrate_running(
            settings,
            load_embedder(settings),
            accept_missing_history=accept_missing_history,
            abort=abort,
            say=sys.stdout.write,
        )
        return
    migration = Migration(
        settings, load_embedder(settings), accept_missing_history=accept_missing_history
    )
    run(migration, dry_run=dry_run, say=sys.stdout.write)
