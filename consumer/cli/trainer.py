"""`segmenter trainer`."""

from __future__ import annotations

import click

from consumer.cli.command import Command
from consumer.settings import Settings


@click.command(cls=Command, loads="consumer.wiring.trainer")
def trainer(settings: Settings) -> None:
    """Run a trainer; a second one stands by."""
    from consumer.wiring.trainer import run_trainer

    run_trainer(settings)
