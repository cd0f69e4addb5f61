"""An explanation as one page of HTML that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from consumer.explain.facts import Event, Explanation, Part
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
from consumer.report.wording import one_line

_STYLE = """
:root { color-scheme: light dark; --push: #2563a8; --pull: #b4531f; --line: #8886; }
body { font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC",
  "Microsoft YaHei", sans-serif; max-width: 60rem; margin: auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
td:first-child { min-width: 8rem; }
time { display: block; opacity: .7; font-size: .85em; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
svg { width: clamp(3rem, 12vw, 8rem); height: 1rem; }
svg .push { fill: var(--push); } svg .pull { fill: var(--pull); }
.note { opacity: .8; } .wide { overflow-x: auto; }
"""


def page(found: Explanation) -> str:
    """Write an explanation as a page."""
    title = f"Why {one_line(found.user_id, 80)} is in {name(found.segment)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _paragraphs([place(found), *nearness(found)]),
        *_nearest(found),
        *_shares(found),
        *_apart(found),
        *_listed("Events that are known to be in it", unshared(found)),
        *_listed("What would move the user", moves(found)),
        *_listed("Changes", (change_line(change) for change in found.changes)),
        *(f'<p class="note">Note: {escape(note)}.</p>' for note in found.notes),
        f'<p class="note">Read from {escape(found.source)}.</p>',
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _paragraphs(lines: Iterable[str]) -> str:
    return "\n".join(f"<p>{escape(line)}</p>" for line in lines)


def _nearest(found: Explanation) -> Iterable[str]:
    if not found.nearest:
        return
    rows = (
        (escape(name(near.segment)), f"{near.distance:.3f}", signed(near.farther, 3))
        for near in found.nearest
    )
    yield "<h2>The nearest segments</h2>"
    yield _table(("segment", "distance", "farther by"), rows, numbers=(1, 2))


def _shares(found: Explanation) -> Iterable[str]:
    margin = found.margin
    if margin is None:
        return
    yield f"<h2>What makes the margin of {margin.margin:.6f}</h2>"
    yield _paragraphs(
        [
            f"Of {name(margin.nearer)} over {name(margin.farther)}. The shares add up to it; those "
            "above 0 push towards the first."
        ]
    )
    shares = [event.share for event in found.known if event.share is not None]
    most = max(map(abs, [*shares, margin.others, margin.centres, 1e-12]))
    rows = [_row(event, most) for event in found.known]
    rows += [
        (escape(label), signed(share, 6), _bar(share / most), weight)
        for label, share, weight in (
            ("all other events", margin.others, f"{margin.others_weight:.2f}"),
            ("the centres: no event's", margin.centres, ""),
            ("rounding", margin.rounding, ""),
        )
    ]
    yield _table(("event", "share", "", "weight"), rows, numbers=(1, 3))


def _row(event: Event, most: float) -> tuple[str, ...]:
    told = one_line(event.text or event.event_id or found_words(event.found), 400)
    share = "" if event.share is None else signed(event.share, 6)
    bar = "" if event.share is None else _bar(event.share / most)
    return f"{escape(told)} {_time(event)}", share, bar, f"{event.weight:.2f}"


def _time(event: Event) -> str:
    return f"<time>{time_of(event.occurred_at)}</time>"


def _bar(share: float) -> str:
    width = 50 * min(abs(share), 1)
    start, kind = (50, "push") if share >= 0 else (50 - width, "pull")
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{start:.1f}" y="1" width="{width:.1f}" height="8"/></svg>'
    )


def _apart(found: Explanation) -> Iterable[str]:
    taken = [event for event in found.known if event.sentences or event.words]
    if not taken:
        return
    yield "<h2>Which words push</h2>"
    yield _paragraphs(["By how much less a text would push without each part of it."])
    rows = ((_time(event), _parts(event.sentences), _parts(event.words)) for event in taken)
    yield _table(("text of", "sentences", "words"), rows)


def _parts(parts: Iterable[Part]) -> str:
    told = (f"“{escape(one_line(part.text, 120))}” {signed(part.share, 4)}" for part in parts)
    return "<br>".join(told)


def _listed(title: str, lines: Iterable[str]) -> Iterable[str]:
    if told := [f"<li>{escape(line)}</li>" for line in lines]:
        yield f"<h2>{escape(title)}</h2>"
        yield f"<ul>{''.join(told)}</ul>"


def _table(
    head: Iterable[str], rows: Iterable[tuple[str, ...]], *, numbers: Iterable[int] = ()
) -> str:
    """Write a table of cells that are HTML already."""
    right = set(numbers)

    def cell(kind: str, number: int, text: str) -> str:
        return f"<{kind}{' class=number' if number in right else ''}>{text}</{kind}>"

    top = "".join(cell("th", number, escape(text)) for number, text in enumerate(head))
    body = "".join(
        f"<tr>{''.join(cell('td', number, text) for number, text in enumerate(row))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'
