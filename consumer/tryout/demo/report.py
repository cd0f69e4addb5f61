"""What a demo leaves behind beside its summary on the terminal: a picture and a page."""

from __future__ import annotations

from pathlib import Path

from consumer.report.pictures import DARK, png
from consumer.tryout.demo.contents import ReportData
from consumer.tryout.demo.page import render_page


def write_report(folder: Path, data: ReportData) -> None:
    """Write map.png and report.html into a folder, which is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = png(data.map.draw())
    (folder / "map.png").write_bytes(picture)
    page = render_page(data, picture, png(data.map.draw(DARK)))
    (folder / "report.html").write_text(page, encoding="utf-8")
