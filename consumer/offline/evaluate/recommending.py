"""Replays a file for its events that name items, and tells how good recommendations are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from consumer.contract.errors import UsageError
from consumer.offline.evaluate.choices import ChoiceNotes, Choices
from consumer.offline.evaluate.recommend import (
    MIXTURE,
    POPULARITY,
    ClassFigures,
    RecommendFigures,
    evaluate_choices,
)
from consumer.offline.files import EventFile, read_records
from consumer.offline.replay import Progress, Replay
from consumer.report.terminal import FittedTable
from consumer.settings import Settings
from models.embedding.runner_types import Embedder
from models.measures.rankings import MEASURES, Interval
from models.recommendation.policy import RecommendationPolicy
from models.segments.model import SegmentModel


def replayed_choices(
    file: EventFile,
    settings: Settings,
    embedder: Embedder,
    *,
    category: str | None = None,
    policy: RecommendationPolicy | None = None,
    model: SegmentModel | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    tell: Callable[[Replay], None] = lambda _: None,
) -> Choices:
    """Replay a file with what workers write for the recommender; parameters as `evaluate_file`.

    Parameters
    ----------
    category
        Dotted path of the item's category in the file's objects.
    policy
        What events count by type and rating; the settings' without.

    Raises
    ------
    UsageError
        If no event names an item.
    """
    enabled = settings.recommendations.model_copy(update={"enabled": True})
    settings = settings.model_copy(update={"recommendations": enabled})
    replay = Replay(settings, embedder, model, now or datetime.now(UTC))
    notes = ChoiceNotes(settings.topics.item_events, category)
    records = read_records(file, settings.topics.events, settings.events.intake())
    try:
        replay.run(records, notes.sink, progress, notes.watch)
    finally:
        tell(replay)
    choices = notes.choices(policy or settings.recommendations)
    if not len(choices):
        raise UsageError(
            f"no accepted event of {file.name} has an item_id: recommendations are of items"
        )
    return choices


def evaluate_recommendations(
    choices: Choices, settings: Settings, *, say: Callable[[str], None] = lambda _: None
) -> RecommendFigures:
    """Judge recommendations under the settings, by their seed and half-life of profiles."""
    policy = settings.recommendations
    return evaluate_choices(choices, policy, settings.profile, seed=settings.training.seed, say=say)


def render_recommendations(console: Console, figures: RecommendFigures) -> None:
    """Print the figures."""
    console.print(
        Text(
            f"{figures.events:,} events of {figures.users:,} users with {figures.items:,} items, "
            f"{figures.segments:,} segments"
        )
    )
    console.print(
        Text(
            f"To foretell were the last {figures.to_foretell:,} events, in {figures.steps} steps: "
            f"{figures.of_unknown:,} of items that were not known by then, and {figures.had:,} of "
            "items that the user had had, are left out."
        )
    )
    for group in figures.classes:
        console.print()
        console.print(_table(group))
    console.print()
    chosen = ", ".join(f"{name} {value:g}" for name, value in figures.chosen.items())
    console.print(Text(f"Chosen on the steps before: {chosen}."))
    for name in figures.without:
        console.print(Text(f"{name} is not measured: its library is not installed."))
    for line in verdicts(figures):
        console.print(Text(line))


def verdicts(figures: RecommendFigures) -> list[str]:
    """Say for each class of users whether the mixture is better than popularity, or not."""
    found = []
    for group in figures.classes:
        if MIXTURE not in group.methods:
            continue
        gap = group.methods[MIXTURE].against["ndcg@10"]
        base = group.methods[POPULARITY].measures["ndcg@10"].mean
        told = (
            "better than"
            if gap.low > 0
            else "worse than"
            if gap.high < 0
            else "not told apart from"
        )
        found.append(
            f"{_who(group)}: {MIXTURE} is {told} {POPULARITY} in NDCG@10, by {gap.mean:+.4f} "
            f"({gap.low:+.4f} to {gap.high:+.4f}) of {base:.4f}."
        )
    return found


def _who(group: ClassFigures) -> str:
    if group.most is None:
        return "All users" if group.least == 0 else f"Users with {group.least} events or more"
    if group.least == group.most:
        return f"Users with {group.least} events"
    return f"Users with {group.least} to {group.most} events"


def _table(group: ClassFigures) -> FittedTable:
    table = FittedTable(
        f"{_who(group)}: {group.users:,}, {group.rankings:,} rankings",
        "method",
        *MEASURES,
        "coverage",
        "novelty",
    )
    for name, method in group.methods.items():
        table.add_row(
            name,
            *(_cell(method.measures[each]) for each in MEASURES),
            f"{method.coverage:.1%}",
            f"{method.novelty:.1f} bits",
        )
    return table


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
