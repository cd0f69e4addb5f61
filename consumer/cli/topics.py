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


@topics.command(cls=Command)
@click.option("--cluster", default="kafka", show_default=True, help="Name of the Kafka resource.")
def strimzi(settings: Settings, cluster: str) -> None:
    """Write the topics and a user for each role as resources of Strimzi, as YAML.

    Nothing is asked of a cluster: names, partitions and rights come from the settings.
    """
    from consumer.kafka.strimzi import strimzi_topics, strimzi_users

    click.echo(strimzi_topics(settings, cluster) + strimzi_users(settings, cluster), nl=False)


@topics.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(settings: Settings, as_json: bool) -> int:
    """Hold the topics that are there against what is needed, and say what to do.

    Partitions, replicas, what becomes of old records, compaction, and the longest record. Nothing
    is changed. The exit code is 1 where something does not work as it is, or is not told; warnings
    leave it at 0.
    """
    from consumer.doctor.topics import check as hold
    from consumer.doctor.topics import render_topics

    report = hold(settings)
    click.echo(report.model_dump_json(indent=1) if as_json else render_topics(report).rstrip("\n"))
    return report.exit_code
