"""`segmenter replay`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from consumer.cli.command import Command
from consumer.cli.values import EVENTS, FILE, FOLDER, event_file, now, segment_model
from consumer.contract.errors import ExpectedError, UsageError
from consumer.settings import Settings


@click.command(cls=Command)
@event_file
@click.option("--output", type=FOLDER, required=True, help="Folder for results.")
@segment_model
@click.option(
    "--user-labels",
    type=EVENTS,
    help="Labels of users, each taking effect at its time; labels.enabled is set.",
)
@click.option("--label-model", type=FILE, help="Keep this label model beside --model.")
@now
def replay(
    settings: Settings,
    file: Path,
    output: Path,
    model: Path | None,
    user_labels: Path | None,
    label_model: Path | None,
    now: datetime | None,
) -> None:
    """Run a file through the same stages, with no broker."""
    from rich.console import Console

    from consumer.offline import files, outcome
    from consumer.offline.replay import Replay, replay_into
    from consumer.report.progress import counting
    from consumer.stages.shared.dead_letters import DeadLetterLimitError
    from consumer.stages.shared.snapshots import load_label_model, load_model
    from consumer.wiring.embedder import load_embedder

    if label_model and not model:
        raise UsageError("--label-model goes with --model: else the trainer learns labels along")
    segments = load_model(model) if model else None
    labels = load_label_model(label_model) if label_model else None
    if user_labels or label_model:
        settings = settings.changed("labels", enabled=True)
    events = files.event_file(file, settings.events.intake())
    embedder = load_embedder(settings)
    run = Replay(settings, embedder, segments, now or datetime.now(UTC), labels)
    try:
        with counting(Console(stderr=True), "replaying", "records", events.expected) as progress:
            result = replay_into(output, run, events, progress=progress, labels=user_labels)
    except DeadLetterLimitError:
        outcome.write(sys.stdout, outcome.refused(run.refusals, events, settings))
        raise
    click.echo(
        f"{result.records:,} records: {result.accepted:,} accepted, {result.repeated:,} repeated, "
        f"{result.refused:,} refused\n"
        f"{result.users:,} users in {result.segments} segments, {result.changes:,} changes"
    )
    for line in (*outcome.segment_sizes(result.sizes), f"written to {output}"):
        click.echo(line)
    outcome.write(sys.stdout, outcome.told(run, events, settings, embedder))
    if result.accepted == 0:
        raise ExpectedError(outcome.nothing_accepted(events.name, result.records))
