"""Characters: what a text may hold before anything looks at its words.

Everything here takes time in proportion to the text, whatever it holds. Most texts need little of
it, and a few scans in C tell which: each function that has such ways out stands beside one that has
none and gives the same (``normalize_fully``, ``collapse_fully``).
"""

import re
import unicodedata

import regex

LETTER = regex.compile(r"\p{L}")

_SURROGATE = re.compile(r"[\ud800-\udfff]")

_LINE_BREAK = re.compile(r"[\r\v\f\x1c-\x1e\x85\u2028\u2029]")

_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")
_ASCII_UNUSUAL = bytes({*range(0x20), 0x7F} - {*b"\n\t"})

# The commonest characters that NFKC changes. With these out of the way most texts are in it, and
# that is told in a seventh of the time that bringing them to it takes.
_FULL_WIDTH = tuple((chr(ord(mark) + 0xFEE0), mark) for mark in ",!?:;()~")

# Outside of ASCII: all but letters of European languages and marks that NFKC leaves as they are,
# whatever they stand beside.
_UNPLAIN = re.compile(
    "[^\x00-\x7f\xa1-\xa7\xa9\xab\xac\xae\xb0\xb1\xb6\xb7\xbb\xbf-\u0131\u0134-\u013e\u0141-\u0148"
    "\u014a-\u017e\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03cf\u03fa-\u0482\u048a-\u052f\u2010"
    "\u2012-\u2016\u2018-\u2023\u2027\u2030-\u2032\u2039-\u203b\u20a9-\u20c0\u2190-\u222b\u2231-\u2328"
    "\u2500-\u29ff]"
)

# Drawn as nothing, or as something only one font knows: controls and format characters, soft
# hyphens, zero widths and fillers, private use, non-characters, the plane that is set aside for
# such, and the marks of lost bytes. White space stays, and U+FE0F and U+200D where they hold an
# emoji together.
_INVISIBLE = regex.compile(
    r"[[\p{Cc}\p{Cf}\p{Co}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}"
    r"\ufffc\ufffd\U000e0000-\U000effff]--[\t-\r\x85\u200d\ufe0f]]+",
    regex.V1,
)
# What may stand before a variation selector, and on both sides of a zero-width joiner.
_PICTOGRAPH = r"\p{Extended_Pictographic}\p{Emoji_Modifier}"
_STRAY_IN_EMOJI = regex.compile(
    rf"(?<![{_PICTOGRAPH}])\ufe0f+"
    rf"|(?<![{_PICTOGRAPH}\ufe0f])\u200d+"
    rf"|\u200d+(?![{_PICTOGRAPH}])"
)

# What is drawn as nothing and yet is printable to Python, and what may not stand before an emoji.
_INVISIBLE_PRINTABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufffc\ufffd\U000e0000-\U000effff]"
)

MAX_MARKS = 30
"""Combining marks kept on one letter, as in the Stream-Safe Text Format (UAX #15, section 13).

CPython orders the marks of a letter by insertion: 100,000 of them take six seconds to normalise.
"""

_MARK = regex.compile(r"\p{M}")
_TOO_MANY_MARKS = regex.compile(rf"\p{{M}}{{{MAX_MARKS + 1},}}+")


class LoneSurrogateError(ValueError):
    """The text holds half of a surrogate pair, so that it cannot be written as UTF-8."""


def refuse_surrogates(text: str) -> None:
    """Refuse a text that is not Unicode text.

    Raises
    ------
    LoneSurrogateError
        Names the code point and its position, never the text.
    """
    if text.isascii():
        return
    found = _SURROGATE.search(text)
    if found:
        raise LoneSurrogateError(
            f"text holds the lone surrogate U+{ord(found[0]):04X} at position {found.start()}: "
            "send text that can be written as UTF-8"
        )


def _drop_surplus_marks(text: str) -> str:
    return str(_TOO_MANY_MARKS.sub(lambda marks: marks[0][:MAX_MARKS], text))


def is_plain(text: str) -> bool:
    """Tell whether line breaks and control characters of ASCII are all that `normalize` changes."""
    return text.isascii() or _UNPLAIN.search(text) is None


def normalize(text: str) -> str:
    r"""Bring a text to NFKC, without invisible characters, its lines ended by ``\n`` alone.

    Spaces are left as they are. The result may be longer than the text: NFKC writes the one
    character U+FDFA as eighteen.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if is_plain(text):
        data = text.encode()
        usual = len(data.translate(None, _ASCII_UNUSUAL)) == len(data)
        return text if usual else normalize_fully(text)
    seen = text
    for space in "\n\t\u3000\xa0":  # which are no obstacle, and not printable to Python
        seen = seen.replace(space, "")
    # Of more marks in a row than a letter may have, one stands at a place that is looked at here.
    places = text[MAX_MARKS :: MAX_MARKS + 1]
    if (
        not seen.isprintable()
        or _INVISIBLE_PRINTABLE.search(text)
        or (not places.isascii() and _MARK.search(places))
    ):
        return normalize_fully(text)
    for wide, mark in _FULL_WIDTH:
        text = text.replace(wide, mark)
    return unicodedata.normalize("NFKC", text)


def normalize_fully(text: str) -> str:
    """Do as `normalize` does, with no way out."""
    text = _LINE_BREAK.sub("\n", text.replace("\r\n", "\n"))
    if text.isascii():
        return _ASCII_CONTROL.sub("", text)
    text = _drop_surplus_marks(_drop_invisible(text))
    # Dropping can bring two letters together that compose, and composing by compatibility can
    # leave a selector with no emoji before it (U+2122 becomes the letters TM).
    text = _drop_invisible(unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFKC", text)


def tidy(text: str) -> str:
    r"""Do as `normalize` does, but leave the characters that are seen as they were written."""
    text = _LINE_BREAK.sub("\n", text.replace("\r\n", "\n"))
    if text.isascii():
        return _ASCII_CONTROL.sub("", text)
    return _drop_surplus_marks(_drop_invisible(text))


def _drop_invisible(text: str) -> str:
    text = _INVISIBLE.sub("", text)
    if "\ufe0f" in text or "\u200d" in text:
        text = _STRAY_IN_EMOJI.sub("", text)
    return text


def collapse_whitespace(text: str) -> str:
    r"""Put one space between words and one ``\n`` between lines that hold something.

    The text is one that `normalize` gave.
    """
    if "\t" in text or "\u1680" in text:
        return collapse_fully(text)
    lines = [line.strip(" ") for line in text.split("\n")]
    return "\n".join([" ".join(line.split()) if "  " in line else line for line in lines if line])


def collapse_fully(text: str) -> str:
    """Do as `collapse_whitespace` does to any text."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
