"""A status for people."""

from __future__ import annotations

import io

from rich.table import Table

from consumer.report.terminal import console
from consumer.report.wording import one_line, plural, ranges
from consumer.status.facts import Endpoint, Group, Status


def render(status: Status, width: int | None = None) -> str:
    """Write a status as text.

    Parameters
    ----------
    status
        What to write.
    width
        Columns; those of the terminal where none are given.
    """
    out = io.StringIO()
    page = console(out, width=width or console().width)
    page.print(f"{status.at}, cluster {status.cluster_id or 'unknown'}", highlight=False)
    for group in status.groups:
        page.print()
        page.print(_headline(group), highlight=False, markup=False)
        if group.members:
            page.print(_members(group))
    page.print()
    for line in _others(status):
        page.print(line, highlight=False, markup=False)
    page.print()
    for line in status.attention or ["nothing asks for somebody"]:
        page.print(f"! {line}" if status.attention else line, highlight=False, markup=False)
    return out.getvalue()


def _headline(group: Group) -> str:
    count = plural(len(group.members), "member")
    parts = [
        f"{group.role}: group {group.group_id}, {group.state}, {count}",
        f"{plural(group.lag_records, 'record')} of {group.topic} behind",
    ]
    if group.waits_seconds:
        parts.append(f"the first waits for {duration(group.waits_seconds)}")
    read, written = group.records_per_second, group.written_per_second
    if read is not None and written is not None:
        parts.append(f"{read:,.0f} read and {written:,.0f} written a second")
    if group.seconds_to_go:
        parts.append(f"{duration(group.seconds_to_go)} to go")
    return ", ".join(parts)


def _members(group: Group) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("member", "host", "partitions"):
        table.add_column(name, overflow="fold")
    table.add_column("behind", justify="right")
    lags = {each.number: each.lag_records for each in group.partitions}
    for member in group.members:
        behind = sum(lags.get(number, 0) for number in member.partitions)
        partitions = ranges(member.partitions) or "stands by"
        table.add_row(
            one_line(member.name, 60), one_line(member.host, 40), partitions, f"{behind:,}"
        )
    return table


def _others(status: Status) -> list[str]:
    model, drift = status.model, status.drift
    lines = [
        f"model: version {model.version}, {plural(model.segments, 'segment')}, "
        f"published {_ago(model.published_seconds)}"
        if model is not None
        else "model: none yet"
    ]
    if model is not None and model.rollback_of is not None:
        lines[0] += f", a rollback to version {model.rollback_of}"
    if (frozen := status.frozen) is not None and frozen.frozen:
        since = "unknown" if frozen.since is None else frozen.since.isoformat(timespec="seconds")
        lines[0] += f", frozen since {since} by {frozen.cause}"
    if (switch := status.embedding_switch) is not None:
        lines.append(
            f"embedding model: from {switch.former[:12]} to {switch.next[:12]}; "
            f"{len(switch.switched)} of {switch.partitions} partitions are of the next one, and "
            f"the workers of {len(switch.held)} hold both"
        )
    if drift is not None:
        lines.append(
            f"drift: against what was written up to {drift.reference_set}"
            if drift.reference_set
            else "drift: the reference is being collected"
        )
    for refused in status.refused:
        field = f" ({one_line(refused.field, 40)})" if refused.field else ""
        place = f"{one_line(refused.topic, 80)}[{refused.partition}]@{refused.offset}"
        lines.append(f"refused: {place}, {refused.reason}{field}, {_ago(refused.seconds)}")
    return lines + [_endpoint(each) for each in status.endpoints]


def _endpoint(endpoint: Endpoint) -> str:
    if endpoint.problem is not None:
        return f"{endpoint.address}: {endpoint.problem}"
    told = endpoint.told
    parts = [f"{endpoint.address}: {endpoint.role or 'unknown'}"]
    parts.append("ready" if endpoint.ready else "not ready")
    if told.get("restoring"):
        share = told.get("restore_share")
        left = told.get("restore_eta_seconds")
        parts.append(
            "reads its state back"
            + (f", {share:.0%} done" if isinstance(share, float) else "")
            + (f", {duration(left)} to go" if isinstance(left, int | float) else "")
        )
    return ", ".join(parts)


def _ago(seconds: float | None) -> str:
    return "at a time that is not known" if seconds is None else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it, as in "12 s", "3 min" and "2 h 5 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"
