r"""Markdown of one line after another, to text without a parser.

Most Markdown is a comment with a link, some code or a word in italics. Where every line of a text
can only be one of a paragraph, be it quoted or an item, or of a heading, and every mark that could
mean something is part of a code span, a link or emphasis with nothing of the kind inside,
CommonMark leaves nothing to be weighed. What is in any way unusual is left to `models.text.markup`,
which says what Markdown means here.
"""

from __future__ import annotations

import re

# What a line of a paragraph may begin with: nothing that begins a block. A number is none of a list
# without what follows it there.
_LINE = (
    r"(?:[^\W\d_]|[@\"'($\\\u201c\u2018]|\d+(?![\d.)])|[*_+#-](?=[^\W_])|\*\*(?=[^\W_])|`(?!`)"
    r"|\[(?![^\]\n]*\]:))"
)
# Before that may stand what says that the line is quoted, an item or a heading, which is no text.
_BEFORE = re.compile(
    r"^[ ]{0,3}(?:>[ ]?|[-*+][ ]{1,4}(?=[^ \n]))+(?:#{1,6}[ ](?![^\n]*#[ ]*$))?"
    r"|^[ ]{0,3}#{1,6}[ ](?![^\n]*#[ ]*$)",
    re.MULTILINE,
)
_BEFORE_SIGN = re.compile(r"\n[ ]{0,3}[-*+>#]")
_OTHER_LINE = re.compile(rf"^(?![ ]{{0,3}}{_LINE}|[ ]*$)", re.MULTILINE)
# Entities, images, strikethrough, tags and addresses in angle brackets, breaks.
_UNUSUAL = re.compile(r"&#?[a-zA-Z0-9]{1,32};|!\[|~~|<(?=[a-zA-Z/!?])|\\$", re.MULTILINE)
_PLAIN = r"[^*_`\[\]\\\n]"
# It begins with a set, since the next of some characters is found several times as fast as the next
# place at which one of several things may begin.
_MARK = re.compile(
    r"[*_`\[\]\\](?:"
    # An escape.
    r"(?<=\\)(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<=`)(?P<code>[^`\n]+)`(?!`)"
    rf"|(?<=\[)(?P<text>{_PLAIN}+)\]\((?P<target>(?:[^\s()<>\\]|\([^\s()<>\\]*\))+)\)"
    rf"|(?<=\[)(?P<brackets>{_PLAIN}*\])(?![(\[])"
    # Emphasis begins before a letter or digit, or with a quotation where a word may begin. It ends
    # after a letter or digit, or after punctuation where a word may end. Underscores do neither
    # amid a word.
    r"|(?<=\*)(?P<stars>\*{0,2})(?=[^\W_]|(?<=\s.)[\"'(])"
    rf"(?P<starred>{_PLAIN}*(?:(?<=[^\W_])|(?<=[.,;:!?)\"'])(?=\*+(?:[\s.,;:!?)]|\Z))))"
    r"\*(?P=stars)(?!\*)"
    rf"|(?<=_)(?<![^\s(\"']_)(?P<lines>_{{0,2}})(?=[^\W_]|(?<=\s.)[\"'(])(?P<lined>{_PLAIN}*"
    r"(?:(?<=[^\W_])|(?<=[.,;:!?)\"'])))_(?P=lines)(?=[\s.,;:!?)\"']|\Z)"
    # These begin nothing, so they are text.
    r"|(?P<literal>(?<=\*)\**(?=\s|\Z)|(?<=_)_*(?=\s|\Z)|(?<=[^\W_]_)_*)"
    r"|(?<!\\))"
)


class _UnusualError(Exception):
    """The text holds what only a parser can read."""


def read(source: str, is_target: re.Pattern[str]) -> str | None:
    """Give what `models.text.markup.markdown_to_text` gives, but for white space, or None.

    Parameters
    ----------
    source
        A normalised text.
    is_target
        What the target of a link begins with; brackets before others are text.
    """
    if _BEFORE_SIGN.search(f"\n{source}"):
        source = _BEFORE.sub("", source)
    if _UNUSUAL.search(source) or _OTHER_LINE.search(source):
        return None

    def words(mark: re.Match[str]) -> str:
        kind = mark.lastgroup
        if kind == "target" and is_target.match(mark["target"]):
            return mark["text"]
        if kind == "code":
            code = mark["code"]
            return code[1:-1] if code[0] == code[-1] == " " and code.strip(" ") else code
        if kind in ("starred", "lined", "escaped"):
            return mark[kind]
        if kind in ("literal", "brackets"):
            return mark[0]
        raise _UnusualError

    try:
        return _MARK.sub(words, source)
    except _UnusualError:
        return None
