r"""Which ``<`` of a text begin a tag, and which are text.

A browser takes every ``<`` before a letter for a tag and goes on to the next ``>``, or to the end
where there is none: ``(<a hand wide). Would buy again`` loses all its words. People write such
things amid real markup, so here a tag has to look like one:

* It ends: with ``>``, before the next ``<`` outside of quotes.
* Its attributes have values, or are names that go without one (``checked``, ``data-x``): ``<b and
  c>`` is text.
* Its name is an element of HTML, or has a ``-`` or ``:``, or it has an attribute with a value, or
  it is closed in the same text: ``<size>`` alone is a placeholder.

The same for what is cut off: of ``<a href="http://trunca`` the open value is dropped up to the next
space, no more. A comment, script or style that does not end: the comment is text without its
``<!--``; of a script all goes that follows, unless tags do, as in ``use <script> here<br>``. (A
browser would show none of it; but who writes tags behind it has not written a script.)

All in linear time: nothing is read twice that the next ``<`` does not bound, but quoted values with
``<`` or ``>`` in them, and these up to `_LONGEST_QUOTED`.
"""

import re
from functools import cached_property

_LONGEST_QUOTED = 1_000
"""Characters of a quoted value with ``<`` or ``>`` in it."""

_NAMES = (
    "a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big "
    "blink blockquote body br button canvas caption center cite code col colgroup data datalist dd "
    "del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form "
    "frame frameset g h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins "
    "kbd keygen label legend li link main map mark marquee math menu menuitem meta meter nav nobr "
    "noembed noframes noscript object ol optgroup option output p param path picture plaintext pre "
    "progress q rb rp rt rtc ruby s samp script search section select slot small source span "
    "strike strong style sub summary sup svg table tbody td template textarea tfoot th thead time "
    "title tr track tt u ul var video wbr xmp"
)
ELEMENTS = frozenset(_NAMES.split())
_BARE = (
    "allowfullscreen async autofocus autoplay checked compact contenteditable controls default "
    "defer disabled download draggable formnovalidate hidden inert ismap itemscope loop multiple "
    "muted nomodule nohref noresize noshade novalidate nowrap open playsinline readonly required "
    "reversed scoped seamless selected"
)
_BARE_ATTRIBUTES = frozenset(_BARE.split())

# Names of attributes that frameworks have, with or without a value.
_UNSPOKEN = re.compile(r"(?:(?:data|aria|v|ng|x|hx)-|[:@*#])[\w:.@-]+", re.ASCII)

_LONGEST_SPOKEN = 10_000
"""Characters of a tag above which it is one whatever its attributes: no person writes so on."""

_NAME = r"(?P<name>[a-zA-Z][a-zA-Z0-9:_-]{0,100}+)"
_ATTRIBUTE = r"""[^\s"'<>/=]++"""
_VALUE = r"""(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=`]++)"""
_ANY_VALUE = rf"""(?:"[^"]{{0,{_LONGEST_QUOTED}}}+"|'[^']{{0,{_LONGEST_QUOTED}}}+'|{_VALUE})"""
_OPEN_VALUE = r"""["'][^\s"'<>]*+"""


def _tag(value: str) -> str:
    return rf"<{_NAME}(?P<attributes>(?:\s++|/|{_ATTRIBUTE}(?:\s*+=\s*+{value})?+)*+)>"


_SIMPLE = re.compile(rf"</?{_NAME}\s*+(?P<attributes>)/?\s*+>")
# Each reads more than the one before: values without < and >, values with them, and a value whose
# quote is never closed.
_READINGS = tuple(
    re.compile(_tag(value)) for value in (_VALUE, _ANY_VALUE, rf"(?:{_VALUE}|{_OPEN_VALUE})")
)
_CUT_OFF = re.compile(
    rf"<{_NAME}(?:\s++{_ATTRIBUTE}\s*+=\s*+{_VALUE})*+\s++{_ATTRIBUTE}={_OPEN_VALUE}"
)
_DECLARATION = re.compile(
    r"<(?:!doctype\s|!\[(?:if|endif|cdata)\b|\?xml\b)[^<>]{0,1000}+>", re.IGNORECASE
)
_OPENER = re.compile(r"<")
_BEGINNING = re.compile(r"</?[a-zA-Z][a-zA-Z0-9:_-]*+")
_HAS_VALUE = re.compile(r"""[^\s"'<>/=]\s*+=\s*+["'\w#/.]""")
_ATTRIBUTES = re.compile(rf"{_ATTRIBUTE}(?:\s*+=\s*+{_ANY_VALUE})?+")
RAW = frozenset(("script", "style", "template", "iframe"))
_ALTERNATIVE = re.compile(rf"""\salt\s*+=\s*+({_ANY_VALUE})""", re.IGNORECASE)

