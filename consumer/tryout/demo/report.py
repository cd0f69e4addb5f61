"""What a demo leaves behind: a summary on the terminal, a picture and a page."""

from __future__ import annotations

from pathlib import Path

from consumer.report.pictures import DARK, LIGHT, Theme, png
from consumer.report.user_map import UserMap
from consumer.tryout.demo.contents import ReportData
from consumer.tryout.demo.page import render_page
from schemas.arrays import decode_array


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


def write_report(folder: Path, data: ReportData) -> None:
    """Write map.png and report.html into a folder, which is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = draw_map(data)
    (folder / "map.png").write_bytes(picture)
    page = render_page(data, picture, draw_map(data, DARK))
    (folder / "report.html").write_text(page, encoding="utf-8")
