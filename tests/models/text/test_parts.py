"""Sentences and words of a text, and what is left without each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.parts import Part, sentences, words


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two is 3.5 good! Three?", ["One.", "Two is 3.5 good!", "Three?"]),
        ("我今天喝了咖啡。味道很好\uff01再来", ["我今天喝了咖啡。", "味道很好\uff01", "再来"]),
        ('He said "no." Then\nleft', ['He said "no."', "Then", "left"]),
        ("no end", ["no end"]),
        (" \n ", []),
    ],
)
def test_a_text_is_cut_into_its_sentences(text, parts):
    assert [part.text for part in sentences(text, 9)] == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Don't, a well-kept pot!", ["Don't", "a", "well-kept", "pot"]),
        ("咖啡味道很好 daily", ["咖啡", "味道", "很", "好", "daily"]),
        ("...", []),
    ],
)
def test_a_text_is_cut_into_its_words(text, parts):
    assert [part.text for part in words(text, 9)] == parts


def test_what_is_left_is_the_rest_of_the_text():
    assert sentences("One. Two. Three.", 2) == [
        Part("One.", "Two. Three."),
        Part("Two.", "One. Three."),
    ]
    assert words("good cup", 1) == [Part("good", "cup")]


@given(st.text(max_size=60))
def test_each_part_is_in_the_text_and_only_it_is_gone(text: str) -> None:
    for part in (*sentences(text, 100), *words(text, 100)):
        assert part.text
        assert part.text in text
        letters = sorted("".join(text.split()))
        assert sorted("".join((part.text + part.rest).split())) == letters
