"""`segmenter watch`."""

from __future__ import annotations

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
    help="From one look at groups and lag to the next.",
)
@click.option(
    "--minutes",
    type=above_0,
    default="10",
    show_default=True,
    metavar="MINUTES",
    help="How far flows, lines of sizes and refused records go back.",
)
def watch(settings: Settings, workers: tuple[str, ...], seconds: float, minutes: float) -> None:
    """Watch a group at work in the terminal.

    Throughput, lag by partition, segments with their sizes, the latest changes, drift, refused
    records. It reads Kafka alone, joins no group, and ends with q or Ctrl-C. Where the output is no
    terminal it prints one look as plain text, and ends.
    """
    from consumer.live.screen import is_terminal, snapshot
    from consumer.live.screen import watch as watch_on_screen

    show = watch_on_screen if is_terminal() else snapshot
    show(settings, workers, seconds, minutes)
