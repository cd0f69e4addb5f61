"""Looks through a built site: whether a page would fetch anything from elsewhere.

`make site` runs it. Exit code 0: all is as it should be. 1: something is wrong, and named.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser

# What a browser fetches by itself; what an `a` leads to is opened only by who wants to.
_FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
    "use": "href",
}
# Of a link these are only told.
_TOLD = {"canonical", "prev", "next", "license"}
_ELSEWHERE = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
_OF_STYLES = re.compile(
    r"url\(\s*['\"]?((?:https?:)?//[^'\")]+)|@import\s+['\"]((?:https?:)?//[^'\"]+)"
)
# For these the theme fetches a library, or figures, from a host of its own.
_LOADS_MORE = (".mermaid", "[data-md-component=source]", ".md-source__repository")


def problems(site: Path) -> Iterator[str]:
    """Name what a page of a site would fetch from elsewhere, and a site that is none."""
    pages = sorted(site.rglob("*.html"))
    if not pages:
        yield f"{site} holds no page"
    for page in pages:
        for found in fetched_elsewhere(page.read_text(encoding="utf-8")):
            yield f"{page.relative_to(site)} fetches {found}"
    for style in sorted(site.rglob("*.css")):
        for found in _of_styles(style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)} fetches {found}"
    if not (site / "search" / "search_index.json").is_file():
        yield f"{site} has no index to search"


def fetched_elsewhere(html: str) -> Iterator[str]:
    """Give what a page would fetch from another host."""
    tree = LexborHTMLParser(html)
    for tag, attribute in _FETCHED.items():
        for node in tree.css(tag):
            target = node.attributes.get(attribute) or ""
            told = {*(node.attributes.get("rel") or "").split()} & _TOLD
            if _ELSEWHERE.match(target) and not told:
                yield target
    for node in tree.css("[srcset]"):
        yield from re.findall(r"(?:https?:)?//\S+", node.attributes.get("srcset") or "")
    for node in tree.css("style"):
        yield from _of_styles(node.text())
    for node in tree.css("[style]"):
        yield from _of_styles(node.attributes.get("style") or "")
    for selector in _LOADS_MORE:
        if tree.css_first(selector) is not None:
            yield f"what the theme loads for {selector}"


def _of_styles(text: str) -> Iterator[str]:
    for match in _OF_STYLES.finditer(text):
        yield match[1] or match[2]


def main(given: Sequence[str]) -> int:
    """Look through a site."""
    found = list(problems(Path(given[0])))
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
