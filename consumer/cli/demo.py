"""`segmenter demo`."""

from __future__ import annotations

from typing import Any

import click

from consumer.cli.command import Command
from consumer.cli.values import EVENTS, FOLDER, Count, segment_model
from consumer.settings import Settings

_USERS = Count(1, 10_000_000)


@click.command(cls=Command, extra="demo")
@click.option("--input", "input_file", type=EVENTS, help="Events, as for replay; else made up.")
@click.option("--output", type=FOLDER, default="demo-output", help="Folder for results.")
@segment_model
@click.option("--workers", type=Count(1), default=2, help="Worker processes.")
@click.option("--users", type=_USERS, default=400, help="Users of the stream that is made up.")
@click.option(
    "--language",
    type=click.Choice(["en", "zh"]),
    default="en",
    help="What nearly all users of that stream write; with zh, all of them.",
)
def demo(settings: Settings, **how: Any) -> int:
    """Run everything on this machine and show what comes out."""
    from consumer.tryout.demo.run import run_demo

    # A Kafka that was named by flag is to be used; else the demo starts its own.
    named = "kafka.bootstrap_servers" in click.get_current_context().obj
    return run_demo(settings, own_broker=not named, **how)
