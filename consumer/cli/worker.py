"""`segmenter worker`."""

from __future__ import annotations

from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import FILE
from consumer.settings import Settings


@click.command(cls=Command)
@click.option("--model", type=FILE, help="Keep this segment model, heed no trainer.")
def worker(settings: Settings, model: Path | None) -> None:
    """Run a worker of the consumer group."""
    from consumer.wiring.worker import run_worker

    run_worker(settings, model)
