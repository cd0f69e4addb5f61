"""`segmenter recommender`."""

from __future__ import annotations

import click

from consumer.cli.command import Command
from consumer.contract.errors import UsageError
from consumer.settings import Settings


@click.command(cls=Command, loads="consumer.wiring.recommender")
def recommender(settings: Settings) -> None:
    """Run a recommender: the items that lead in each segment."""
    from consumer.wiring.recommender import run_recommender

    if not settings.recommendations.enabled:
        raise UsageError(
            "recommendations.enabled is false: the workers write nothing of items; set it for "
            "workers, trainer and recommender alike, and run 'segmenter topics create'"
        )
    run_recommender(settings)
