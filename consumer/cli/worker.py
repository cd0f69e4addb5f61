"""`segmenter worker`."""

from __future__ import annotations

from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import segment_model
from consumer.settings import Settings


@click.command(cls=Command, loads="consumer.wiring.worker")
@segment_model
def worker(settings: Settings, model: Path | None) -> None:
    """Run a worker of the consumer group."""
    from consumer.wiring.worker import run_worker

    run_worker(settings, model)
