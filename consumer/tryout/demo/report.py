"""What a demo leaves behind: a summary on the terminal, a picture and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consumer.tryout.demo.contents import ReportData
from consumer.tryout.demo.page import render_page
from consumer.tryout.demo.picture import DARK, LIGHT, draw_map


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """The files of a report."""

    picture: Path
    page: Path


def write_report(folder: Path, data: ReportData) -> ReportPaths:
    """Write map.png and report.html into a folder, which is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(picture=folder / "map.png", page=folder / "report.html")
    picture = draw_map(data, LIGHT)
    paths.picture.write_bytes(picture)
    page = render_page(data, picture, draw_map(data, DARK))
    paths.page.write_text(page, encoding="utf-8")
    return paths
