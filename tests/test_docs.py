"""What the pages say: commands that the command line takes, Python that compiles, true defaults."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic_core import PydanticUndefined

from consumer import reference
from consumer.cli import main as cli
from consumer.cli.command import Command
from consumer.report.markdown import fill, made_parts
from consumer.settings import Settings
from models.profiles.codec import encode
from models.profiles.table import ProfileRows
from schemas.dead_letters import RefusalReason
from schemas.profiles import ProfileRecord
from schemas.states import read_profile

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CHANGELOG.md"]
GUIDE = ROOT / "docs/getting-started.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The lines of a page's shell blocks that run segmenter, as arguments."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if not re.match(r"(\.venv/bin/)?segmenter ", line):
                continue
            if re.search(r"\[.*\]", line):  # a synopsis
                continue
            found.append(shlex.split(line, comments=True)[1:])
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_is_one_that_the_command_line_takes(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every file and folder is there, and nothing runs.
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, *_: Path(value))
    monkeypatch.setattr(Command, "invoke", lambda _self, _ctx: 0)
    for command in commands(page):
        assert cli.main(command) == 0, f"{shlex.join(command)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", [PAGES[0], GUIDE], ids=name_of)
def test_the_embedding_model_is_made_before_a_command_that_exits_without_it(page: Path) -> None:
    words = [line.split()[:2] for line in blocks(page, "sh") for line in line.splitlines() if line]
    told = [each[1] for each in words if each[0].endswith("segmenter")]
    assert "model" in told
    needing = [n for n, each in enumerate(told) if each in {"worker", "replay", "evaluate"}]
    assert needing
    assert told.index("model") < min(needing)


def test_the_record_that_is_taken_apart_byte_by_byte_is_the_one_that_a_worker_writes() -> None:
    page = ROOT / "docs/formats.md"
    (example,), (former,) = blocks(page, "text"), blocks(page, "json")
    numbers = re.findall(r"^ *((?:[0-9a-f]+ )*[0-9a-f]+)(?=  |$)", example, re.MULTILINE)
    value = bytes.fromhex("".join(numbers))
    record = ProfileRecord.model_validate_json(former)
    assert read_profile(b"ann", value) == record
    rows = ProfileRows.empty(["ann"], 2, 64)
    rows.load_record(0, record)
    assert encode(rows, record.embedding) == [value]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_python_of_a_page_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_the_guide_leads_from_the_broker_to_a_consumer_of_changes() -> None:
    assert [command[0] for command in commands(GUIDE)] == [
        *("model", "broker", "topics", "produce", "doctor", "worker", "trainer", "produce"),
        *("status", "verify"),
    ]
    assert any("read_committed" in block for block in blocks(GUIDE, "python"))


def test_the_events_of_the_guide_can_be_made(tmp_path: Path) -> None:
    script = next(block for block in blocks(GUIDE, "sh") if "generate_records" in block)
    script = script.replace("python -c", f"{shlex.quote(sys.executable)} -c")
    making = script.partition("segmenter produce")[0]
    subprocess.run(["/bin/sh", "-ec", making], cwd=tmp_path, check=True)
    first, later = (tmp_path / name for name in ("first.jsonl", "later.jsonl"))
    assert len(first.read_bytes().splitlines()) == 1000
    assert later.stat().st_size > 0


def test_pages_link_to_headings_and_files_that_are_there() -> None:
    anchors = {page: _anchors(page) for page in PAGES}
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text()):
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and anchor not in anchors.get(path, set())):
                broken.append(f"{page.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    rooms = "consumer|models|schemas|tests|benchmarks|deploy|findings"
    named = set(re.findall(rf"`((?:{rooms})/[\w./-]+)`", page.read_text()))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# Fields of a change and files, which look like settings.
# Of a change, of the product, of files.
FIELDS = {
    "rules.yaml",
    "profile.events",
    "profile.weight",
    "profile.updated_at",
    "kafka.log",
    "report.html",
}


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    return {
        f"{section}.{name}": field.default
        for section, each in Settings.model_fields.items()
        for name, field in (each.annotation or Settings).model_fields.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_settings_that_a_page_names_are_there(page: Path, defaults: dict[str, Any]) -> None:
    sections = "|".join(Settings.model_fields)
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)[ `]", page.read_text()))
    assert named - FIELDS <= defaults.keys()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tables_of_settings_have_the_defaults(page: Path, defaults: dict[str, Any]) -> None:
    tables = re.findall(
        r"^\| setting \| default \|.*\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE
    )
    rows = re.findall(r"^\| (`.*?`) \| ([^|]+) \|", "".join(tables), re.MULTILINE)
    for names, told in rows:
        values = told.replace("`", "").split(", ")
        settings = re.findall(r"`([^`]+)`", names)
        if len(values) < len(settings):
            values *= len(settings)
        for setting, value in zip(settings, values, strict=True):
            default = defaults.get(setting, PydanticUndefined)
            if default is not PydanticUndefined:
                assert _same(value, default), f"{setting}: {value}"


def _same(told: str, default: Any) -> bool:
    if isinstance(default, int | float) and not isinstance(default, bool):
        return float(told.replace(",", "")) == default
    if isinstance(default, dict) and default:
        return told == "; ".join(f"{name} = {value}" for name, value in default.items())
    if isinstance(default, frozenset) and not default:
        return told == "none"
    return told.lower() == str(default).lower()


def test_the_page_of_events_explains_each_reason_of_a_dead_letter() -> None:
    page = (ROOT / "docs/events.md").read_text()
    table = page.partition("\n| reason | refused because |\n")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", "".join(cells))) == sorted(RefusalReason)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_made_from_the_code_is_as_make_docs_writes_it(page: Path) -> None:
    assert page.read_text() == fill(page.read_text(), reference.TABLES)


def test_every_table_that_is_made_is_on_one_page_and_no_marker_is_left_alone() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert sorted(made_parts(text)) == sorted(reference.TABLES)
    for marker in ("<!-- begin ", "<!-- end "):
        assert text.count(marker) == len(reference.TABLES)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
