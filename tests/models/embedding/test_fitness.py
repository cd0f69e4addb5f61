"""Whether a model reads what users write: shares, and the warning that names another."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.embedding.fitness import WINDOW_TOKENS, ModelFit, unread_letters
from models.text import SCRIPTS, count_letters, scripts_of

ENGLISH = SimpleNamespace(name="all-MiniLM-L6-v2", precision="int8", reads=("en",))


def by_script(**letters: int) -> np.ndarray:
    return np.array([letters.get(script, 0) for script in SCRIPTS], np.int64)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("It's 12 o'clock!", {"latin": 9}),
        ("caf\u00e9 \u4f60\u597d", {"latin": 4, "han": 2}),
        ("\u30ab\u30bf\u30ab\u30ca\u30fc\u306e", {"kana": 6}),
        ("\ud55c\uad6d \u043f\u0440\u0438 \u03b1", {"hangul": 2, "cyrillic": 3, "greek": 1}),
        (
            "\u0627\u0644 \u05d0 \u0905 \u0e01 \u10d0",
            {"arabic": 2, "hebrew": 1, "devanagari": 1, "thai": 1, "other": 1},
        ),
        ("\U00020000 \U0001f600 \U0010ffff", {"han": 1}),
    ],
)
def test_letters_are_counted_by_script(text: str, letters: dict[str, int]) -> None:
    [found] = count_letters([text])
    np.testing.assert_array_equal(found, by_script(**letters))


@given(st.lists(st.text()))
def test_every_letter_is_of_one_script_and_texts_do_not_mix(texts: list[str]) -> None:
    together = count_letters(texts)
    assert together.shape == (len(texts), len(SCRIPTS))
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, count_letters([text])[0])
        assert row.sum() <= len(text)
        if text.isascii():
            assert row.sum() == sum(map(str.isalpha, text))


def test_a_model_reads_the_scripts_of_its_languages_and_latin() -> None:
    assert scripts_of(["ja", "fr"]) == {"latin", "han", "kana"}
    letters = {"latin": 5, "han": 7, "thai": 1}
    assert unread_letters(letters, ENGLISH) == 8
    assert unread_letters(letters, SimpleNamespace(**{**vars(ENGLISH), "reads": None})) == 0


@pytest.mark.parametrize(
    ("model", "words", "unknown", "letters", "told"),
    [
        (ENGLISH, False, 0.3, {"han": 70, "latin": 30}, "embedding.model = multilingual"),
        # Every jamo is in BERT's vocabulary, so no token is unknown.
        (ENGLISH, False, 0.0, {"hangul": 100}, "embedding.model = multilingual"),
        (ENGLISH, False, 0.3, {"latin": 100}, "segmenter model advise"),
        (ENGLISH, True, 0.3, {"latin": 100}, "segmenter model fit words"),
    ],
)
def test_what_is_over_the_limit_is_told_once_until_it_is_below(
    caplog: pytest.LogCaptureFixture, model, words, unknown, letters, told
) -> None:
    fit = ModelFit(model, 0.2, words=words)
    part = by_script(**letters)
    with caplog.at_level(logging.WARNING):
        fit(WINDOW_TOKENS - 1, int(unknown * WINDOW_TOKENS), part)
        assert not caplog.messages  # too few to say
        for _ in range(3):
            fit(WINDOW_TOKENS, int(unknown * WINDOW_TOKENS), part)
        [message] = caplog.messages
        assert told in message
        fit(WINDOW_TOKENS, 0, by_script(latin=100))
        fit(WINDOW_TOKENS, int(unknown * WINDOW_TOKENS), part)
        assert len(caplog.messages) == 2


def test_what_is_at_the_limit_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    fit = ModelFit(ENGLISH, 0.2, words=False)
    fit(WINDOW_TOKENS, WINDOW_TOKENS // 5, by_script(latin=80, han=20))
    assert not caplog.messages
