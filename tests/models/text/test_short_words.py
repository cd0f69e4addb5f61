"""Short words are found among all that may stand in a text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.text.short_words import LONGEST, ShortWords, keys_at

LETTERS = st.characters(codec="ascii", exclude_characters="\0")
WORDS = st.text(LETTERS, min_size=1, max_size=LONGEST)


@given(st.lists(WORDS, unique=True), st.lists(WORDS | st.text(max_size=2)))
def test_words_are_found_and_others_are_not(words: list[str], texts: list[str]) -> None:
    given_words = [text.encode()[:LONGEST] for text in [*texts, *words, ""]]
    ends = np.cumsum([len(word) for word in given_words])
    lengths = np.diff(ends, prepend=0)
    data = b"".join(given_words) + bytes(LONGEST)
    found, numbers = ShortWords(words).find(keys_at(data, ends - lengths, lengths))
    by_word = {word.encode(): number for number, word in enumerate(words)}
    expected = {place: by_word[word] for place, word in enumerate(given_words) if word in by_word}
    assert dict(zip(found.tolist(), numbers.tolist(), strict=True)) == expected
