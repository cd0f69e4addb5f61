"""What stands in a clean text beside its words: people, placeholders, markup and entities.

The embedding model reads past it; a list of words would be full of it. Each kind is told by a sign
that most texts do not have, and nothing else is looked for without it.
"""

import html
import re
import string

# Entities that were escaped more often than once: `clean` takes them apart once, as a browser does.
_MOST_ESCAPES = 4
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{1,6}|#x[0-9a-f]{1,5});", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>\n]{0,200}+>", re.IGNORECASE)

# BBCode that is not closed, emoticons as Weibo writes them, and what forums put in place of a text:
# one word in brackets, or a closing one, or one with a value. Not the index in ``list[index]``.
_BRACKETED = re.compile(
    r"(?<!\w)\[[^\[\]\s]{1,40}+\]|\[/\w{1,12}+\]|\[\w{1,12}+=[^\[\]]{0,200}+\]", re.ASCII
)

# Addresses of mail, and names after an at sign, with the word for "reply" that stands before it.
_PERSON = re.compile(r"(?<![a-z0-9_.+-])[a-z0-9_.+-]*+@[\w.·-]{1,64}+", re.IGNORECASE)
_REPLY = re.compile(r"回[复覆復](?=@)")
# A user as Reddit writes one.
_USER = re.compile(r"(?<![\w/])/?u/[\w-]{3,40}+", re.ASCII | re.IGNORECASE)

_PLACEHOLDERS = frozenset(("deleted", "removed", "n/a", "nan", "none", "null", "undefined"))
_BETWEEN = re.compile(rf"\(\s?(?:{'|'.join(sorted(_PLACEHOLDERS))})\s?\)")
_LONGEST_PLACEHOLDER = 20
"""Characters of a line that is one, with marks around it."""
_AROUND = string.punctuation + string.whitespace


def without_leftovers(text: str) -> str:
    """Put a space in place of all that is no word of the author's.

    Parameters
    ----------
    text
        Clean, and case-folded.
    """
    if "&" in text:
        text = _unescaped(text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "[" in text:
        text = _BRACKETED.sub(" ", text)
    if "@" in text:
        text = _PERSON.sub(" ", _REPLY.sub("", text))
    if "u/" in text:
        text = _USER.sub(" ", text)
    if "(" in text:
        text = _BETWEEN.sub(" ", text)
    if "\n" in text or len(text) <= _LONGEST_PLACEHOLDER:
        lines = text.split("\n")
        text = "\n".join(
            [
                line
                for line in lines
                if len(line) > _LONGEST_PLACEHOLDER or line.strip(_AROUND) not in _PLACEHOLDERS
            ]
        )
    return text


def _unescaped(text: str) -> str:
    for _ in range(_MOST_ESCAPES):
        if not _ENTITY.search(text):
            break
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return _ENTITY.sub(" ", text)
