"""Forms of one word, told by the vocabulary alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import alike, forms

VERBS = ["brew", "play", "walk", "bottl", "tast", "serv", "pour", "boil", "ferment"]


def one_word(words: str, *, beside: str = "") -> bool:
    found = forms([*words.split(), *beside.split()])
    return len({found[word] for word in words.split()}) == 1


def test_a_plural_is_a_form_even_in_a_small_vocabulary() -> None:
    assert forms(["beers", "beer", "hops"]) == {"beer": "beer", "beers": "beer", "hops": "hops"}


def test_endings_that_many_stems_have_by_turns_make_forms() -> None:
    many = " ".join(f"{verb}ed {verb}ing" for verb in VERBS)
    assert one_word("brewed brewing", beside=many)
    assert not one_word("brewed brewing", beside="")


def test_endings_that_two_words_share_by_chance_do_not() -> None:
    many = " ".join(f"{verb}ed {verb}ing" for verb in VERBS)
    assert not one_word("bottle bottom", beside=many)


def test_short_words_have_no_endings_but_the_plural() -> None:
    many = " ".join(f"{verb} {verb}ing" for verb in VERBS)
    assert one_word("hop hops", beside=many)
    assert not one_word("bee being", beside=many)


def test_the_same_chinese_word_in_both_scripts_is_one() -> None:
    assert one_word("台灣 台湾")
    assert not one_word("疫苗 疫情")


def test_languages_with_other_endings_need_no_list_of_them() -> None:
    many = " ".join(f"{verb}amo {verb}aba" for verb in VERBS)
    assert one_word("jugamo jugaba", beside=many)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("math", "mathematics", True),
        ("computing", "computers", True),
        ("疫苗", "新冠疫苗", True),
        ("疫苗", "疫情", False),
        ("bottle", "bottom", True),
        ("port", "party", False),
        ("term1", "term2", False),
        ("beer", "wine", False),
    ],
)
def test_words_that_begin_alike_are_near_each_other(one: str, other: str, near: bool) -> None:
    assert alike(one, other) is alike(other, one) is near


@given(st.lists(st.text("abs啤酒灣湾1", min_size=1, max_size=6), max_size=30), st.randoms())
def test_forms_do_not_depend_on_the_order_and_each_class_has_one_first(words, random) -> None:
    found = forms(words)
    shuffled = list(words)
    random.shuffle(shuffled)
    assert forms(shuffled) == found
    assert set(found) == set(words)
    assert all(found[first] == first for first in found.values())
