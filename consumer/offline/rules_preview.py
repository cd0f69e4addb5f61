"""What rules would make of a file of events: `segmenter rules test`."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.table import Table

from consumer.contract import folder as files
from consumer.contract.errors import ExpectedError
from consumer.contract.records import Output
from consumer.offline.files import EventFile, read_records
from consumer.report.terminal import console
from consumer.report.wording import one_line, percent, plural
from consumer.settings import Settings
from consumer.stages.rules.stage import ProfileTold, RuleStage
from models.rules.rule_set import RuleSet
from schemas.profiles import ProfileRecord
from schemas.rule_changes import RuleChange, RuleReason, RuleStatus

_EXAMPLES = 3
_AT_ONCE = 1024


class RulePreview(BaseModel):
    """What became of one rule."""

    model_config = ConfigDict(frozen=True)

    rule: str
    members: int = Field(description="Users who fulfil it in the end.")
    share: float = Field(description="Of all users.")
    entered: int = Field(description="How often somebody came to fulfil it.")
    exited: dict[str, int] = Field(description="How often somebody ceased to, by reason.")
    examples: list[RuleChange] = Field(description="The latest who entered and are in it.")


class Preview(BaseModel):
    """What rules made of a file."""

    model_config = ConfigDict(frozen=True)

    users: int
    events: int
    refused: int
    until: datetime | None = Field(description="The latest event time; windows end by it.")
    rules: list[RulePreview]


@dataclass
class _Clock:
    """Gives the latest event time, so that two runs tell the same."""

    stage: RuleStage | None = None

    def __call__(self) -> datetime:
        time = self.stage.reached(0) if self.stage is not None else None
        return time or datetime(1970, 1, 1, tzinfo=UTC)


def profiles_of(folder: Path) -> dict[str, ProfileTold]:
    """Read what a replay has learned of its users, as of its end.

    Raises
    ------
    ExpectedError
        If there is no replay.
    """
    path, found = folder / files.PROFILES, {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                record = ProfileRecord.model_validate_json(line)
                found[record.user_id] = ProfileTold.of_record(record)
    except (OSError, ValidationError) as error:
        detail = error.strerror if isinstance(error, OSError) else "a line is no profile"
        raise ExpectedError(f"{path} cannot be read: {detail}; give a replay's folder") from None
    return found


def preview(
    settings: Settings,
    rules: RuleSet,
    events: EventFile,
    *,
    profiles: dict[str, ProfileTold] | None = None,
    now: datetime,
    progress: Callable[[int], None],
    sink: Callable[[RuleChange], None] = lambda _: None,
) -> Preview:
    """Follow the users of a file under rules.

    Parameters
    ----------
    settings
        How events are read.
    rules
        The rules.
    events
        The file.
    profiles
        What is known of users beside it, for rules that ask.
    now
        What event times in the future are told by.
    progress
        Told of records as they are done.
    sink
        Takes the changes, in their order.
    """
    clock = _Clock()
    stage = RuleStage(settings, rules, clock, lambda: now)
    clock.stage = stage
    restoration = stage.restoration(0)
    restoration.profiles = dict(profiles or {})
    stage.assigned(0, restoration)
    entered: Counter[str] = Counter()
    exited: dict[str, Counter[str]] = {name: Counter() for name in rules.names}
    latest: dict[str, dict[str, RuleChange]] = {name: {} for name in rules.names}

    def take(outputs: Iterable[Output]) -> None:
        stage.committed()
        for output in outputs:
            if output.topic != settings.topics.rule_changes:
                continue
            change = RuleChange.model_validate_json(output.value or b"")
            if change.status is RuleStatus.ENTERED:
                entered[change.rule] += 1
                latest[change.rule][change.user_id] = change
            else:
                exited[change.rule][change.reason] += 1
                latest[change.rule].pop(change.user_id, None)
            sink(change)

    records = read_records(events, settings.topics.events, settings.events.intake())
    for batch in iter(lambda: list(islice(records, _AT_ONCE)), []):
        take(stage.apply(stage.prepare(batch), frozenset({0})))
        while (outputs := stage.maintain(idle=True)) is not None:
            take(outputs)
        progress(len(batch))
    users = len(stage.table(0))
    return Preview(
        users=users,
        events=stage.stats.events["counted"],
        refused=stage.stats.events["refused"],
        until=stage.reached(0),
        rules=[
            RulePreview(
                rule=name,
                members=len(latest[name]),
                share=len(latest[name]) / users if users else 0,
                entered=entered[name],
                exited=dict(sorted(exited[name].items())),
                examples=[*latest[name].values()][-_EXAMPLES:],
            )
            for name in rules.names
        ],
    )


def render(found: Preview, rules: RuleSet, *, asks_in_vain: Sequence[str] = ()) -> str:
    """Write it for people.

    Parameters
    ----------
    found
        What was found.
    rules
        The rules.
    asks_in_vain
        Those that ask for what nothing tells of here.
    """
    out = io.StringIO()
    page = console(out, width=console().width)
    table = Table(box=None, pad_edge=False)
    table.add_column("rule", no_wrap=True)
    for head in ("users", "share", "entered", "left", "by time"):
        table.add_column(head, justify="right")
    for each in found.rules:
        left = sum(each.exited.values())
        by_time = each.exited.get(RuleReason.TIME_PASSED, 0)
        share = percent(each.members, found.users)
        figures = (f"{each.members:,}", share, f"{each.entered:,}", f"{left:,}", f"{by_time:,}")
        table.add_row(each.rule, *figures)
    until = f", up to {found.until:%Y-%m-%d %H:%M}" if found.until else ""
    refused = f", {found.refused:,} refused" if found.refused else ""
    lines = [f"{plural(found.users, 'user')}, {plural(found.events, 'event')}{refused}{until}", ""]
    page.print("\n".join(lines), highlight=False, markup=False)
    if found.rules:
        page.print(table)
    for name, rule in zip(rules.names, rules.rules, strict=True):
        each = next(one for one in found.rules if one.rule == name)
        page.print(f"\n{name}: {one_line(rule.source, 200)}", highlight=False, markup=False)
        for change in each.examples:
            facts = ", ".join(f"{text} is {_shown(value)}" for text, value in change.facts.items())
            since = f"{change.effective_at:%Y-%m-%d}"
            told = f"  {one_line(change.user_id, 40)} since {since}: {facts}"
            page.print(told, highlight=False, markup=False, soft_wrap=True)
    if asks_in_vain:
        page.print(
            f"\n{', '.join(asks_in_vain)}: segment, label and words are known of nobody here; give "
            "--replay with the folder of a replay of this file",
            highlight=False,
            markup=False,
        )
    return out.getvalue()


def _shown(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.2f}"
    return one_line(str(value), 60)


@contextmanager
def lines_into(path: Path | None) -> Iterator[Callable[[RuleChange], None]]:
    """Give what writes changes as JSON lines; without a path it writes nothing.

    Raises
    ------
    ExpectedError
        If the file cannot be made.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        stream = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ExpectedError(f"{path} cannot be written: {error.strerror}") from None
    with stream:
        yield lambda change: print(change.model_dump_json(), file=stream)
