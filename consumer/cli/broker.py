"""`segmenter broker`."""

from __future__ import annotations

from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import NEW_FOLDER
from consumer.settings import Settings


@click.command(cls=Command, own_signals=True)
@click.option("--data", type=NEW_FOLDER, required=True, help="Folder that keeps its data.")
@click.option("--brokers", type=click.Choice([1, 3]), default=1, help="How many.")
@click.option("--port", default=9092, help="Port of the first one.")
def broker(_settings: Settings, data: Path, brokers: int, port: int) -> None:
    """Run a real Apache Kafka, for tests and demos."""
    from consumer.tryout.broker import run_broker

    run_broker(data, brokers=brokers, port=port)
