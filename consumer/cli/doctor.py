"""`segmenter doctor`."""

from __future__ import annotations

import click

from consumer.cli.command import Command
from consumer.cli.values import above_0
from consumer.settings import Settings


@click.command(cls=Command)
@click.option(
    "--role",
    type=click.Choice(["worker", "trainer", "recommender", "intake"]),
    default="worker",
    show_default=True,
    help="What is to start here.",
)
@click.option(
    "--seconds",
    type=above_0,
    default="10",
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a broker's answer.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(settings: Settings, role: str, seconds: float, as_json: bool) -> int:
    """Tell whether a process could start here, and what to do where not."""
    from typing import cast

    from consumer.doctor.examine import examine
    from consumer.doctor.facts import Role
    from consumer.doctor.render import render

    report = examine(settings, cast("Role", role), seconds)
    click.echo(report.model_dump_json() if as_json else render(report).rstrip("\n"))
    return report.exit_code
