"""`segmenter evaluate`."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.cli.command import Command
from consumer.cli.values import GivenPath, event_file, now, segment_model
from consumer.contract.errors import ExpectedError, UsageError
from consumer.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from consumer.offline.evaluate.choices import Choices
    from consumer.offline.replay import Replay

_FIGURES = "evaluation.json"
_RECOMMENDATIONS = "recommend.json"
_FOLDER = GivenPath(file_okay=False, writable=True, path_type=Path)


@click.command(cls=Command, extra="evaluate")
@event_file
@click.option(
    "--label",
    metavar="FIELD",
    help="Dotted path of the true label in the file's objects; compared with, never learned.",
)
@click.option(
    "--recommend",
    is_flag=True,
    help="Measure in place of the segments how well users' next items are foretold.",
)
@click.option(
    "--category",
    metavar="FIELD",
    help="With --recommend: dotted path of an item's category in the file's objects.",
)
@click.option("--output", type=_FOLDER, help=f"Folder for {_FIGURES} and pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
@segment_model
@now
def evaluate(
    settings: Settings,
    file: Path,
    label: str | None,
    recommend: bool,
    category: str | None,
    output: Path | None,
    as_json: bool,
    model: Path | None,
    now: datetime | None,
) -> None:
    """Replay a file and measure how good the segments, or recommendations, are."""
    from rich.console import Console

    from consumer.offline import files, outcome
    from consumer.offline.evaluate.plots import write_pictures
    from consumer.offline.evaluate.recommending import replayed_choices
    from consumer.offline.evaluate.report import render
    from consumer.offline.evaluate.run import check_label, evaluate_file
    from consumer.offline.files.errors import name_of
    from consumer.report.progress import counting
    from consumer.report.terminal import console
    from consumer.stages.shared.snapshots import load_model
    from consumer.wiring.embedder import load_embedder

    if label is not None and recommend:
        raise UsageError("--label is for segments: leave it out, or --recommend")
    if category is not None and not recommend:
        raise UsageError("--category is for recommendations: give --recommend with it")
    aside = Console(stderr=True)
    with files.spooled(file) as kept:
        events = files.event_file(kept, settings.events.intake(), name_of(file))
        # Before the model is loaded.
        if label is not None:
            check_label(events, label)
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            # An earlier one would pass for that of this run, should it end early.
            (output / (_RECOMMENDATIONS if recommend else _FIGURES)).unlink(missing_ok=True)
        segments = load_model(model) if model else None
        embedder = load_embedder(settings)

        def tell(replay: Replay) -> None:
            # Not among the figures: they may be read by a program.
            stats = replay.segmentation.stats
            unread = outcome.unread_language(stats.languages, embedder)
            lines = outcome.refused(replay.refusals, events, settings)
            outcome.write(sys.stderr, [*lines, unread] if unread else lines)

        if recommend:
            with counting(aside, "replaying", "records", events.expected) as progress:
                choices = replayed_choices(
                    events,
                    settings,
                    embedder,
                    category=category,
                    model=segments,
                    now=now,
                    progress=progress,
                    tell=tell,
                )
            _recommendations(choices, settings, aside, output, as_json=as_json)
            return
        with counting(aside, "evaluating", "records", events.expected) as progress:
            evaluation = evaluate_file(
                events,
                settings,
                embedder,
                label=label,
                model=segments,
                now=now,
                progress=progress,
                say=lambda text: aside.print(text, highlight=False),
                tell=tell,
            )
    figures = evaluation.figures
    if as_json:
        click.echo(figures.to_json())
    else:
        render(console(whole=True), figures)
    if output is not None:
        names = write_pictures(evaluation, output)
        (output / _FIGURES).write_text(figures.to_json() + "\n", encoding="utf-8")
        written = f"written to {output}: {', '.join([_FIGURES, *names])}"
        aside.print(written, highlight=False, markup=False)
    if figures.counts.accepted == 0:
        raise ExpectedError(outcome.nothing_accepted(events.name, figures.counts.records))


def _recommendations(
    choices: Choices, settings: Settings, aside: Console, output: Path | None, *, as_json: bool
) -> None:
    from consumer.offline.evaluate.recommending import (
        evaluate_recommendations,
        render_recommendations,
    )
    from consumer.report.terminal import console

    found = evaluate_recommendations(
        choices, settings, say=lambda text: aside.print(text, highlight=False)
    )
    written_as = json.dumps(found.to_dict(), indent=2)
    if as_json:
        click.echo(written_as)
    else:
        render_recommendations(console(whole=True), found)
    if output is not None:
        (output / _RECOMMENDATIONS).write_text(written_as + "\n", encoding="utf-8")
        aside.print(f"written to {output}: {_RECOMMENDATIONS}", highlight=False, markup=False)
