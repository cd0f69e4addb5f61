"""Characters: what a text may hold before anything looks at its words.

Everything here takes time in proportion to the text, whatever it holds.
"""

import functools
import re
import unicodedata

_SURROGATE = re.compile(r"[\ud800-\udfff]")

_LINE_BREAK = re.compile(r"[\r\v\f\x1c-\x1e\x85\u2028\u2029]")

_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")

# Symbols that an emoji sequence is made of: what may stand before a variation selector, and on
# both sides of a zero-width joiner.
_PICTOGRAPH = r"\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff"

# Drawn as nothing, or as something only one font knows: controls, Default_Ignorable_Code_Point
# (DerivedCoreProperties.txt of Unicode: soft hyphens, zero widths, bidi controls, fillers, tags),
# interlinear and script-specific format characters, private use, non-characters, and the marks of
# lost bytes. U+FE0F and U+200D stay where they hold an emoji together.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
    r"\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    r"\u180b-\u180f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0e\ufeff\uffa0\ufff0-\uffff"
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U0010ffff]+"
)
_STRAY_IN_EMOJI = re.compile(
    rf"(?<![{_PICTOGRAPH}])\ufe0f+"
    rf"|(?<![{_PICTOGRAPH}\ufe0f])\u200d+"
    rf"|\u200d+(?![{_PICTOGRAPH}])"
)

MAX_MARKS = 30
"""Combining marks kept on one letter, as in the Stream-Safe Text Format (UAX #15, section 13).

CPython orders the marks of a letter by insertion: 100,000 of them take six seconds to normalise.
"""


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


@functools.cache
def mark_class(last: int = 0x1FFFF) -> str:
    r"""Give the combining marks of all scripts as the inside of a regular expression's brackets.

    Without them the vowel signs of Hindi or Thai would end a word: ``\w`` leaves them out.
    Above U+1FFFF there are only ideographs, and selectors that `normalize` drops.
    """
    ranges: list[list[int]] = []
    for code in range(0x300, last + 1):
        if unicodedata.category(chr(code)).startswith("M"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)


@functools.cache
def _possible_surplus() -> re.Pattern[str]:
    """Match runs that may be marks; any letter above U+FFFF may, as exact ranges would be slow."""
    return re.compile(rf"[{mark_class(0xFFFF)}\U00010000-\U0001ffff]{{{MAX_MARKS + 1},}}")


@functools.cache
def _surplus() -> re.Pattern[str]:
    marks = mark_class()
    return re.compile(rf"(?<=[{marks}]{{{MAX_MARKS}}})[{marks}]+")


def _drop_surplus_marks(text: str) -> str:
    return _possible_surplus().sub(lambda run: _surplus().sub("", run[0]), text)


def normalize(text: str) -> str:
    r"""Bring a text to NFKC, without invisible characters, its lines ended by ``\n`` alone.

    Spaces are left as they are. The result may be longer than the text: NFKC writes the one
    character U+FDFA as eighteen.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
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
    r"""Put one space between words and one ``\n`` between lines that hold something."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
