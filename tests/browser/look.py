"""Opens a page in a browser as a person would, and says what is wrong; needs playwright alone.

By day and by night, on a desk and on a phone: whether the page draws its charts, asks for nothing,
writes no error to the console and is no wider than the screen; then the map is pointed at, filtered
and searched, and its table opened, by mouse and by keyboard, and other lines chosen between
segments. Screenshots are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

# Generous: a busy machine is no mistake of the page.
_PATIENCE_MS = 120_000

LOOKS = {
    "desk-light": ("light", 1280, 900),
    "desk-dark": ("dark", 1280, 900),
    "phone-light": ("light", 390, 844),
    "phone-dark": ("dark", 390, 844),
}


def look(browser: Browser, path: Path, pictures: Path) -> Iterator[str]:
    """Open a page in each way; give what is wrong."""
    for name, (scheme, width, height) in LOOKS.items():
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}
        )
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.extend(_complaint(message)))
        page.on("pageerror", lambda error, said=said: said.append(f"error: {error}"))
        page.on("request", lambda request, said=said: said.extend(_request(request, path)))
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn")
        said += _drawn(page)
        page.screenshot(path=pictures / f"{path.stem}-{name}.png", full_page=True)
        said += _used(page)
        # Night falls while the page is open.
        page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
        page.wait_for_function("document.querySelectorAll('.chart svg').length > 0")
        yield from (f"{path.name}, {name}: {each}" for each in said)
        context.close()


def _complaint(message: ConsoleMessage) -> list[str]:
    return [f"console: {message.text}"] if message.type in {"error", "warning"} else []


def _request(request: Request, path: Path) -> list[str]:
    own = request.url == path.as_uri() or request.url.startswith(("data:", "blob:"))
    return [] if own else [f"asks for {request.url}"]


def _drawn(page: Page) -> Iterator[str]:
    charts = page.locator(".chart").count()
    drawn = page.locator(".chart svg").count()
    if drawn != charts or not charts:
        yield f"{drawn} of {charts} charts are drawn"
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if wide > screen:
        yield f"{wide} pixels wide on a screen of {screen}"
    for box in page.locator(".chart svg").all():
        size = box.bounding_box()
        if size is None or size["width"] > screen or size["height"] < 50:
            yield f"a chart of {size}"


def _used(page: Page) -> Iterator[str]:
    """Use the map as a person would."""
    points = page.locator("#chart-map .mark-symbol path")
    output = page.locator("#filter output")
    boxes = page.locator("#filter [name=segment]")
    every = points.count()
    if not every:
        yield "no point is on the map"
        return
    points.nth(every // 2).hover(force=True)
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible")
    if "segment" not in tooltip.inner_text():
        yield f"who points at a user is told {tooltip.inner_text()!r}"
    before = output.inner_text()
    boxes.first.focus()
    page.keyboard.press("Space")
    page.wait_for_function(
        "count => document.querySelectorAll('#chart-map .mark-symbol path').length < count",
        arg=every,
    )
    if output.inner_text() == before:
        yield "a segment that is not to be shown is counted"
    page.locator("#filter [data-all=yes]").press("Enter")
    page.wait_for_function(
        "count => document.querySelectorAll('#chart-map .mark-symbol path').length == count",
        arg=every,
    )
    sought = page.locator("#filter [name=sought]")
    if sought.count():
        name = page.evaluate(
            "JSON.parse(document.getElementById('charts').textContent).map.data.values[0].name"
        )
        sought.fill(name)
        page.wait_for_function(
            "document.querySelector('#filter output').textContent.includes('found')"
        )
        if output.inner_text() != "1 found":
            yield f"of a user who is there it says {output.inner_text()!r}"
    page.locator("#map-table summary").press("Enter")
    rows = page.locator("#map-table tbody tr")
    rows.first.wait_for(state="attached")
    if rows.count() != every:
        yield f"the table behind the map has {rows.count()} rows, the map {every} users"
    yield from _related(page)
    page.keyboard.press("Home")


def _related(page: Page) -> Iterator[str]:
    """Choose what the lines between segments show, by keyboard."""
    ways = page.locator("#relations-kind [name=kind]")
    lines = page.locator("#chart-relations .mark-rule line")
    if not lines.count():
        yield "no line is between segments"
        return
    before = lines.evaluate_all("all => all.map(line => line.outerHTML).join()")
    ways.first.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(
        "before => [...document.querySelectorAll('#chart-relations .mark-rule line')]"
        ".map(line => line.outerHTML).join() != before",
        arg=before,
    )
    if not ways.nth(1).is_checked():
        yield "the second kind of lines is shown and not chosen"


def main() -> int:
    """Look at the pages that are named; give the number of mistakes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--chromium", required=True)
    parser.add_argument("--environment", default="{}", help="JSON")
    given = parser.parse_args()
    given.pictures.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=given.chromium,
            env={**os.environ, **json.loads(given.environment)},
            timeout=_PATIENCE_MS,
        )
        for path in given.pages:
            wrong += look(browser, path.resolve(), given.pictures)
        browser.close()
    sys.stdout.writelines(f"WRONG: {each}\n" for each in wrong)
    sys.stdout.write(
        f"{len(given.pages)} pages, {len(LOOKS)} looks each, {len(wrong)} mistakes; pictures in "
        f"{given.pictures}\n"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
