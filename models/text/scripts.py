"""Which scripts the letters of texts are of."""

from __future__ import annotations

import functools
import string
from collections.abc import Iterable, Sequence

import numpy as np
import regex
from numpy.typing import NDArray

SCRIPTS = (
    *("latin", "han", "kana", "hangul", "cyrillic", "greek", "arabic", "hebrew", "devanagari"),
    *("thai", "other"),
)
"""All that are told apart."""

# As ISO 639-1 has the languages; those that are not named are written in Latin letters, or in what
# is told apart from no other script.
_OF_LANGUAGES = {
    "zh": ("han",),
    "ja": ("han", "kana"),
    "ko": ("hangul", "han"),
    **dict.fromkeys(["be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk"], ("cyrillic",)),
    "el": ("greek",),
    **dict.fromkeys(["ar", "fa", "ps", "ug", "ur"], ("arabic",)),
    **dict.fromkeys(["he", "yi"], ("hebrew",)),
    **dict.fromkeys(["hi", "mr", "ne", "sa"], ("devanagari",)),
    "th": ("thai",),
    **dict.fromkeys(
        ["am", "bn", "gu", "hy", "ka", "km", "kn", "lo", "ml", "my", "or", "pa", "si", "ta", "te"],
        ("other",),
    ),
}
_LETTERS = {
    "latin": r"\p{Latin}",
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}ー]",
    "hangul": r"\p{Hangul}",
    "cyrillic": r"\p{Cyrillic}",
    "greek": r"\p{Greek}",
    "arabic": r"\p{Arabic}",
    "hebrew": r"\p{Hebrew}",
    "devanagari": r"\p{Devanagari}",
    "thai": r"\p{Thai}",
    "other": r"[\p{L}--[\p{Latin}\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Cyrillic}\p{Greek}"
    r"\p{Arabic}\p{Hebrew}\p{Devanagari}\p{Thai}]]",
}
_LATIN = SCRIPTS.index("latin")
_NONE = len(SCRIPTS)
_END = 0x33480
"""Above the last letter that Unicode has: what is beyond counts as none."""

_NO_ASCII_LETTERS = bytes({*range(128)} - {*string.ascii_letters.encode()})


def scripts_of(languages: Iterable[str]) -> frozenset[str]:
    """Give the scripts of languages by their codes, Latin among them: all models know its letters.

    Examples
    --------
    >>> sorted(scripts_of(["en", "zh"]))
    ['han', 'latin']
    """
    found = {"latin"}
    for code in languages:
        found.update(_OF_LANGUAGES.get(code, ()))
    return frozenset(found)


def count_letters(texts: Sequence[str]) -> NDArray[np.int32]:
    """Count the letters of each text by script, (texts, scripts)."""
    counts = np.zeros((len(texts), len(SCRIPTS)), np.int32)
    others = []
    for row, text in enumerate(texts):
        if text.isascii():
            counts[row, _LATIN] = len(text.encode().translate(None, _NO_ASCII_LETTERS))
        else:
            others.append(row)
    if others:
        joined = "".join(texts[row] for row in others).encode("utf-32-le", "surrogatepass")
        codes = np.minimum(np.frombuffer(joined, np.uint32), _END)
        owners = np.repeat(np.arange(len(others)), [len(texts[row]) for row in others])
        keys = owners * (_NONE + 1) + _scripts()[codes]
        found = np.bincount(keys, minlength=len(others) * (_NONE + 1))
        counts[others] = found.reshape(-1, _NONE + 1)[:, :_NONE]
    return counts


@functools.cache
def _scripts() -> NDArray[np.uint8]:
    """Give the script of each code point, `_NONE` for what is no letter."""
    table = np.full(_END + 1, _NONE, np.uint8)
    everything = "".join(map(chr, range(_END)))
    for place, script in enumerate(SCRIPTS):
        letters = regex.compile(rf"[{_LETTERS[script]}&&[\p{{L}}ー]]++", regex.V1)
        for found in letters.finditer(everything):
            table[found.start() : found.end()] = place
    return table
