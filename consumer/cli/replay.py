"""The command `segmenter replay`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from consumer.contract.errors import UsageError
from consumer.offline import outcome
from consumer.offline.files import event_file
from consumer.offline.replay import Replay, ReplayResult, replay_into
from consumer.report.progress import counting
from consumer.settings import Settings
from consumer.stages.shared.dead_letters import DeadLetterLimitError
from consumer.wiring import app


def run_replay(
    settings: Settings,
    file: Path,
    output: Path,
    *,
    model_file: Path | None,
    label_model_file: Path | None,
    user_labels: Path | None,
    now: datetime | None,
) -> int:
    """Replay a file and say what came out; give the exit code.

    Raises
    ------
    UsageError
        If a label model is given without a segment model.
    """
    if label_model_file and not model_file:
        raise UsageError("--label-model goes with --model: else the trainer learns labels along")
    model = app.load_model(model_file) if model_file else None
    label_model = app.load_label_model(label_model_file) if label_model_file else None
    if user_labels or label_model:
        labels = settings.labels.model_copy(update={"enabled": True})
        settings = settings.model_copy(update={"labels": labels})
    events = event_file(file, settings.events.intake())
    embedder = app.load_embedder(settings)
    replay = Replay(settings, embedder, model, now or datetime.now(UTC), label_model)
    try:
        with counting(Console(stderr=True), "replaying", "records", events.expected) as progress:
            result = replay_into(output, replay, events, progress=progress, labels=user_labels)
    except DeadLetterLimitError:
        outcome.write(sys.stdout, outcome.refused(replay.refusals, events, settings))
        raise
    _tell(result, output)
    outcome.write(sys.stdout, outcome.told(replay, events, settings, embedder))
    if result.accepted == 0:
        sys.stderr.write(f"segmenter: {outcome.nothing_accepted(events.name, result.records)}\n")
        return outcome.NOTHING_ACCEPTED
    return 0


def _tell(result: ReplayResult, output: Path) -> None:
    lines = [
        f"{result.records:,} records: {result.accepted:,} accepted, {result.repeated:,} repeated, "
        f"{result.refused:,} refused",
        f"{result.users:,} users in {result.segments} segments, {result.changes:,} changes",
        *outcome.segment_sizes(result.sizes),
    ]
    sys.stdout.write("".join(f"{line}\n" for line in [*lines, f"written to {output}"]))
