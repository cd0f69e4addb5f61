"""`segmenter intake`."""

from __future__ import annotations

import click

from consumer.cli.command import Command
from consumer.contract.errors import UsageError
from consumer.settings import Settings


@click.command(cls=Command, loads="consumer.wiring.intake")
def intake(settings: Settings) -> None:
    """Re-key an input whose keys or partitions cannot be trusted."""
    from consumer.wiring.intake import run_intake

    if settings.topics.raw_events is None:
        raise UsageError(
            "topics.raw_events is not set: give the topic whose records are to be re-keyed into "
            f"{settings.topics.events}"
        )
    run_intake(settings)
