"""The report as one web page: no network, no script, readable by day and by night."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from importlib import resources

from consumer.report.wording import one_line, percent, plural
from consumer.tryout.demo.contents import ReportData, further_words, tell_life, top_flows
from consumer.tryout.demo.story import tell
from schemas.segment_model import SegmentRecord

# What users wrote is escaped. Should a mistake ever let markup through, the browser is told to load
# and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_page(data: ReportData, light: bytes, dark: bytes) -> str:
    """Render the page; `light` and `dark` are the map as PNG for either background."""
    title = f"{plural(data.counts.users, 'user')} in {plural(len(data.model.segments), 'segment')}"
    body = "\n".join(
        [
            f"<h1>{_safe(title)}</h1>",
            f'<p class="faint">{_safe(data.source)}</p>',
            _figures(data),
            _picture(light, dark),
            "<h2>Segments</h2>",
            _segments(data),
            _lives(data),
            _story(data),
            _flows(data),
            _refused(data),
            _paths(data),
        ]
    )
    style = (resources.files(__package__) / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_safe(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _safe(text: object, limit: int = 400) -> str:
    """Escape a text for any place of the page, in one line without control characters."""
    return escape(one_line(str(text), limit), quote=True)


def _quote(text: str) -> str:
    # <bdi> keeps a text that is written from right to left from turning its neighbours round.
    return f"<bdi>{_safe(text, 160)}</bdi>"


def _figures(data: ReportData) -> str:
    counts = data.counts
    figures = [
        (f"{counts.events:,}", "events"),
        (f"{counts.events_per_second:,.0f}", "events a second"),
        (f"{counts.accepted:,}", "accepted"),
        (f"{counts.repeated:,}", "repeated"),
        (f"{counts.refused_total:,}", "refused"),
        (f"{data.changes.total:,}", "segment changes"),
    ]
    cells = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in figures)
    note = (
        f"{data.changes.entered:,} times a user entered a first segment, "
        f"{data.changes.switched_by_behaviour:,} times one moved by behaviour and "
        f"{data.changes.switched_by_model:,} times by new segments; {data.changes.exited:,} left."
    )
    parts = [f'<div class="figures">{cells}</div>', f"<p>{note}</p>"]
    for evaluation in data.evaluations:
        agreement = evaluation.agreement
        parts.append(
            f"<p>Agreement with {_safe(evaluation.against)}, over "
            f"{plural(agreement.users, 'user')}: V-measure <b>{agreement.v_measure:.3f}</b>, "
            f"adjusted Rand {agreement.adjusted_rand:.3f}, purity {agreement.purity:.3f}.</p>"
        )
    return "\n".join(parts)


def _picture(light: bytes, dark: bytes) -> str:
    return (
        '<picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{_data_url(dark)}">'
        f'<img src="{_data_url(light)}" alt="Users as points, coloured by segment"></picture>'
    )


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _segments(data: ReportData) -> str:
    records = {record.id: record for record in data.model.segments}
    shares = data.shares()
    largest = max(shares.values())
    rows = [_segment(data, records[segment], users, largest) for segment, users in shares.items()]
    if outside := data.without_segment():
        rows.append(["", "no segment", f"{outside:,}", percent(outside, len(data.user_ids))])
    return _table(["id", "segment", "users", "share"], rows, numbers={0, 2})


def _segment(data: ReportData, record: SegmentRecord, users: int, largest: int) -> list[str]:
    quotes = "".join(
        f'<p class="quote faint">{_quote(text)}</p>'
        for text in data.typical_texts.get(record.id, ())
    )
    width = round(100 * users / largest) if largest else 0
    return [
        str(record.id),
        f"<b>{_safe(record.label)}</b><br>{_safe(', '.join(further_words(record)))}{quotes}",
        f"{users:,}",
        f"{percent(users, len(data.user_ids))}"
        f'<div class="bar"><i style="width:{width}%"></i></div>',
    ]


def _lives(data: ReportData) -> str:
    rows = [
        [f"{event.version}", f"{event.segment}", _safe(event.label), _safe(tell_life(data, event))]
        for event in data.lifecycle
    ]
    if not rows:
        return ""
    table = _table(["version", "id", "segment", "what became of it"], rows, numbers={0, 1})
    return f"<h2>The lives of segments</h2>\n{table}"


def _story(data: ReportData) -> str:
    telling = tell(data.story) if data.story else None
    if telling is None:
        return ""
    scenes = "".join(
        f"<h3>{_safe(scene.heading)}</h3>"
        + "".join(
            f'<p class="quote">{_quote(quote)} <span class="faint">{_safe(when)}</span></p>'
            for when, quote in scene.texts
        )
        for scene in telling.scenes
    )
    history = "".join(f"<li>{_safe(line)}</li>" for line in telling.history)
    return (
        '<h2>One user\'s story</h2>\n<div class="story">'
        f"<p><b>{_safe(telling.headline)}</b></p><p>{_safe(telling.reason)}</p>{scenes}"
        f"<h3>All changes</h3><ol>{history}</ol></div>"
    )


def _flows(data: ReportData) -> str:
    rows = [
        [_safe(data.label(old)), _safe(data.label(new)), f"{count:,}"]
        for old, new, count in top_flows(data.changes, limit=10)
    ]
    if not rows:
        return ""
    table = _table(["from", "to", "moves"], rows, numbers={2})
    return f"<h2>Busiest ways between segments</h2>\n{table}"


def _refused(data: ReportData) -> str:
    reasons = sorted(data.counts.refused.items(), key=lambda item: (-item[1], item[0]))
    if not reasons:
        return ""
    rows = [[_safe(reason), f"{count:,}"] for reason, count in reasons]
    return f"<h2>Refused records</h2>\n{_table(['reason', 'records'], rows, numbers={1})}"


def _paths(data: ReportData) -> str:
    rows = [[_safe(name), f"<code>{_safe(path)}</code>"] for name, path in data.paths.items()]
    return f"<h2>Files</h2>\n{_table(['what', 'where'], rows)}" if rows else ""


def _table(
    heads: Iterable[str],
    rows: Iterable[Iterable[str]],
    numbers: frozenset[int] | set[int] = frozenset(),
) -> str:
    """Lay out cells that are HTML already; the columns in `numbers` are aligned to the right."""

    def cells(tag: str, values: Iterable[str]) -> str:
        return "".join(
            f'<{tag} class="number">{value}</{tag}>'
            if column in numbers
            else f"<{tag}>{value}</{tag}>"
            for column, value in enumerate(values)
        )

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", heads)}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