_KNOWN = rf"</?(?:{'|'.join(sorted(ELEMENTS - RAW))})"
# Tags that every reader reads alike; most texts have no others.
_PLAIN = re.compile(
    rf"{_KNOWN}"
    r"""(?:\s++[a-z-]{1,30}+=(?:"[^"<>]*+"|'[^'<>]*+')){0,20}+\s*+/?>""",
    re.IGNORECASE,
)
_TAG_LIKE = (
    rf"{_KNOWN}"
    r"""(?:\s++[a-z-]{1,30}+=(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=`]++)){0,20}+\s*+/?>"""
)


class _Source:
    """A text, and what has to be known of all of it, looked up once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._last_comment_end = text.rfind("-->")
        self._found: dict[str, list[int]] = {}

    def comment_end(self, start: int) -> int:
        """Give the place behind the comment that begins at `start`, -1 where it does not end."""
        # `<!-->` is a whole one.
        if self._last_comment_end < start + 2:
            return -1
        return self.text.index("-->", start + 2) + 3

    def last(self, pattern: str) -> int:
        """Give where a pattern occurs last, -1 for nowhere; letters of any case."""
        if pattern not in self._found:
            found = [m.start() for m in re.finditer(pattern, self.text, re.IGNORECASE)]
            self._found[pattern] = found[-1:] or [-1]
        return self._found[pattern][0]

    @cached_property
    def openings(self) -> frozenset[str]:
        """What begins like a tag anywhere, such as `<name` and `</name`, in lower case."""
        return frozenset(found.lower() for found in _BEGINNING.findall(self.text))


def protect(text: str) -> str:
    """Write each ``<`` that begins no tag as ``&lt;``; drop comments, declarations and scripts.

    Tags keep their name, images their alternative text: so there is one reading of attributes, and
    none that a parser could make hard work of.
    """
    if len(_PLAIN.findall(text)) == text.count("<"):
        return text
    source = _Source(text)
    parts: list[str] = []
    done = 0
    for opener in _OPENER.finditer(text):
        start = opener.start()
        if start < done:  # inside of a tag or a comment
            continue
        parts.append(text[done:start])
        kept, done = _read(source, start)
        parts.append(kept)
    parts.append(text[done:])
    return "".join(parts)


def _read(source: _Source, start: int) -> tuple[str, int]:
    """Give what is kept of a ``<`` and what belongs to it, and the place behind that."""
    text = source.text
    following = text[start + 1 : start + 2]
    if following and following in "!?":
        return _declaration(source, start)
    slash = "/" if following == "/" else ""
    if (found := _match(text, start, slash)) is None:
        return ("&lt;", start + 1) if slash else cut_off(text, start)
    name, attributes = found["name"].lower(), found["attributes"]
    known = name in ELEMENTS or "-" in name or ":" in name or _HAS_VALUE.search(attributes)
    if not known and (f"<{name}" if slash else f"</{name}") not in source.openings:
        return "&lt;", start + 1
    if name in RAW and not slash:
        return _raw(source, name, start, found.end())
    if name == "img" and (alternative := _ALTERNATIVE.search(attributes)) is not None:
        return _image(alternative[1]), found.end()
    return f"<{slash}{name}>", found.end()


def _match(text: str, start: int, slash: str) -> re.Match[str] | None:
    """Match a tag whose attributes look like some."""
    if (found := _SIMPLE.match(text, start)) is not None or slash:
        return found
    for reading in _READINGS:
        found = reading.match(text, start)
        if found is not None and (
            len(found[0]) > _LONGEST_SPOKEN or _are_attributes(found["attributes"])
        ):
            return found
    return None


def _image(alternative: str) -> str:
    plain = alternative.strip("\"'").replace('"', "&quot;").replace("<", "&lt;")
    return f'<img alt="{plain}">'


def cut_off(text: str, start: int) -> tuple[str, int]:
    """Give what is kept of a ``<`` that no ``>`` follows, and the place behind that."""
    found = _CUT_OFF.match(text, start)
    if found is None or found["name"].lower() not in ELEMENTS:
        return "&lt;", start + 1
    return " ", found.end()


def _are_attributes(text: str) -> bool:
    return all(
        "=" in attribute or attribute.lower() in _BARE_ATTRIBUTES or _UNSPOKEN.fullmatch(attribute)
        for attribute in _ATTRIBUTES.findall(text)
    )


def _declaration(source: _Source, start: int) -> tuple[str, int]:
    if source.text.startswith("<!--", start):
        end = source.comment_end(start)
        return ("", end) if end >= 0 else (" ", start + 4)
    found = _DECLARATION.match(source.text, start)
    return ("&lt;", start + 1) if found is None else ("", found.end())


def _raw(source: _Source, name: str, start: int, end: int) -> tuple[str, int]:
    """Drop an element whose content is no text; one that does not end only where no tags follow."""
    closing = rf"</{name}\s*>"
    if source.last(closing) >= end:
        found = re.compile(closing, re.IGNORECASE).search(source.text, end)
        return "", found.end() if found else end
    if source.last(_TAG_LIKE) >= end:
        return "&lt;", start + 1
    return "", len(source.text)
