"""Versions for people."""

from __future__ import annotations

import io
from datetime import datetime

from rich.table import Table

from consumer.report.terminal import console
from consumer.report.wording import one_line, percent, plural
from consumer.versions.facts import RollbackPreview, Segment, Version, VersionDetails, Versions

_ANSWERS = 5


def render_versions(found: Versions) -> str:
    """Write which versions there are, and how the model stands."""
    out = io.StringIO()
    page = console(out, width=console().width)
    table = Table(box=None, pad_edge=False)
    table.add_column("version", justify="right")
    table.add_column("made", no_wrap=True)
    table.add_column("by")
    table.add_column("segments", justify="right")
    table.add_column("users", justify="right")
    table.add_column("")
    for each in found.versions:
        marks = [
            *(["in force"] if each.in_force else []),
            *(["provisional"] if each.provisional else []),
            *([] if each.kept else ["not kept"]),
        ]
        table.add_row(
            str(each.version),
            _time(each.at),
            _origin(each),
            str(each.segments),
            f"{each.users:,}",
            ", ".join(marks),
        )
    if found.versions:
        page.print(table)
    else:
        page.print("there is no version yet", highlight=False)
    lines = [_frozen(found)]
    for order in found.waiting:
        what = _order(order.action, order.version)
        lines.append(f"waits for a trainer: {what}, {_by(order.by)} {_time(order.at)}")
    for answer in found.answers[:_ANSWERS]:
        what = _order(answer.action, answer.version)
        came = answer.detail if answer.done else f"refused: {answer.detail}"
        lines.append(f"{_time(answer.at)}, {what} {_by(answer.by)}: {one_line(came, 200)}")
    page.print()
    for line in lines:
        page.print(line, highlight=False, markup=False)
    return out.getvalue()


def _frozen(found: Versions) -> str:
    if not found.frozen:
        return "not frozen: new versions are learned"
    return (
        f"frozen since {_time(found.frozen_since)}, by {found.frozen_by}: no new version is "
        "learned until 'segmenter models unfreeze'"
    )


def _order(action: str, version: int | None) -> str:
    return one_line(action, 40) + (f" {version}" if version is not None else "")


def _by(name: str) -> str:
    return f"by {one_line(name, 80)}" if name else "by somebody"


def _origin(version: Version) -> str:
    return (
        f"rollback to {version.rollback_of}" if version.rollback_of is not None else version.origin
    )


def _time(at: datetime | None) -> str:
    return "unknown" if at is None else at.isoformat(sep=" ", timespec="seconds")


def render_details(found: VersionDetails) -> str:
    """Write all of a version."""
    out = io.StringIO()
    page = console(out, width=console().width)
    marks = [
        *(["in force"] if found.in_force else []),
        *(["provisional"] if found.provisional else []),
        *([] if found.kept else ["not kept"]),
    ]
    head = f"version {found.version}, made {_time(found.at)} by {_origin(found)}"
    page.print(", ".join([head, *marks]), highlight=False, markup=False)
    page.print(
        f"embedding model {found.embedding[:12]}, {found.dimensions} dimensions",
        highlight=False,
    )
    page.print()
    page.print(_segments(found.members))
    if found.transitions:
        page.print()
    for each in found.transitions:
        page.print(
            f"{each.type} {each.segment}, {one_line(each.label, 80)}: {each.size_before:,} "
            f"sampled users before, {each.size:,} in it",
            highlight=False,
            markup=False,
        )
    if found.settings:
        page.print()
        settings = ", ".join(f"{name} = {value}" for name, value in sorted(found.settings.items()))
        page.print(f"learned with training: {settings}", highlight=False, markup=False)
    return out.getvalue()


def _segments(segments: list[Segment]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("name")
    table.add_column("users", justify="right")
    table.add_column("since", justify="right")
    table.add_column("words", overflow="fold")
    for each in segments:
        words = one_line(", ".join(each.words), 120)
        table.add_row(
            str(each.id), one_line(each.name, 80), f"{each.users:,}", str(each.since), words
        )
    return table


def render_preview(found: RollbackPreview) -> str:
    """Write what a rollback would change."""
    lines = [
        f"version {found.becomes} would be published, with the segments of version "
        f"{found.version}; version {found.in_force} is in force"
    ]
    for told, segments in (("comes back", found.restored), ("goes away", found.retired)):
        for each in segments:
            users = plural(each.users, "sampled user")
            lines.append(f"{told}: segment {each.id}, {one_line(each.name, 80)}, {users}")
    lines += [
        f"is called {one_line(each.name, 80)} again: segment {each.id}, {one_line(each.former, 80)}"
        for each in found.renamed
    ]
    if found.moved_of_all is None:
        lines.append("how many users would move is not known: the trainer's sample is empty")
    else:
        lines.append(
            f"nearest to another segment: {found.moved:,} of "
            f"{plural(found.users, 'sampled user')} ({percent(found.moved, found.users)}), so "
            f"about {found.moved_of_all:,} of all; who is nearly as near to the present one stays"
        )
    lines.append(
        "the model is frozen, and stays so"
        if found.frozen
        else "the model would be frozen: no new version until 'segmenter models unfreeze'"
    )
    return "".join(f"{line}\n" for line in lines)
