"""Raw text to what the model sees: plain text that keeps its case and its stop words."""

import re

from models.text.characters import collapse_whitespace, normalize, refuse_surrogates, tidy
from models.text.markup import strip_markup

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
    text = strip_markup(source)
    if text is not source:
        text = normalize(text)
    if "://" in text or "www." in text.lower():
        text = _URL.sub(" ", text)
    return collapse_whitespace(text)


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
    return collapse_whitespace(tidy(strip_markup(tidy(raw))))
