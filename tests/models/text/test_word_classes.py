"""Which words may name a segment by their part of speech."""

import pytest

from models.text import names_or_describes


@pytest.mark.parametrize(
    "word",
    [
        *("咖啡", "跑鞋", "台湾", "便宜", "无线", "修枝剪"),
        # In the other script, and where the dictionary would cut once more.
        *("質感", "新鮮", "不錯", "降噪耳機"),
        *("coffee", "running", "iphone", "кофе"),
    ],
)
def test_nouns_adjectives_and_all_that_is_not_chinese_may_name(word: str) -> None:
    assert names_or_describes(word)


@pytest.mark.parametrize(
    "word", ["喜欢", "喜歡", "浇水", "玩", "聽", "非常", "一局", "毫升", "太", "都", "喔"]
)
def test_verbs_measures_and_particles_do_not(word: str) -> None:
    assert not names_or_describes(word)
