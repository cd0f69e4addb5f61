"""`segmenter rules`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import FOLDER, GivenPath, event_file, now
from consumer.contract.errors import UsageError
from consumer.settings import Settings


@click.group()
def rules() -> None:
    """Segments that somebody has put into words: follow users under them, try them."""


@rules.command(cls=Command, loads="consumer.wiring.rules", extra="rules")
def run(settings: Settings) -> None:
    """Follow users under the rules, and publish who fulfils which."""
    from consumer.wiring.rules import run_rules

    if not settings.rules.enabled:
        raise UsageError(
            "rules.enabled is false: set it, and 'segmenter topics create' makes topics"
        )
    run_rules(settings)


@rules.command(cls=Command, extra="rules")
@event_file
@click.option(
    "--replay", type=FOLDER, help="A replay's folder, for rules over segment, label and words."
)
@click.option(
    "--changes",
    type=GivenPath(dir_okay=False, path_type=Path),
    help="Write all changes there, as JSON lines.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, an object on one line.")
@now
def test(
    settings: Settings,
    file: Path,
    replay: Path | None,
    changes: Path | None,
    as_json: bool,
    now: datetime | None,
) -> None:
    """Show what the rules would make of a file of events, and who would fulfil them."""
    from datetime import UTC

    from rich.console import Console

    from consumer.offline import files
    from consumer.offline.rules_preview import lines_into, preview, profiles_of, render
    from consumer.report.progress import counting
    from consumer.wiring.rules import rules_of

    found = rules_of(settings)
    if not found.rules:
        raise UsageError(
            "there are no rules: give some in rules.segments, as in --rules.segments "
            """'{"regular": "count(\\"30d\\") >= 5"}'"""
        )
    known = profiles_of(replay) if replay else None
    events = files.event_file(file, settings.events.intake())
    with (
        lines_into(changes) as sink,
        counting(Console(stderr=True), "following", "records", events.expected) as progress,
    ):
        made = preview(
            settings,
            found,
            events,
            profiles=known,
            now=now or datetime.now(UTC),
            progress=progress,
            sink=sink,
        )
    in_vain = [] if replay else [rule.name for rule in found.rules if rule.asks_profile]
    shown = made.model_dump_json() if as_json else render(made, found, asks_in_vain=in_vain)
    click.echo(shown.rstrip("\n"))
