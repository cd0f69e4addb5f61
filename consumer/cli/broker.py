"""`segmenter broker`."""

from __future__ import annotations

from typing import Any

import click

from consumer.cli.command import Command
from consumer.cli.values import FOLDER, Count
from consumer.settings import Settings


@click.command(cls=Command, own_signals=True, extra="demo")
@click.option("--data", type=FOLDER, required=True, help="Folder that keeps its data.")
@click.option("--brokers", type=click.Choice([1, 3]), default=1, help="How many.")
@click.option("--port", type=Count(), default=9092, help="Port of the first one.")
def broker(_settings: Settings, **how: Any) -> None:
    """Run a real Apache Kafka, for tests and demos."""
    from consumer.tryout.broker import run_broker

    run_broker(**how)
