"""`segmenter status`."""

from __future__ import annotations

import sys
import time

import click

from consumer.cli.command import Command
from consumer.cli.values import above_0, asks_workers
from consumer.settings import Settings


@click.command(cls=Command)
@asks_workers
@click.option(
    "--seconds",
    type=above_0,
    default="2",
    show_default=True,
    metavar="SECONDS",
    help="How long to look, so that rates can be told.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Again and again, until it is stopped. To look on, `segmenter watch` shows more.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, an object a line.")
def status(
    settings: Settings, workers: tuple[str, ...], seconds: float, watch: bool, as_json: bool
) -> None:
    """Tell how the group stands: members, lag, rates, model, refusals, drift."""
    from consumer.status.gather import Gatherer
    from consumer.status.render import render

    gatherer = Gatherer(settings, workers)
    while True:
        found = gatherer.gather(seconds)
        if watch and not as_json and sys.stdout.isatty():
            click.clear()
        click.echo(found.model_dump_json() if as_json else render(found).rstrip("\n"))
        if not watch:
            return
        time.sleep(seconds)
