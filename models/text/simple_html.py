r"""HTML as most tools write it, to text without a parser.

Nine tenths of the HTML that people send are tags with a known name and quoted values, amid text
that holds no other ``<``. A parser has nothing to decide there: the text between the tags is the
text, save for what entities stand for. What is in any way unusual is left to `models.text.markup`,
which says what HTML means here, and whose result this is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.entities import html5
from itertools import zip_longest

_VALUE = r"""(?:"[^"<>]*"|'[^'<>]*')"""
_ATTRIBUTES = rf"(?:\s{{1,9}}[a-z][a-z-]{{0,29}}={_VALUE}){{0,20}}"
_TAG = re.compile(rf"<(/?[a-zA-Z][a-zA-Z0-9]*){_ATTRIBUTES}\s{{0,9}}/?>")
_IMAGE = re.compile(rf"<img({_ATTRIBUTES})\s{{0,9}}/?>")
_ATTRIBUTE = re.compile(rf"([a-z-]+)=({_VALUE})")
_REFERENCE = re.compile(
    r"&(?:#([0-9]{1,7});|#[xX]([0-9a-fA-F]{1,6});|([a-zA-Z][a-zA-Z0-9]*);|(?=[#a-zA-Z]))"
)
# A line feed or tab that an entity stands for would be taken for one of the source's.
_CHARACTERS = {
    name[:-1]: text for name, text in html5.items() if name.endswith(";") and text not in "\n\t"
}


class _UnusualError(Exception):
    """The text holds what only a parser can read."""


@dataclass(frozen=True, slots=True)
class SimpleHtml:
    """A text cut at its tags.

    Attributes
    ----------
    texts
        What stands before, between and after the tags, one more than there are tags.
    names
        The tags' names as they are written, closing ones with their slash.
    images
        Whether there were images; what stood for them is in `texts`.
    """

    texts: list[str]
    names: list[str]
    images: bool


def cut(source: str) -> SimpleHtml | None:
    """Cut a normalised text at its tags; None where a ``<`` of it begins none or an unusual one."""
    images = "<img" in source
    if images:
        if source.lstrip().startswith("<img"):
            return None
        try:
            source = _IMAGE.sub(_alternative, source)
        except _UnusualError:
            return None
    pieces = _TAG.split(source)
    names = pieces[1::2]
    return SimpleHtml(pieces[::2], names, images) if len(names) == source.count("<") else None


def join(html: SimpleHtml, gaps: dict[str, str]) -> str | None:
    r"""Give the text that `models.text.markup.html_to_text` gives.

    Parameters
    ----------
    html
        What `cut` gave.
    gaps
        By name of a tag, as `cut` gives it, what it leaves: a form feed where lines end, a space or
        nothing.

    Returns
    -------
    str
        The text, None where a tag has no place in `gaps` or an entity is unusual.
    """
    texts, names = html.texts, html.names
    try:
        between = [gaps[name] for name in names]
        texts = [_REFERENCE.sub(_character, text) if "&" in text else text for text in texts]
    except (KeyError, _UnusualError):
        return None
    # White space before the first element is in no element; closing tags open none.
    texts[0] = texts[0].lstrip(" \t\n\f")
    if not texts[0]:
        if names[0].startswith("/"):
            return None
        between[0] = ""
    if "pre" in names:
        _keep_lines(texts, names)
    joined = "".join([part for pair in zip_longest(texts, between, fillvalue="") for part in pair])
    return joined.replace("\n", " ").replace("\f", "\n")


def _keep_lines(texts: list[str], names: list[str]) -> None:
    """Make form feeds of the line feeds within ``pre``."""
    inside = False
    for place, name in enumerate(names, 1):
        if name in ("pre", "/pre"):
            inside = name == "pre"
        if inside:
            texts[place] = texts[place].replace("\n", "\f")


def _alternative(image: re.Match[str]) -> str:
    for name, value in _ATTRIBUTE.findall(image[1]):
        if name == "alt":
            if "&" in value or "\n" in value:
                raise _UnusualError
            return f" {value[1:-1]} " if len(value) > len("''") else ""
    return ""


def _character(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        if name in _CHARACTERS:
            return _CHARACTERS[name]
    elif decimal or hexadecimal:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if 0x20 <= code < 0x7F or 0xA0 <= code < 0xD800 or 0x1F300 <= code < 0x1FFFE:
            return chr(code)
    raise _UnusualError
