"""`segmenter evaluate`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.cli.command import Command
from consumer.cli.values import EVENT_FILE, EVENT_FILE_HELP, FILE, NEW_FOLDER, time
from consumer.contract.errors import ExpectedError, UsageError
from consumer.settings import Settings

if TYPE_CHECKING:
    from consumer.offline.replay import Replay

_FIGURES = "evaluation.json"


@click.command(cls=Command)
@click.argument("file", type=EVENT_FILE, help=EVENT_FILE_HELP)
@click.option(
    "--label",
    metavar="FIELD",
    help="Dotted path of the true label in the file's objects; compared with, never learned.",
)
@click.option("--output", type=NEW_FOLDER, help=f"Folder for {_FIGURES} and pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
@click.option("--model", type=FILE, help="Keep this segment model, learn nothing.")
@click.option(
    "--now", type=time, help="What event times in the future are told by; else the clock."
)
def evaluate(
    settings: Settings,
    file: Path,
    label: str | None,
    output: Path | None,
    as_json: bool,
    model: Path | None,
    now: datetime | None,
) -> None:
    """Replay a file and measure how good the segments are."""
    from rich.console import Console

    from consumer.offline import outcome
    from consumer.offline.evaluate.plots import write_pictures
    from consumer.offline.evaluate.report import console, render
    from consumer.offline.evaluate.run import check_label, evaluate_file
    from consumer.offline.files import event_file, spooled
    from consumer.offline.files.errors import name_of
    from consumer.report.progress import counting
    from consumer.stages.shared.snapshots import load_model
    from consumer.wiring.embedder import load_embedder

    aside = Console(stderr=True)
    with spooled(file) as kept:
        events = event_file(kept, settings.events.intake(), name_of(file))
        if label is not None:
            check_label(events, label)  # before the model is loaded
        if output is not None:
            _make(output)
        fixed = load_model(model) if model else None
        embedder = load_embedder(settings)

        def tell(replay: Replay) -> None:
            # Not among the figures: they may be read by a program.
            lines = outcome.refused(replay.refusals, events, settings)
            if warning := outcome.unread_language(replay.segmentation.stats.languages, embedder):
                lines.append(warning)
            outcome.write(sys.stderr, lines)

        with counting(aside, "evaluating", "records", events.expected) as progress:
            evaluation = evaluate_file(
                events,
                settings,
                embedder,
                label=label,
                model=fixed,
                now=now,
                progress=progress,
                say=lambda text: aside.print(text, highlight=False),
                tell=tell,
            )
    figures = evaluation.figures
    if as_json:
        click.echo(figures.to_json())
    else:
        render(console(), figures)
    if output is not None:
        names = write_pictures(evaluation, output)
        (output / _FIGURES).write_text(figures.to_json() + "\n", encoding="utf-8")
        written = f"written to {output}: {', '.join([_FIGURES, *names])}"
        aside.print(written, highlight=False, markup=False)
    if figures.counts.accepted == 0:
        raise ExpectedError(outcome.nothing_accepted(name_of(file), figures.counts.records))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # An earlier one would pass for that of this run, should it end early.
        (folder / _FIGURES).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--output: cannot write to {folder}: {error.strerror}") from error
