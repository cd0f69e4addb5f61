"""The page as one file of HTML: page.html.j2 filled, with its style, its scripts and its charts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from consumer.page.compose import Page
from consumer.page.graph import KINDS, share_in_words
from consumer.page.vega import vega_script
from consumer.report.wording import one_line, plural

_LONGEST = 400

PARTS = (
    ("segments", "What the segments are"),
    ("words", "Which words tell them apart"),
    ("items", "What they choose"),
    ("users", "Who is in them"),
    ("relations", "How they are related"),
    ("lately", "What has changed lately"),
    ("history", "How it came to be"),
    ("why", "Why users moved"),
    ("trust", "Whether to trust it"),
    ("input", "What came in"),
)

_MEASURES = (
    ("silhouette", "higher", "silhouette"),
    ("simplified silhouette", "higher", "simplified_silhouette"),
    ("cohesion", "lower", "cohesion"),
    ("separation", "higher", "separation"),
    ("Davies-Bouldin", "lower", "davies_bouldin"),
)

# As Vega draws its shapes, within a square of 12.
_PATHS = {
    "circle": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
    "square": "M-4.4,-4.4h8.8v8.8h-8.8z",
    "triangle-up": "M0,-5L5,4.2L-5,4.2z",
    "diamond": "M0,-5.6L4.4,0L0,5.6L-4.4,0z",
    "cross": "M-1.8,-5.4h3.6v3.6h3.6v3.6h-3.6v3.6h-3.6v-3.6h-3.6v-3.6h3.6z",
    "triangle-down": "M0,5L5,-4.2L-5,-4.2z",
    "triangle-right": "M5,0L-4.2,5L-4.2,-5z",
}


def render(page: Page, vega: str | None = None) -> str:
    """Write the page.

    Parameters
    ----------
    page
        What it shows.
    vega
        The script that draws charts; that of `vega_script` if None.
    """
    vega = vega_script() if vega is None else vega
    script = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(count="{:,.0f}".format, line=one_line, plural=plural, time=_time)
    notes = {name: page.notes.get(name, "") for name in _NOTES}
    return environment.get_template("page.html.j2").render(
        page=replace(page, notes=notes),
        policy=policy(vega, script),
        parts=PARTS,
        measures=_MEASURES,
        has_ratings=any(card.ratings for card in page.cards),
        alarms=sum(row.alarm for row in page.drift_rows),
        spark=_spark,
        kinds=KINDS,
        share=share_in_words,
        shape=lambda segment: _PATHS[page.look.shape(segment)],
        charts=embedded(page.charts),
        vega=Markup(vega),  # noqa: S704 - a library's program
        script=Markup(script),  # noqa: S704 - our own
    )


_NOTES = ("input", "texts", "ratings", "labels", "drift", "items")


def policy(*scripts: str) -> str:
    """Forbid all but these scripts and styles that are in the page."""
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    ]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'"


def embedded(value: object) -> Markup:
    """Write data as JSON that no browser can take for markup."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing of markup is left in it


def _shown(value: Any) -> Any:
    """Put what is no markup of our own in one line; the template escapes it afterwards."""
    return value if isinstance(value, Markup) else one_line(str(value), _LONGEST)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _spark(sizes: Sequence[int]) -> Markup:
    """Give the points of a line within 120 by 24."""
    most = max(*sizes, 1)
    step = 120 / (len(sizes) - 1)
    points = (f"{n * step:.1f},{23 - 22 * size / most:.1f}" for n, size in enumerate(sizes))
    return Markup(" ".join(points))  # noqa: S704 - numbers
