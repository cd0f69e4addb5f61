"""`segmenter demo`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import EVENT_FILE, FILE, NEW_FOLDER
from consumer.settings import Settings


@click.command(cls=Command)
@click.option("--input", "input_file", type=EVENT_FILE, help="Events, as for replay; else made up.")
@click.option(
    "--output",
    type=NEW_FOLDER,
    default=Path("demo-output"),
    help="Folder for results.",
)
@click.option("--model", type=FILE, help="Keep this segment model, run no trainer.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=2,
    help="Worker processes.",
)
@click.option("--users", default=400, help="Users of the stream that is made up.")
@click.pass_obj
def demo(
    given: Collection[str],
    settings: Settings,
    input_file: Path | None,
    output: Path,
    model: Path | None,
    workers: int,
    users: int,
) -> int:
    """Run everything on this machine and show what comes out."""
    from consumer.tryout.demo.run import run_demo

    return run_demo(
        settings,
        input_file=input_file,
        output=output,
        model=model,
        workers=workers,
        users=users,
        # A Kafka that was named by flag is to be used; the demo starts none of its own.
        own_broker="kafka.bootstrap_servers" not in given,
    )
