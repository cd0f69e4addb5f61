"""Raw text to what the model sees: plain text that keeps its case and its stop words."""

import re

from models.text.characters import (
    collapse_fully,
    collapse_whitespace,
    normalize,
    normalize_fully,
    refuse_surrogates,
    tidy,
)
from models.text.markup import strip_markup, strip_markup_fully

MAX_CHARS = 100_000
"""Characters of a text that are looked at, so that no later step can be made to work for long."""

# ASCII only, since Chinese text goes on right after a URL. Round brackets belong to a URL in pairs;
# a full stop after it does not. Brackets around the whole go with it.
_IN_URL = r"[!#-'*-;=?-Z\\^-z|~]"
_URL = re.compile(
    r"(?P<open>[(\[<])?(?<![a-z0-9])(?:(?:https?|ftp)://|www\.(?=[a-z0-9]))"
    rf"(?:{_IN_URL}|\({_IN_URL}*\))*(?<=[a-z0-9/#=&_~%+)-])(?(open)[)\]>]?)",
    re.IGNORECASE,
)
# The same up to its end, all at once: of what it may not end with, `remove_urls` gives back itself.
_URL_AND_MARKS = re.compile(
    r"(?P<open>[(\[<])?(?<![a-z0-9])(?:(?:https?|ftp)://|www\.(?=[a-z0-9]))"
    rf"(?:{_IN_URL}++|\({_IN_URL}*+\))*+",
    re.IGNORECASE,
)
_NO_END = "!$'*,.:;?@\\^`|"
# What is in every URL, near its beginning.
_SCHEME_SIGN = re.compile("://")
# The next of some characters is found several times as fast as either of two beginnings.
_URL_SIGN = re.compile(r"[:wW](?:(?<=:)//|(?<=[wW])[wW]{2}\.)")
_SCHEMES = ("https", "http", "ftp")


def clean(raw: str) -> str:
    """Turn HTML, Markdown or plain text as users send it into plain text in NFKC.

    Code stays, images leave their alternative text, links their text. URLs are removed: a model
    would see their tracking parameters, and even host names alone would group users by where
    they link to rather than by what they say. A text that was only a URL comes out empty.

    Cleaning a clean text again changes nothing, unless the first time made markup visible, as in
    ``&lt;b&gt;``, or left some, as in Markdown of great length: a text cannot say whether its
    ``<b>`` is meant.

    Parameters
    ----------
    raw : str
        The text as received. Only the first `MAX_CHARS` characters are used.

    Returns
    -------
    str
        Lines joined by one line feed, words by one space. Empty if no words are left.

    Raises
    ------
    LoneSurrogateError
        If the text cannot be written as UTF-8.
    """
    raw = raw[:MAX_CHARS]
    refuse_surrogates(raw)
    source = normalize(raw)[:MAX_CHARS]
    return finished(source, strip_markup(source))


def finished(source: str, text: str) -> str:
    """Do the rest of `clean` with a source from which `strip_markup` has made a text."""
    # Taking out of ASCII what is no entity leaves nothing to be brought to another form.
    if text is not source and ("&" in source or not source.isascii()):
        text = normalize(text)
    return collapse_whitespace(remove_urls(text) if may_hold_url(text) else text)


def may_hold_url(text: str) -> bool:
    """Tell whether there is what every URL has."""
    return "://" in text or (("w." in text or "W." in text) and "www." in text.lower())


def clean_fully(raw: str) -> str:
    """Do as `clean` does with none of the ways out for texts that need little: its reference."""
    raw = raw[:MAX_CHARS]
    refuse_surrogates(raw)
    text = normalize_fully(strip_markup_fully(normalize_fully(raw)[:MAX_CHARS]))
    return collapse_fully(_URL.sub(" ", text))


def remove_urls(text: str) -> str:
    """Put a space in place of each URL; looks for one only where something says that it is one."""
    parts: list[str] = []
    done = 0
    signs = _URL_SIGN if "w." in text or "W." in text else _SCHEME_SIGN
    for sign in signs.finditer(text):
        start = sign.start()
        if sign[0] == "://":
            before = text[max(0, start - 5) : start].lower()
            start -= next((len(scheme) for scheme in _SCHEMES if before.endswith(scheme)), 0)
        if start < done or (start == sign.start() and sign[0] == "://"):
            continue
        url = None
        if start > done and text[start - 1] in "([<":
            url = _URL_AND_MARKS.match(text, start - 1)
        url = url or _URL_AND_MARKS.match(text, start)
        if url:
            parts.append(text[done : url.start()])
            done = url.start() + len(url[0].rstrip(_NO_END))
            if url["open"] and text[done : done + 1] in (")", "]", ">"):
                done += 1
    parts.append(text[done:])
    return " ".join(parts)


def verbatim(raw: str) -> str:
    """Take the markup out of a text and leave the rest as its author wrote it, to be quoted.

    Unlike `clean`, it keeps URLs and does not bring characters to NFKC, which writes the comma of
    Chinese as that of English.

    Raises
    ------
    LoneSurrogateError
        If the text cannot be written as UTF-8.
    """
    raw = raw[:MAX_CHARS]
    refuse_surrogates(raw)
    return collapse_fully(tidy(strip_markup(tidy(raw))))
