"""What a demo leaves behind: a summary on the terminal, a picture and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consumer.report.pictures import DARK, LIGHT, Theme, png
from consumer.report.user_map import UserMap
from consumer.tryout.demo.contents import ReportData
from consumer.tryout.demo.page import render_page
from schemas.arrays import decode_array


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """The files of a report."""

    picture: Path
    page: Path


def user_map(data: ReportData) -> UserMap:
    """Give the map of the users, with arrows of those who moved."""
    rows = {user_id: row for row, user_id in enumerate(data.user_ids)}
    movers = [user_id for user_id in data.earlier if user_id in rows]
    before = [data.earlier[user_id] for user_id in movers]
    after = [data.vectors[rows[user_id]] for user_id in movers]
    segments = data.model.segments
    return UserMap(
        data.vectors,
        data.segments,
        {record.id: record.label for record in segments},
        [decode_array(record.centre, "<f8") for record in segments],
        (before, after),
    )


def draw_map(data: ReportData, theme: Theme = LIGHT) -> bytes:
    """Draw the map as PNG; the same data give the same bytes."""
    return png(user_map(data).draw(theme))


def write_report(folder: Path, data: ReportData) -> ReportPaths:
    """Write map.png and report.html into a folder, which is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = ReportPaths(picture=folder / "map.png", page=folder / "report.html")
    picture = draw_map(data)
    paths.picture.write_bytes(picture)
    page = render_page(data, picture, draw_map(data, DARK))
    paths.page.write_text(page, encoding="utf-8")
    return paths
