"""The report as a picture, map.png, and as one web page, page.html.j2 filled."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from consumer.report.pictures import DARK, png
from consumer.report.wording import one_line, percent, plural
from consumer.tryout.demo.contents import ReportData, further_words, tell_life, top_flows
from consumer.tryout.demo.story import tell

_LONGEST = 400


def write_report(folder: Path, data: ReportData) -> None:
    """Write map.png and report.html into a folder, which is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = png(data.map.draw())
    (folder / "map.png").write_bytes(picture)
    page = render_page(data, picture, png(data.map.draw(DARK)))
    (folder / "report.html").write_text(page, encoding="utf-8")


def render_page(data: ReportData, light: bytes, dark: bytes) -> str:
    """Render the page; `light` and `dark` are the map as PNG for either background."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        count="{:,.0f}".format, line=one_line, percent=percent, plural=plural
    )
    return environment.get_template("page.html.j2").render(
        data=data,
        records={record.id: record for record in data.model.segments},
        largest=max(data.map.sizes().values()),
        telling=tell(data.story) if data.story else None,
        flows=top_flows(data.changes, limit=10),
        further_words=further_words,
        tell_life=tell_life,
        light=_data_url(light),
        dark=_data_url(dark),
    )


def _shown(value: Any) -> Any:
    """Put what is no markup of our own in one line; the template escapes it afterwards."""
    return value if isinstance(value, Markup) else one_line(str(value), _LONGEST)


def _data_url(png: bytes) -> Markup:
    return Markup("data:image/png;base64,") + base64.b64encode(png).decode("ascii")
