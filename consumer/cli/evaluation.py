"""The command `segmenter evaluate`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console

from consumer.contract.errors import UsageError
from consumer.offline import outcome
from consumer.offline.evaluate.contents import Evaluation
from consumer.offline.evaluate.plots import write_pictures
from consumer.offline.evaluate.report import console, render
from consumer.offline.evaluate.run import check_label, evaluate_file
from consumer.offline.files import event_file, spooled
from consumer.offline.files.errors import name_of, told
from consumer.offline.replay import Replay, ReplayOutputError
from consumer.report.progress import counting
from consumer.settings import Settings
from consumer.wiring import app

FILE = "evaluation.json"


def run_evaluate(
    settings: Settings,
    file: Path,
    *,
    label: str | None,
    output: Path | None,
    as_json: bool,
    model_file: Path | None,
    now: datetime | None,
) -> int:
    """Evaluate a file, print the figures, and write them where a folder is given.

    Raises
    ------
    UsageError
        If the label is in none of the first records, or the folder cannot be written to.
    """
    with spooled(file) as kept:
        events = event_file(kept, settings.events.intake(), name_of(file))
        if label is not None:
            check_label(events, label)  # before the model is loaded
        if output is not None:
            _make(output)
        aside = Console(stderr=True)
        model = app.load_model(model_file) if model_file else None
        embedder = app.load_embedder(settings)

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
                model=model,
                now=now,
                progress=progress,
                say=lambda text: aside.print(text, highlight=False),
                tell=tell,
            )
    if as_json:
        sys.stdout.write(evaluation.figures.to_json() + "\n")
    else:
        render(console(), evaluation.figures)
    if output is not None:
        names = ", ".join(_write(evaluation, output))
        aside.print(f"written to {output}: {names}", highlight=False, markup=False)
    counts = evaluation.figures.counts
    if counts.accepted == 0:
        sys.stderr.write(f"segmenter: {outcome.nothing_accepted(name_of(file), counts.records)}\n")
        return outcome.NOTHING_ACCEPTED
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # An earlier one would pass for that of this run, should it end early.
        (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--output: cannot write to {folder}: {told(error)}") from error


def _write(evaluation: Evaluation, folder: Path) -> list[str]:
    try:
        names = write_pictures(evaluation, folder)
        (folder / FILE).write_text(evaluation.figures.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise ReplayOutputError(f"cannot write an evaluation to {folder}: {told(error)}") from error
    return [FILE, *names]
