"""An explanation for a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from consumer.explain.facts import Event, Explanation, Margin, Part
from consumer.explain.wording import (
    change_line,
    found_words,
    moves,
    name,
    nearness,
    place,
    signed,
    time_of,
    unshared,
)
from consumer.report.terminal import FittedTable, console
from consumer.report.wording import one_line

_BAR = 10
_TEXT = 100


def render(found: Explanation, width: int | None = None) -> str:
    """Write an explanation as text, in so many columns, or those of the terminal."""
    out = io.StringIO()
    page = console(out, width=width or console().width)
    _say(page, place(found))
    for line in nearness(found):
        _say(page, line)
    if found.nearest:
        table = FittedTable("", "segment", "distance", "farther by")
        for near in found.nearest:
            table.add_row(name(near.segment), f"{near.distance:.3f}", signed(near.farther, 3))
        _part(page, table)
    if found.margin is not None:
        _part(page, _shares(found, found.margin))
    taken = [event for event in found.known if event.sentences or event.words]
    _listed(page, "Which words push, by leaving each out", map(_apart, taken))
    _listed(page, "Events that are known to be in it", unshared(found))
    _listed(page, "What would move the user", moves(found))
    _listed(page, "Changes", map(change_line, found.changes))
    _listed(page, "", (f"Note: {note}." for note in found.notes))
    return out.getvalue()


def _shares(found: Explanation, margin: Margin) -> FittedTable:
    title = (
        f"What makes the margin of {margin.margin:.6f}, of {name(margin.nearer)} over "
        f"{name(margin.farther)}"
    )
    table = FittedTable(title, "event", "share", "", "weight", left=("",))
    most = max(
        [abs(event.share) for event in found.known if event.share is not None]
        + [abs(margin.centres), abs(margin.others), 1e-12]
    )
    for event in found.known:
        told = one_line(event.text or event.event_id or found_words(event.found), _TEXT)
        table.add_row(
            f"{time_of(event.occurred_at)}  {told}",
            "" if event.share is None else signed(event.share, 6),
            "" if event.share is None else _bar(event.share / most),
            f"{event.weight:.2f}",
        )
    others = f"{margin.others_weight:.2f}"
    for label, share, weight in (
        ("all other events", margin.others, others),
        ("the centres: no event's", margin.centres, ""),
        ("rounding", margin.rounding, ""),
    ):
        table.add_row(label, signed(share, 6), _bar(share / most), weight)
    return table


def _bar(share: float) -> str:
    length = round(abs(share) * _BAR)
    return ("█" * length) if share >= 0 else ("-" * length)


def _apart(event: Event) -> str:
    parts = [", ".join(map(_told, each)) for each in (event.sentences, event.words) if each]
    return f"{time_of(event.occurred_at)}: {'; of these, '.join(parts)}"


def _told(part: Part) -> str:
    return f"“{one_line(part.text, 60)}” {signed(part.share, 4)}"


def _listed(page: Console, title: str, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        if not number:
            page.print()
            if title:
                page.print(Text(title, style="bold"))
        _say(page, f"  {line}" if title else line)


def _part(page: Console, table: FittedTable) -> None:
    page.print()
    page.print(table)


def _say(page: Console, line: str) -> None:
    page.print(line, highlight=False, markup=False)
