"""`segmenter produce`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from consumer.cli.command import EXIT_FAILED, Command
from consumer.cli.values import above_0, event_file
from consumer.process.ending import EXIT_INTERRUPTED
from consumer.settings import Settings


@click.command(cls=Command)
@event_file
@click.option("--rate", type=above_0, metavar="N", help="Events a second; else as fast as it goes.")
def produce(settings: Settings, file: Path, rate: float | None) -> int:
    """Send the events of a file to the input topic."""
    from rich.console import Console

    from consumer.offline import files
    from consumer.offline import produce as sending
    from consumer.report.progress import counting

    topic, events = settings.topics.events, settings.events
    found = files.event_file(file, events.intake())
    records = files.read_records(found, topic, events.intake())
    records = sending.with_users(records, events, found.name)
    if file.is_file():  # a file that is none of ours is told before brokers are asked
        records = chain([next(records)], records)
    sending.check_input(settings)
    producer = sending.producer(settings)
    with counting(Console(stderr=True), "sending", "events", found.expected) as progress:
        sent = sending.send(records, producer, topic, rate=rate, progress=progress)
    for sentence in sent.sentences(topic):
        click.echo(sentence)
    if sent.stopped:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if sent.too_large or sent.under_way else 0
