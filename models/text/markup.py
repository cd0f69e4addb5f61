r"""HTML, Markdown and BBCode to plain text, in linear time whatever they hold.

Which of them a text is has to be guessed, and a wrong guess eats the user's words: ``a < b`` is no
tag and ``x_1 * y_2`` no emphasis. So nothing is parsed without evidence:

* HTML: a tag with the name of an element that people write, closed at once or followed by an
  attribute with a value: ``<p>``, ``</li>``, ``<a href=``. ``<name>`` and ``i <b and`` are text.
* Markdown: a link with a target, a code span or fence, closed emphasis that starts and ends at a
  word's edge, a heading, a quoted line, two items of a list.

HTML with block elements is read as HTML first, and as Markdown after that where its text shows
evidence of that too. Otherwise Markdown comes first, with the inline HTML in it. Tags within
code (between backticks) are no evidence.

Most texts show at a glance that there is no markup in them, or only such as needs no parser; the
functions whose names end in ``_fully`` do without these ways out and give the same.

Once a text is known to be HTML, a ``<`` that begins no tag is text (`models.text.tags`), and the
rest is read as a browser would. BBCode (`models.text.bbcode`) goes first.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from models.text import simple_html, simple_markdown
from models.text.bbcode import strip_bbcode
from models.text.tags import ELEMENTS, RAW, protect

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_MARKDOWN = 10_000
"""Characters read as Markdown; what follows is left as written.

