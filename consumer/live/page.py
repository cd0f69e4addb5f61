"""`segmenter watch` as lines of text, for a terminal of any size, or for none.

Every text that others have written goes through `one_line`, every width is in columns of the
terminal, and nothing is told by a colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from consumer.live.changes import Published, move, padded
from consumer.live.watcher import SegmentRow, View
from consumer.report.wording import one_line, percent, plural
from consumer.status.facts import DriftTest, Endpoint, Group, Status
from consumer.status.render import duration

_BARS = "▁▂▃▄▅▆▇█"
_STALE_SECONDS = 10.0
# Segments and changes have this many lines each, where there are so many, before one has more.
_LEAST_LINES = 3
_LEAST_NAME = 16
_NUMBER, _USERS, _SHARE, _FLOW, _LINE = 5, 9, 6, 13, 20
_LEAST_MOVE = 24
"""With less room for the names of two segments their ids are told."""
_NO_SEGMENT = "  none yet: is a trainer running, and are there users?"
_READING = "  reading who is in them ..."
_MOST_ATTENTION = 4
_LOW = 16
"""A terminal of fewer lines than that has the rest alone, without lags and further warnings."""
_NARROW = 60
"""One of fewer columns has times without their day, what matters most first, and no flows."""


def page(view: View, width: int, height: int | None, trouble: str | None = None) -> list[Text]:
    """Write what is seen as lines, none of them wider than the terminal.

    Parameters
    ----------
    view
        What is seen.
    width, height
        Columns and lines; without a height all that is known is written.
    trouble
        What stands in the way of something newer, where the view does not know it.
    """
    low = height is not None and height < _LOW
    head = [
        _title(view, width),
        *_warnings(view, trouble or view.trouble, 1 if low else _MOST_ATTENTION),
    ]
    if view.status is None:
        return [_fitted(line, width) for line in head][:height]
    groups = [_group(group, view, width) for group in view.status.groups]
    if not low:
        lags = (_lags(group, width) for group in view.status.groups if len(group.partitions) > 1)
        groups += lags
    tail = [_drift(view.status), _refused(view)]
    segments = [_segment(row, view, width) for row in view.segments]
    changes = [_change(each, width) for each in view.changes]
    headings = [_segments_heading(view, width), Text("Latest changes", "bold")]
    fixed = len(head) + len(groups) + len(headings) + len(tail)
    room = None if height is None else max(height - fixed, 0)
    many, few = _shared(len(segments), max(len(changes), 1), room)
    lines = [
        *head,
        *groups,
        headings[0],
        *(_cut(segments, many) or [Text(_NO_SEGMENT if view.reading == 1 else _READING)]),
        headings[1],
        *(changes[:few] if changes else [Text(f"  none in the last {_window(view)}")]),
        *tail,
    ]
    return [_fitted(line, width) for line in lines][:height]


def _shared(segments: int, changes: int, room: int | None) -> tuple[int, int]:
    """Share lines out: segments first, as long as some are left for the changes."""
    if room is None:
        return segments, changes
    many = min(segments, max(room - min(changes, _LEAST_LINES), min(room, _LEAST_LINES)))
    return many, max(room - max(many, 1), 0)


def _cut(lines: list[Text], room: int) -> list[Text]:
    """Leave out what there is no room for, and say so."""
    if len(lines) <= room or not room:
        return lines[:room]
    return [*lines[: room - 1], Text(f"  and {len(lines) - room + 1:,} more", "dim")]


def _fitted(line: Text, width: int) -> Text:
    line.truncate(max(width, 1), overflow="ellipsis")
    line.no_wrap = True
    return line


# --- the head -----------------------------------------------------------------------------------


def _title(view: View, width: int) -> Text:
    status = view.status
    text = Text("segmenter", "bold")
    if view.at:
        form = "%H:%M:%S" if width < _NARROW else "%Y-%m-%d %H:%M:%S UTC"
        text.append(f"  {datetime.fromtimestamp(view.at, UTC):{form}}", "default")
    if status is None:
        return text.append("  asking Kafka ...")
    if (model := status.model) is None:
        return text.append("  no segment model yet")
    text.append(f"  model {model.version}: {plural(model.segments, 'segment')}")
    if model.published_seconds is not None:
        text.append(f", {duration(model.published_seconds)} old")
    if model.rollback_of is not None:
        text.append(f", a rollback to {model.rollback_of}")
    if status.frozen is not None and status.frozen.frozen:
        text.append(", frozen")
    return text


def _warnings(view: View, trouble: str | None, most: int) -> Iterator[Text]:
    if trouble is not None:
        old = datetime.now(UTC).timestamp() - view.at
        since = f" (the rest is {duration(old)} old)" if view.status and old > 1 else ""
        yield Text(f"! {one_line(trouble, 400)}{since}", "bold red")
    if view.status is not None:
        found = view.status.attention
        for number, each in enumerate(found[:most], 1):
            more = f" (and {len(found) - most} more)" if number == most < len(found) else ""
            yield Text(f"!{more} {one_line(each, 400)}", "yellow")


# --- groups -------------------------------------------------------------------------------------


def _group(group: Group, view: View, width: int) -> Text:
    text = Text(f"{group.role:<8}", "bold")
    rates = view.rates.get(group.role, ())
    members = plural(len(group.members), "member")
    state = "" if group.state == "stable" else f", {group.state.replace('_', ' ')}"
    parts = [f"{members}{state}"]
    if group.records_per_second is not None and group.written_per_second is not None:
        parts.append(
            f"reads {group.records_per_second:,.0f}/s of {group.written_per_second:,.0f}/s"
        )
    parts.append(f"{group.lag_records:,} behind")
    if group.seconds_to_go:
        parts[-1] += f", {duration(group.seconds_to_go)} to go"
    elif group.waits_seconds:
        parts[-1] += f", the first for {duration(group.waits_seconds)}"
    said = "; ".join(reversed(parts) if width < _NARROW else parts)
    room = width - cell_len(said) - 10
    text.append(said, "default")
    if len(rates) > 1 and room >= 5:
        text.append("  " + spark(rates[-min(room, 40) :], least=0.0), "cyan")
    return text


def _lags(group: Group, width: int) -> Text:
    """Tell the lag by partition: a bar for each, and the largest in numbers."""
    lags = {each.number: each.lag_records for each in group.partitions}
    text = Text(f"{group.role} lag by partition  ")
    bars = spark([float(lags[number]) for number in sorted(lags)], least=0.0)
    if cell_len(bars) < width // 2:
        text.append(bars, "cyan")
        text.append("  ")
    largest = sorted(((lag, -number) for number, lag in lags.items() if lag), reverse=True)
    told = [f"{-number}: {lag:,}" for lag, number in largest]
    if len(told) < len(lags):
        told.append("all others 0" if told else f"{min(lags)} to {max(lags)}: 0")
    return text.append("  ".join(told))


# --- segments -----------------------------------------------------------------------------------


def _columns(width: int) -> tuple[int, int, int]:
    """Give the columns of a segment's name, of its flows, and of its line; 0 for none."""
    flow = 0 if width < _NARROW else _FLOW
    others = _NUMBER + _USERS + _SHARE + flow
    line = _LINE if width - others - _LINE - 1 >= _LEAST_NAME else 0
    line = line if flow else 0
    return max(width - others - line - 1, _LEAST_NAME), flow, line


