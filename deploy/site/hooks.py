"""What pages link to outside of docs/ comes along, so that the site has no link that leads nowhere.

On a git host such a link shows the file in the repository. Here a page becomes a page, any other
file is copied as it is, and a folder becomes a page that lists what is in it.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SOURCE = "source"
"""Under it lies what comes along, as in the repository."""

_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to, and what that links to in turn."""
    wanted = ["CHANGELOG.md", "clients/python/README.md"]
    for file in files.documentation_pages():
        wanted += _outside(file.content_string, posixpath.join("docs", file.src_uri))
    seen: set[str] = set()
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        seen.add(path)
        if (ROOT / path).is_dir():
            inside = _tracked(path)
            text = f"# {path}\n\n" + "".join(f"* [{name}]({name})\n" for name in inside)
            files.append(File.generated(config, f"{SOURCE}/{path}/index.md", content=text))
            seen.update(added := [f"{path}/{name}" for name in inside])
            for name in added:
                if File.generated(config, f"{SOURCE}/{name}", content="").src_uri not in files:
                    files.append(_copied(name, config))
        elif path.endswith(".md"):
            text = (ROOT / path).read_text(encoding="utf-8")
            files.append(File.generated(config, f"{SOURCE}/{path}", content=text))
            wanted += _outside(text, path)
        else:
            files.append(_copied(path, config))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Lead links to where what they mean is in the site."""
    uri = page.file.src_uri
    place = uri.removeprefix(f"{SOURCE}/") if uri.startswith(f"{SOURCE}/") else f"docs/{uri}"

    def led(match: re.Match[str]) -> str:
        target = _target(match[1], place)
        if target == "README.md":
            there = "README.md"  # the site begins with that of docs/
        elif target.startswith("docs/"):
            there = target.removeprefix("docs/")
        elif (ROOT / target).is_dir():
            there = f"{SOURCE}/{target}/index.md"
        else:
            there = f"{SOURCE}/{target}"
        return posixpath.relpath(there, posixpath.dirname(uri) or ".")

    return markdown if uri.endswith("/index.md") else _LINK.sub(led, markdown)


def _copied(path: str, config: MkDocsConfig) -> File:
    return File.generated(config, f"{SOURCE}/{path}", abs_src_path=str(ROOT / path))


def _outside(text: str, place: str) -> list[str]:
    """Give what a text links to outside of docs/, by its path in the repository."""
    targets = [_target(link, place) for link in _LINK.findall(text)]
    return [each for each in targets if not each.startswith("docs/") and each != "README.md"]


def _target(link: str, place: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _tracked(folder: str) -> list[str]:
    done = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - whichever git there is
        cwd=ROOT / folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()