markdown-it-py takes up to 25 µs a character on hostile input such as ``![![![``, which is seconds
for the longest texts. No model reads that far.
"""

_BLOCK_NAMES = (
    "address article aside blockquote body br caption center dd details dialog dir div dl dt "
    "fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html legend "
    "li main menu nav ol optgroup option p pre search section summary table tbody tfoot thead "
    "title tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset(("td", "th"))
_DROPPED = ("script", "style", "template", "iframe")
_KEPT_NAMES = frozenset((*_DROPPED, "img"))

# `<name>`, `<link>` or `<address>` are placeholders more often than markup and no evidence.
_BLOCK_EVIDENCE = (
    "article|blockquote|body|center|dd|div|dl|dt|figure|h1|h2|h3|h4|h5|h6|head|html|li|ol|p|pre"
    "|section|table|tbody|td|th|thead|tr|ul"
)
BLOCK_TAGS = frozenset(
    f"{slash}{name}" for name in _BLOCK_EVIDENCE.split("|") for slash in ("", "/")
)
_INLINE_EVIDENCE = (
    "a|b|big|br|code|del|details|em|font|hr|i|img|ins|kbd|s|small|span|strike|strong|sub|summary"
    "|sup|tt|u"
)
_TAG_END = r"(?:\s{0,100}/?>|\s{1,100}[a-z][a-z0-9:_-]{0,100}\s{0,100}=)"
_BLOCK_TAG = re.compile(
    rf"<(?:/?(?:{_BLOCK_EVIDENCE}){_TAG_END}|/(?:script|style)>|!doctype html)", re.IGNORECASE
)
_INLINE_TAG = re.compile(rf"<(?:/?(?:{_INLINE_EVIDENCE}){_TAG_END}|!--[^<>]{{0,500}}-->)", re.I)

_TARGET = r"(?:[a-zA-Z][a-zA-Z0-9+.-]{1,20}:|[/#.?]|www\.|[^\s()<>]{1,200}[./])"
# What begins a line of Markdown, each behind a character that is in every such text: to look for
# that first is a hundred times faster.
_LINE_SIGNS = (
    ("]", r"\[[^\[\]\n]{1,100}\]:[ ]+\S"),
    ("`", r"```"),
    ("~", r"~~~"),
    ("#", r"\#{1,6}[ ]+\S"),
    (">", r">[ ]?[^\W\d]"),
    ("-", r"-[ ]+\S.*\n[ ]{0,3}-[ ]+\S"),
    ("*", r"\*[ ]+\S.*\n[ ]{0,3}\*[ ]+\S"),
)
# What is Markdown anywhere.
_SIGNS = (
    ("]", rf"\]\(<?{_TARGET}"),
    ("`", r"`[^`\n]+`"),
    # Emphasis starts and ends at a word's edge and holds a letter: 2*3*4, *26# and \sum_{i}_j are
    # text. A star may touch letters of scripts that are written without spaces.
    (
        "*",
        r"\*(?<![A-Za-z0-9*\\]\*)\*{0,2}(?=[^\s*\\)\]}.,;:!?])(?=[^*\n]*?[^\W\d_])[^*\n]+"
        r"(?<=[^\s*])\*{1,3}(?![A-Za-z0-9*])",
    ),
    (
        "_",
        r"_(?<![^\s(\[\"'*~\u201c\u2018\u2013\u2014-]_)_{0,2}(?=[^\s_])(?=[^_\n]*?[^\W\d_])[^_\n]+"
        r"(?<=[^\s_])_{1,3}(?![\w{(\\]|\.\w)",
    ),
    ("~", r"~~(?=[^\s~])[^~\n]+(?<=[^\s~])~~"),
)
_MARKDOWN = (
    *((sign, re.compile(pattern)) for sign, pattern in _SIGNS),
    # What begins with a line feed is found faster than what begins a line.
    *((sign, re.compile(rf"\n[ ]{{0,3}}{pattern}")) for sign, pattern in _LINE_SIGNS),
)
# CommonMark does not close **重點:**請 since a letter follows the punctuation; its authors mean it.
_LEFTOVER_STRONG = re.compile(
    r"(?<![A-Za-z0-9*])\*\*(?=[^\s*])([^*\n]{1,500})(?<=[^\s*])\*\*(?![A-Za-z0-9*])"
)
_LINK_TARGET = re.compile(_TARGET)
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)

_TAG_NAME = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_PRE = re.compile(r"(</?pre(?=[\s/>]))", re.IGNORECASE)


def strip_markup(text: str) -> str:
    r"""Give the words of a text that may be HTML, Markdown, BBCode, some of them or none.

    Parameters
    ----------
    text : str
        Normalised (``characters.normalize``); form feeds in particular must be gone.

    Returns
    -------
    str
        The same object where there was no markup. Lines end where blocks ended, spaces are not
        collapsed, and what entities stood for has not been normalised.
    """
    if "[" in text:
        text = strip_bbcode(text)
    if "<" in text and "`" not in text:
        shown = simple_html.read(text, GAPS, BLOCK_TAGS)
        if shown is not None:
            return read_as_markdown(shown)
    return _strip_others(text, markdown_to_text)


def read_as_markdown(text: str) -> str:
    """Give the text of Markdown where it shows that it is some."""
    return markdown_to_text(text) if _is_markdown(text) else text


def strip_markup_fully(text: str) -> str:
    """Do as `strip_markup` does, with no way out; white space may be another."""
    return _strip_others(strip_bbcode(text), markdown_fully)


def _strip_others(text: str, from_markdown: Callable[..., str]) -> str:
    visible = _outside_code(text) if "`" in text else text
    tagged = "<" in visible
    if tagged and _BLOCK_TAG.search(visible):
        text = html_to_text(text)
        return from_markdown(text) if _is_markdown(text) else text
    inline = tagged and _INLINE_TAG.search(visible) is not None
    if _is_markdown(text):
        return from_markdown(text, inline_html=inline)
    if inline:
        return html_to_text(text)
    if "&" in text:
        return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return text


def html_to_text(source: str) -> str:
    r"""Give the text that a browser would show, the alternative text of images in place.

    Before the parser sees them, all elements become ``span``, except the few that are dropped
    whole and images. That is the guard against hostile input: HTML's rules for misnested
    formatting elements can make 4 GB of nodes from 100 kB of source
    (``<p>``, 1,000 ``<b>`` with different attributes, ``</p>``, then ``<p>x</p>`` again and
    again), and plain elements need none of these rules. Blocks leave a form feed, which HTML
    takes as white space and `normalize` has removed from the source.
    """
    source = protect(source)
    if _PRE.search(source):
        source = _mark_preformatted_lines(source)
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - few texts are HTML

    tree = LexborHTMLParser(_TAG_NAME.sub(_plain_element, source))
    body = tree.body
    if body is None:
        return ""
    for image in tree.css("img"):
        alternative = image.attributes.get("alt")
        if alternative:
            image.insert_before(f" {alternative} ")
    tree.strip_tags(list(_DROPPED), recursive=True)
    return body.text().replace("\n", " ").replace("\f", "\n")


def markdown_to_text(source: str, *, inline_html: bool = False) -> str:
    """Give the text of CommonMark, links as their text, images as their alternative text.

    Line breaks are kept, as comments mean them. Without `inline_html`, tags are text.
    """
    if not inline_html and len(source) <= MAX_MARKDOWN:
        text = simple_markdown.read(source, _LINK_TARGET)
        if text is not None:
            return _LEFTOVER_STRONG.sub(r"\1", text) if "**" in text else text
    return markdown_fully(source, inline_html=inline_html)


def markdown_fully(source: str, *, inline_html: bool = False) -> str:
    """Do as `markdown_to_text` does, by the parser; white space may be another."""
    head, tail = source, ""
    if len(source) > MAX_MARKDOWN:
        cut = source.rfind("\n", MAX_MARKDOWN // 2, MAX_MARKDOWN)
        cut = MAX_MARKDOWN if cut < 0 else cut
        head, tail = source[:cut], source[cut:]
    text = html_to_text(_markdown(inline_html).render(head))
    return _LEFTOVER_STRONG.sub(r"\1", text) + tail


@functools.cache
def _markdown(inline_html: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - few texts are Markdown

    parser = MarkdownIt("commonmark", {"html": inline_html, "breaks": True})
    parser.enable("strikethrough")
    # Targets are dropped, so they need no escaping. One that does not look like a target is a
    # remark in brackets: [note 1](see below).
    parser.normalizeLink = _unchanged  # type: ignore[method-assign]
    parser.validateLink = _is_target  # type: ignore[method-assign]
    # It gathers its rules at its first text, and while it does, other threads see none of them.
    parser.render("*a*")
    return parser


def _unchanged(url: str) -> str:
    return url


def _is_target(url: str) -> bool:
    return _LINK_TARGET.match(url) is not None


def _is_markdown(text: str) -> bool:
    text = f"\n{text}"  # so that each line begins with a line feed
    for sign, pattern in _MARKDOWN:  # noqa: SIM110 - twice as fast as `any`
        if sign in text and pattern.search(text):
            return True
    return False


def _outside_code(text: str) -> str:
    """Cut fenced code and code spans out, since tags in them are no markup."""
    return _CODE_SPAN.sub(" ", " ".join(text.split("```")[::2]))


def _plain_element(tag: re.Match[str]) -> str:
    name = tag[2].lower()
    return tag[0] if name in _KEPT_NAMES else f"{_gap(name)}<{tag[1]}span"


def _gap(name: str) -> str:
    return "\f" if name in _BLOCKS else " " if name in _CELLS else ""


# What the tags that need no parser leave, by name, closing ones with their slash.
GAPS = {
    f"{slash}{name}": _gap(name) for name in ELEMENTS - RAW - _KEPT_NAMES for slash in ("", "/")
}


def _mark_preformatted_lines(source: str) -> str:
    """Turn the line feeds within ``pre`` into form feeds, so that its lines stay lines."""
    parts = _PRE.split(source)
    inside = False
    for index, part in enumerate(parts):
        if index % 2:
            inside = not part.startswith("</")
        elif inside:
            parts[index] = part.replace("\n", "\f")
    return "".join(parts)
