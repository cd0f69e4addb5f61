"""Which words may name a segment by their part of speech."""

import pytest

from models.text import names_or_describes


@pytest.mark.parametrize(
    "word",
    [
        *("咖啡", "跑鞋", "台湾", "便宜", "无线", "修枝剪"),
        # In the other script, and where the dictionary would cut once more.
        *("質感", "新鮮", "不錯", "降噪耳機"),
        *("coffee", "tastes", "wooden", "pruning", "london", "tenth"),
        # What is a verb as well, and what people do.
        *("brew", "play", "running", "hiking"),
    ],
)
def test_nouns_and_adjectives_may_name(word: str) -> None:
    assert names_or_describes(word)


@pytest.mark.parametrize(
    "word",
    [
        *("喜欢", "喜歡", "浇水", "玩", "聽", "非常", "一局", "毫升", "太", "都", "喔"),
        *("bought", "enjoy", "watered", "brewed", "loved", "quickly", "typically", "because"),
        # Of a stem that is known, as no text had it.
        *("kneaded", "tweeted"),
    ],
)
def test_verbs_adverbs_measures_and_particles_do_not(word: str) -> None:
    assert not names_or_describes(word)


@pytest.mark.parametrize(
    "word",
    [
        *("espresso", "iphone", "qubits", "wh1000xm4", "googled"),
        *(
            "laufen",
            "gegangen",
            "bailando",
            "schön",
            "кофе",
            "пить",
            "コーヒー",
            "飲みます",
            "커피",
        ),
    ],
)
def test_words_that_nobody_knows_and_those_of_other_languages_may(word: str) -> None:
    assert names_or_describes(word)
