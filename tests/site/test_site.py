"""What the site is made of, without making it: `make site` does, and looks through what comes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.site.check import fetched_elsewhere, main, problems

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Loader(yaml.SafeLoader):
    """Reads over the tags by which mkdocs names functions of Python."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, _, node: {})
CONFIG: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def listed(items: list[Any]) -> list[str]:
    """Every page of a navigation."""
    found = []
    for item in items:
        if isinstance(item, str):
            found.append(item)
        else:
            (inner,) = item.values()
            found += listed(inner)
    return found


def test_every_page_is_in_the_navigation_once_and_all_of_that_are_there():
    pages = listed(CONFIG["nav"])
    assert sorted(pages) == sorted({*pages})
    own = {name for name in pages if not name.startswith("source/")}
    assert own == {path.name for path in DOCS.glob("*.md")}
    others = {name.removeprefix("source/") for name in pages} - own
    assert others
    assert [name for name in others if not (ROOT / name).is_file()] == []


def test_the_page_of_pages_leads_to_every_page():
    text = (DOCS / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w./-]+\.md)\)", text))
    own = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert {name for name in linked if "/" not in name} == own


def test_nothing_is_asked_to_be_fetched_from_elsewhere():
    assert CONFIG["theme"]["font"] is False
    assert CONFIG["strict"] is True
    assert "repo_url" not in CONFIG
    assert "extra_javascript" not in CONFIG


def test_lists_are_told_from_paragraphs_on_every_host():
    """Without an empty line before it, a list is one for some readers of Markdown and text for
    others."""
    found = []
    for page in [*DOCS.glob("*.md"), ROOT / "CHANGELOG.md", ROOT / "clients/python/README.md"]:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
            begins = re.match(r"(\* |- |\d+\. )", line)
            if begins and before.strip() and not re.match(r"(\* |- |\d+\. | |\|)", before):
                found.append(f"{page.name}: {line}")
    assert found == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://unpkg.com/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img src="http://elsewhere.example/badge.svg">',
        '<img src="a.png" srcset="https://elsewhere.example/b.png 2x">',
        "<style>@import 'https://elsewhere.example/a.css';</style>",
        '<div style="background: url(https://elsewhere.example/a.png)"></div>',
        '<pre class="mermaid"><code>flowchart</code></pre>',
    ],
)
def test_what_a_page_would_fetch_from_elsewhere_is_found(html: str, tmp_path: Path, capsys):
    assert list(fetched_elsewhere(f"<html><body>{html}</body></html>"))
    (tmp_path / "page.html").write_text(html)
    assert main([str(tmp_path)]) == 1
    assert "page.html fetches" in capsys.readouterr().err


def test_what_is_in_the_site_and_what_only_leads_elsewhere_is_not(tmp_path: Path):
    page = (
        '<link rel="stylesheet" href="assets/a.css"><link rel="canonical" href="https://a.example">'
        '<script src="assets/a.js"></script><img src="data:image/png;base64,AA==">'
        '<a href="https://elsewhere.example">there</a>'
    )
    assert list(fetched_elsewhere(page)) == []
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "a.css").write_text("a { background: url(a.png) }")
    (tmp_path / "search").mkdir()
    (tmp_path / "search/search_index.json").write_text("{}")
    assert list(problems(tmp_path)) == []
    (tmp_path / "b.css").write_text("@font-face { src: url(https://fonts.example/a.woff2) }")
    assert list(problems(tmp_path)) == ["b.css fetches https://fonts.example/a.woff2"]


def test_a_folder_without_pages_is_no_site(tmp_path: Path):
    assert len(list(problems(tmp_path))) == 2
