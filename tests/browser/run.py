"""`make test-report`: the report's page in a real headless Chromium.

Makes replays of the made-up stream, in English and in Chinese, with a cheap stand-in for the
embedding model, writes their reports, and opens them (`look.py`, in the environment that the
target makes for it). Chromium is the one on the PATH, else Debian's package, fetched by apt-get
with what it needs into the user's cache and not installed. Exit code 0: all is as it should be. 1:
something is wrong, and named. 2: it could not be tried out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from consumer.offline.replay import replay_file
from consumer.page.compose import Asked
from consumer.page.write import PageWriter
from consumer.settings import Settings
from consumer.tryout.demo.generate import StreamSettings, generate_records
from tests.browser.tools import Browser, BrowserError, find_browser
from tests.stubs import HashingEmbedder

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "report-pictures"


def write_pages(folder: Path, users: int) -> list[Path]:
    """Write a page of each language: one that shows all of its users, one that shows little."""
    pages = []
    for name, chinese in (("english", 0.02), ("chinese", 1.0)):
        events = folder / f"{name}.jsonl"
        stream = StreamSettings(users=users, chinese=chinese)
        with events.open("wb") as file:
            for number, record in enumerate(generate_records(stream)):
                file.write(_rated(record.value, number) + b"\n")
        settings = Settings(
            training={"segments": 6},
            recommendations={"enabled": True},
            drift={"users": 60, "min_users": 30, "every": 30},
            report={"texts": name == "english", "ids": "shown" if name == "english" else "hashed"},
        )
        replay_file(events, folder / name, settings, HashingEmbedder())
        page = folder / f"{name}.html"
        PageWriter(settings, Asked(days=30, label="type"), page).of_folder(folder / name, events)
        pages.append(page)
    return pages


def _rated(value: bytes, number: int) -> bytes:
    """Give an event a rating and an item; what is none stays as it is, but for lines of its own.

    Items have long names, in the language of the text, and go by its first word.
    """
    try:
        event = json.loads(value)
        said = event["text"].split()[0][:12]
        more = {"rating": 1 + number % 5, "item_id": f"{said}/{'long-' * (number % 4)}{number % 3}"}
        return json.dumps({**event, **more}, ensure_ascii=False).encode()
    except (ValueError, TypeError, AttributeError, LookupError):
        return value.replace(b"\n", b" ")


def open_pages(python: Path, browser: Browser, pages: list[Path], pictures: Path) -> int:
    """Have them opened; give the exit code."""
    command = [str(python), str(ROOT / "tests/browser/look.py"), *map(str, pages)]
    command += ["--pictures", str(pictures), "--chromium", str(browser.program)]
    command += ["--environment", json.dumps(browser.environment)]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="that has playwright")
    parser.add_argument("--chromium", type=Path, help="the browser")
    parser.add_argument("--users", type=int, default=120)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("pages", nargs="*", type=Path, help="to be opened in place of made ones")
    given = parser.parse_args()
    try:
        browser = find_browser(given.chromium)
    except BrowserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        pages = given.pages or write_pages(Path(folder), given.users)
        return open_pages(given.python, browser, pages, given.pictures)


if __name__ == "__main__":
    sys.exit(main())
