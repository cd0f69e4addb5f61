"""`segmenter topics`."""

from __future__ import annotations

import click

from consumer.cli.command import Command
from consumer.report.wording import plural
from consumer.settings import Settings


@click.group()
def topics() -> None:
    """Manage the topics."""


@topics.command(cls=Command)
def create(settings: Settings) -> None:
    """Create the topics that are missing."""
    from consumer.kafka.topics import check_topics, create_topics

    made = create_topics(settings)
    partitions = check_topics(settings)
    for name, created in made.items():
        count = plural(partitions[name], "partition")
        click.echo(f"{name}: {'created' if created else 'was there'}, {count}")
