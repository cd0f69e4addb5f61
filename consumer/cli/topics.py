"""The commands under `segmenter topics`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from consumer.contract.errors import UsageError
from consumer.report.wording import plural

# Imported late otherwise: --help and usage errors should not wait for Kafka.
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from consumer.settings import Settings


def add_topic_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `topics` and what is under it to the commands of the command line.

    Parameters
    ----------
    commands
        Where commands are added.
    command
        Adds one, with its settings.
    """
    topics = commands.add_parser("topics", help="manage the topics").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    command(topics, "create", _create, "create the topics that are missing")


def _create(settings: Settings, _options: argparse.Namespace) -> int:
    from consumer.kafka.topics import TopicsDifferError, check_topics, create_topics  # noqa: PLC0415

    try:
        made = create_topics(settings)
    except TopicsDifferError as error:
        raise UsageError(str(error)) from error
    partitions = check_topics(settings)
    for name, created in made.items():
        count = plural(partitions[name], "partition")
        sys.stdout.write(f"{name}: {'created' if created else 'was there'}, {count}\n")
    return 0
