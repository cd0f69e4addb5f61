"""The summary at the end of a demo, for a terminal or a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from consumer.report.wording import one_line, percent, plural
from consumer.tryout.demo.contents import ReportData, further_words, top_flows
from consumer.tryout.demo.story import tell
from schemas.segment_model import SegmentRecord

_BAR_CHARS = 12
_WORDS = 6
_WIDEST = 100


def render_summary(console: Console, data: ReportData) -> None:
    """Print what a run did: segments, one user's story, agreement, dead letters, files.

    Reads well from 80 columns on. Everything goes to the console as `Text`, so that what users
    wrote is never read as markup, and without characters that would move the cursor.
    """
    width = min(console.width, _WIDEST)
    console.print()
    _heading(console, width, f"Segments of {plural(data.counts.users, 'user')}")
    console.print(_segments(data), width=width)
    console.print()
    _story(console, width, data)
    _flows(console, width, data)
    _figures(console, width, data)


def _heading(console: Console, width: int, title: str) -> None:
    rule = Rule(Text(title, style="bold"), align="left", style="dim")
    console.print(rule, width=width)


def _indented(console: Console, width: int, content: Text | Table) -> None:
    console.print(Padding(content, (0, 0, 0, 2)), width=width)


def _segments(data: ReportData) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), expand=True)
    table.add_column("id", justify="right", style="dim", no_wrap=True)
    table.add_column("segment", ratio=1)
    table.add_column("users", justify="right", no_wrap=True)
    table.add_column("share", no_wrap=True, width=_BAR_CHARS + 5)
    records = {record.id: record for record in data.model.segments}
    sizes = data.map.sizes()
    largest = max(sizes.values())
    for segment, users in sizes.items():
        table.add_row(
            str(segment),
            _description(data, records[segment]),
            f"{users:,}",
            _share(users, largest, data.counts.users),
        )
    if outside := data.map.outside:
        share = _share(outside, max(largest, outside), data.counts.users)
        table.add_row("-", Text("no segment", style="dim"), f"{outside:,}", share)
    return table


def _description(data: ReportData, record: SegmentRecord) -> Text:
    """Label, further typical words, and one text."""
    text = Text(one_line(record.label, 60), style="bold")
    if words := further_words(record, _WORDS):
        text.append("\n" + one_line(", ".join(words), 100), style="not bold")
    if typical := data.typical_texts.get(record.id):
        text.append(f"\n“{one_line(typical[0], 130)}”", style="not bold dim italic")
    return text


def _share(users: int, largest: int, total: int) -> Text:
    """Draw a bar beside the share; the largest segment fills it."""
    length = round(_BAR_CHARS * users / largest) if largest else 0
    bar = "█" * max(length, 1 if users else 0)
    return Text.assemble((bar.ljust(_BAR_CHARS), "cyan"), f"{percent(users, total):>5}")


def _story(console: Console, width: int, data: ReportData) -> None:
    telling = tell(data.story) if data.story else None
    if telling is None:
        return
    _heading(console, width, "One user's story")
    _indented(console, width, Text(telling.headline, style="bold"))
    _indented(console, width, Text(telling.reason))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True, justify="right")
    table.add_column(ratio=1)
    for scene in telling.scenes:
        for number, (when, quote) in enumerate(scene.texts):
            heading = scene.heading if number == 0 else ""
            table.add_row(heading, when, Text(quote, style="italic"))
    _indented(console, width, table)
    console.print()


def _flows(console: Console, width: int, data: ReportData) -> None:
    flows = top_flows(data.changes)
    if not flows:
        return
    _heading(console, width, "Busiest ways between segments")
    most = len(f"{flows[0][2]:,}")
    for old, new, count in flows:
        way = f"{one_line(data.label(old), 40)} → {one_line(data.label(new), 40)}"
        _indented(console, width, Text.assemble((f"{count:>{most},}", "cyan"), f"  {way}"))
    console.print()


def _figures(console: Console, width: int, data: ReportData) -> None:
    counts, timing, changes = data.counts, data.timing, data.changes
    _heading(console, width, "Figures")
    rows = [
        (
            "events",
            f"{counts.records:,} = {counts.accepted:,} accepted + {counts.repeated:,} repeated "
            f"+ {counts.refused:,} refused",
        ),
        (
            "speed",
            f"{data.events_per_second:,.0f} events/s: {timing.seconds:,.1f} s from the first one "
            f"sent to the last one committed; apart from that {timing.startup_seconds:,.0f} s to "
            f"start and {timing.settling_seconds:,.0f} s to settle",
        ),
        (
            "changes",
            f"{changes.total:,}: {changes.entered:,} entered, {changes.switched_by_behaviour:,} "
            f"moved by behaviour, {changes.switched_by_model:,} by new segments, "
            f"{changes.exited:,} left",
        ),
    ]
    if lives := data.lives():
        told = ", ".join(f"{count:,} {kind}" for kind, count in lives.items())
        rows.append(("segments", f"{told}, in {plural(data.model.version, 'version')}"))
    if data.refused:
        reasons = [f"{reason} {count:,}" for reason, count in data.refused.items()]
        rows.append(("refused", ", ".join(reasons)))
    if (found := data.agreement) is not None:
        rows.append(
            (
                "agreement",
                f"V-measure {found.v_measure:.3f}, adjusted Rand {found.adjusted_rand:.3f}, "
                f"purity {found.purity:.3f}: {plural(found.users, 'user')} against {data.against}",
            )
        )
    rows += [(name, str(path)) for name, path in data.paths.items()]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    _indented(console, width, table)
    console.print()