def _segments_heading(view: View, width: int) -> Text:
    name, flow, line = _columns(width)
    title = "Segments" if view.reading == 1 else f"Segments, {view.reading:.0%} read"
    users = "sampled" if view.sampled else "users"
    text = Text(padded(f"{'id':>{_NUMBER - 1}} {title}", _NUMBER + name), "bold")
    text.append(f"{users:>{_USERS}}{'share':>{_SHARE}}")
    text.append(f"{'in/out':>{flow}} " if flow else " ")
    return text.append(_window(view) if line else "")


def _segment(row: SegmentRow, view: View, width: int) -> Text:
    name, flow, line = _columns(width)
    all_users = sum(each.users for each in view.segments)
    text = Text(f"{row.id:>{_NUMBER - 1}} ")
    text.append(set_cell_size(one_line(row.name, 200), name), "bold")
    text.append(f"{row.users:>{_USERS},}{percent(row.users, all_users):>{_SHARE}}")
    if flow:
        text.append(f"{f'+{_short(row.entered)} -{_short(row.left)}':>{flow}} ")
    if line:
        text.append(spark([float(users) for users in row.history]), "cyan")
    return text


def _short(count: int) -> str:
    """Write a count in five columns at most, as in 9,999, 12k and 3.4M."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"


def _window(view: View) -> str:
    return f"{view.minutes:g} min"


def spark(values: Sequence[float], least: float | None = None) -> str:
    """Draw numbers as bars of eight heights, from the least of them (or a given one) to the most.

    Without a difference between them there is none to be seen.
    """
    low = min(values) if least is None else least
    span = max(values) - low
    if span <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


# --- changes, drift, dead letters ---------------------------------------------------------------


def _change(published: Published, width: int) -> Text:
    change = published.change
    narrow = width < _NARROW
    text = Text(f"  {change.changed_at.astimezone(UTC):{'%H:%M' if narrow else '%H:%M:%S'}} ")
    user = 12 if narrow else min(max(width // 6, 8), 24)
    text.append(set_cell_size(one_line(change.user_id, 80), user), "bold")
    reason = one_line(str(change.reason), 40)
    where = max(width - text.cell_len - 1 - 17, 9)
    told = move(change, max((where - 13) // 2, 8) if change.previous_segment else where - 8)
    if where < _LEAST_MOVE:
        places = [change.previous_segment, change.segment]
        told = " → ".join("none" if each is None else str(each.id) for each in places)
    text.append(" " + set_cell_size(told, where))
    return text.append(f" {reason}", "dim")


def _drift(status: Status) -> Text:
    text = Text("Drift    ", "bold")
    found = [(each, name, test) for each in status.endpoints for name, test in each.drift.items()]
    if not found:
        if status.drift is None:
            return text.append("no reference yet", "default")
        against = status.drift.reference_set
        said = f"against texts up to {_minute(against)}" if against else "collects a reference"
        text.append(said, "default")
        return text.append("; a trainer's --workers HOST:PORT tells how far", "dim")
    for endpoint, name, test in found:
        text.append(_test(endpoint, name, test), "bold red" if test.alarm else "default")
    return text


def _minute(time: str) -> str:
    """Leave of a time in ISO 8601 what a person asks for."""
    return one_line(time, 40)[:16].replace("T", " ")


def _test(endpoint: Endpoint, name: str, test: DriftTest) -> str:
    alarm = f" ALARM at {endpoint.address}" if test.alarm else ""
    if test.statistic is None or test.threshold is None:
        return f"{one_line(name, 40)} -{alarm}  "
    return f"{one_line(name, 40)} {test.statistic:.3g} of {test.threshold:.3g}{alarm}  "


def _refused(view: View) -> Text:
    text = Text("Refused  ", "bold")
    told = ", ".join(f"{one_line(reason, 40)} {n:,}" for reason, n in view.refused.items())
    return text.append(f"{told or 'none'} in {_window(view)}", "default")
