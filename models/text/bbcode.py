"""BBCode, as forums and Steam have it, to plain text: ``[b]bold[/b]``, ``[url=...]here[/url]``.

A bracket is text without evidence: ``[1]``, ``arr[i]`` and ``[spoiler] ahead`` stay. Only names
that forums use count, and a text needs a closing tag of one of them. Where it has one, tags that
nobody would write as words go without a partner too: ``[*]``, ``[hr]``, an ``[h1]`` left open.
"""

import re
from collections import defaultdict

_BLOCKS = frozenset(
    (
        *("h1", "h2", "h3", "h4", "h5", "h6", "p", "list", "ul", "ol", "olist", "li", "quote"),
        *("code", "center", "left", "right", "justify", "table", "tr", "spoiler", "hr", "br"),
        *("pullquote", "indent", "previewyoutube", "youtube", "video", "media", "heading", "*"),
    )
)
_INLINE = frozenset(
    (
        *("b", "i", "u", "s", "strike", "del", "ins", "em", "strong", "sub", "sup", "url", "img"),
        *("image", "email", "size", "color", "colour", "font", "th", "td", "noparse", "user"),
        *("highlight", "small", "big", "bgcolor", "emoji", "icode", "tt", "pre", "attach", "abbr"),
    )
)
_NAMES = _BLOCKS | _INLINE
_CELLS = frozenset(("th", "td"))
# Said in a text as words, or as indices: an opening one needs its closing one.
_WORDS = frozenset(("b", "i", "u", "s", "p", "li", "left", "right", "code", "small", "big", "user"))
_LITERAL = frozenset(("code", "noparse", "icode"))

_TAG = re.compile(
    r"\[(?P<slash>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]{0,15}|\*)"
    r"(?:=[^\[\]\n]{0,1000}|\s{1,5}[a-zA-Z]{1,20}=[^\[\]\n]{0,1000})?\]"
)
# What they hold is an address.
_ADDRESS = re.compile(
    r"\[(img|image|attach|previewyoutube|youtube|video|media)(?:[=\s][^\[\]\n]{0,1000})?\]"
    r"[^\s\[\]]{0,2000}\[/\1\]",
    re.IGNORECASE,
)
_CODE_SPAN = re.compile(r"`[^`\n]+`")


def strip_bbcode(text: str) -> str:
    """Give a text without its BBCode tags; the same object where it has none.

    Lines end where blocks do. Takes time in proportion to the text.
    """
    if "[/" not in text:
        return text
    text = _ADDRESS.sub(" ", text)
    tags = _visible([tag for tag in _TAG.finditer(text) if _name(tag) in _NAMES], text)
    closed = _pairs(tags)
    if not closed and not any(tag["slash"] and _name(tag) not in _WORDS for tag in tags):
        return text
    parts: list[str] = []
    done = 0
    for place, tag in enumerate(tags):
        name = _name(tag)
        if place in closed or tag["slash"] or name not in _WORDS:
            gap = "\n" if name in _BLOCKS else " " if name in _CELLS else ""
            parts += text[done : tag.start()], gap
            done = tag.end()
    return "".join((*parts, text[done:]))


def _name(tag: re.Match[str]) -> str:
    return tag["name"].lower()


def _visible(tags: list[re.Match[str]], text: str) -> list[re.Match[str]]:
    """Leave out the tags within code, which is shown as it is."""
    spans = [span.span() for span in _CODE_SPAN.finditer(text)] if "`" in text else []
    endings = {_name(tag): tag.start() for tag in tags if tag["slash"]}
    kept: list[re.Match[str]] = []
    following = 0
    literal = ""
    for tag in tags:
        name, start = _name(tag), tag.start()
        while following < len(spans) and spans[following][1] <= start:
            following += 1
        if following < len(spans) and spans[following][0] <= start:
            continue
        if literal and not (tag["slash"] and name == literal):
            continue
        opens = name in _LITERAL and not tag["slash"] and endings.get(name, 0) > start
        literal = name if opens else ""
        kept.append(tag)
    return kept


def _pairs(tags: list[re.Match[str]]) -> set[int]:
    """Give the places of opening and closing tags that belong together."""
    waiting: dict[str, list[int]] = defaultdict(list)
    closed: set[int] = set()
    for place, tag in enumerate(tags):
        if not tag["slash"]:
            waiting[_name(tag)].append(place)
        elif waiting[_name(tag)]:
            closed |= {place, waiting[_name(tag)].pop()}
    return closed
