"""The command `segmenter produce`, as the command line sees it."""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

from consumer.cli import arguments
from consumer.contract.errors import UsageError

# Imported late otherwise: --help and usage errors should not wait for Kafka.
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from consumer.settings import Settings

_FAILED, _INTERRUPTED = 3, 130


def add_produce_command(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command; `command` is how the command line makes one with its settings."""
    produce = command(commands, "produce", _produce, "send the events of a file to the input topic")
    produce.add_argument("file", type=arguments.event_file, help=arguments.EVENT_FILE)
    produce.add_argument(
        "--rate", type=arguments.rate, metavar="N", help="events a second; else as fast as it goes"
    )


def _produce(settings: Settings, options: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415

    from consumer.offline.files import event_file, read_records  # noqa: PLC0415
    from consumer.offline.produce import (  # noqa: PLC0415
        NoUsersError,
        check_input,
        producer,
        send,
        why_no_user,
        with_users,
    )
    from consumer.report.progress import counting  # noqa: PLC0415

    topic, events = settings.topics.events, settings.events
    file = event_file(options.file, events.intake())
    records = with_users(read_records(file, topic, events.intake()), events.preset)
    try:
        if options.file.is_file():  # a file that is none of ours is told before brokers are asked
            records = chain([next(records)], records)
        check_input(settings)
        with counting(Console(stderr=True), "sending", "events", file.expected) as progress:
            sent = send(records, producer(settings), topic, rate=options.rate, progress=progress)
    except NoUsersError as error:
        hint = error.first and why_no_user(error.first.value, events.intake())
        more = f"\nHint: {hint} (docs/events.md)." if hint else ""
        raise UsageError(f"{options.file}: {error}{more}") from error
    sys.stdout.write("".join(f"{sentence}\n" for sentence in sent.sentences(topic)))
    if sent.stopped:
        return _INTERRUPTED
    return _FAILED if sent.too_large or sent.under_way else 0
