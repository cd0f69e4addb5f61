r"""HTML as most tools write it, to text without a parser.

Nine tenths of the HTML that people send are tags with a known name and quoted values, amid text
that holds no other ``<``. A parser has nothing to decide there: the text between the tags is the
text, save for what entities stand for. What is in any way unusual is left to `models.text.markup`,
which says what HTML means here, and whose result this is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Set
from html.entities import html5

from models.text.tags import cut_off

_VALUE = r"""(?:"[^"<>]*"|'[^'<>]*')"""
_ATTRIBUTES = rf"(?:\s{{1,9}}[a-z][a-z-]{{0,29}}={_VALUE}){{0,20}}"
TAG = re.compile(rf"(/?[a-z][a-z0-9]*){_ATTRIBUTES}\s{{0,9}}/?")
_IMAGE = re.compile(rf"<img({_ATTRIBUTES})\s{{0,9}}/?>")
_ATTRIBUTE = re.compile(rf"([a-z-]+)=({_VALUE})")
_REFERENCE = re.compile(
    r"&(?:#([0-9]{1,7});|#[xX]([0-9a-fA-F]{1,6});|([a-zA-Z][a-zA-Z0-9]*);|(?=[#a-zA-Z]))"
)
# A line feed or tab that an entity stands for would be taken for one of the source's.
_CHARACTERS = {
    name[:-1]: text for name, text in html5.items() if name.endswith(";") and text not in "\n\t"
}


class UnusualError(Exception):
    """The text holds what only a parser can read."""


def read(source: str, gaps: Mapping[str, str], evidence: Set[str]) -> str | None:
    r"""Give the text that `models.text.markup.html_to_text` gives.

    Parameters
    ----------
    source
        A normalised text.
    gaps
        What tags leave, by name: a form feed where lines end, a space or nothing. Closing tags have
        their slash.
    evidence
        Names of which one makes a text HTML.

    Returns
    -------
    str
        The text, None where that takes a parser or where nothing says that it is HTML.
    """
    try:
        return _read(source, gaps, evidence)
    except UnusualError:
        return None


def _read(source: str, gaps: Mapping[str, str], evidence: Set[str]) -> str:
    pictured = without_images(source)
    first, *rest = pictured.split("<")
    names: list[str] = []
    texts: list[str] = []
    for piece in rest:
        name, end, text = piece.partition(">")
        if name not in gaps:
            tag = TAG.fullmatch(name)
            name = tag[1] if tag else ""
        if not end:
            # The text ends amid a tag, or this was none.
            is_last = pictured is source and len(names) == len(rest) - 1
            if not (is_last and names and piece) or piece[0] in "!?/":
                raise UnusualError
            kept, done = cut_off(f"<{piece}", 0)
            texts[-1] += html.unescape(kept) + piece[done - 1 :]
            break
        if name not in gaps:
            raise UnusualError
        names.append(name)
        texts.append(text)
    if evidence.isdisjoint(names):
        raise UnusualError
    if "&" in source:
        first, *texts = map(without_references, (first, *texts))
    if "<pre" in source:
        _keep_lines(names, texts)
    # White space before the first element is in no element; closing tags open none.
    parts = [first.lstrip(" \t\n\f")]
    if not parts[0] and names[0].startswith("/"):
        raise UnusualError
    for name, text in zip(names, texts, strict=True):
        parts += gaps[name], text
    if not parts[0]:
        parts[1] = ""
    return "".join(parts).replace("\n", " ").replace("\f", "\n")


def without_images(source: str) -> str:
    """Put the alternative texts of images in place.

    Raises
    ------
    UnusualError
        If only a parser can tell which they are.
    """
    if "<img" not in source:
        return source
    if source.lstrip().startswith("<img"):
        raise UnusualError
    return _IMAGE.sub(_alternative, source)


def _keep_lines(names: list[str], texts: list[str]) -> None:
    """Make form feeds of the line feeds within ``pre``."""
    inside = False
    for place, name in enumerate(names):
        if name in ("pre", "/pre"):
            inside = name == "pre"
        if inside:
            texts[place] = texts[place].replace("\n", "\f")


def _alternative(image: re.Match[str]) -> str:
    for name, value in _ATTRIBUTE.findall(image[1]):
        if name == "alt":
            if "&" in value or "\n" in value:
                raise UnusualError
            return f" {value[1:-1]} " if len(value) > len("''") else ""
    return ""


def without_references(text: str) -> str:
    """Put the characters that are referred to in place.

    Raises
    ------
    UnusualError
        If only a parser can tell which they are.
    """
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        if name in _CHARACTERS:
            return _CHARACTERS[name]
    elif decimal or hexadecimal:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if 0x20 <= code < 0x7F or 0xA0 <= code < 0xD800 or 0x1F300 <= code < 0x1FFFE:
            return chr(code)
    raise UnusualError
