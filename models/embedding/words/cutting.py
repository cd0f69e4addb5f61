"""From a text to words, and from a word to its column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from models.text import NOT_LOOKED_AT, UNDETERMINED, detect_languages, to_simplified, tokenize

COLUMNS = 1 << 20
"""Columns that words are hashed to. Of 100,000 words in use 9 % share theirs with another."""

_LEAST_EAST_ASIAN = "\u2e80"

# In both scripts and both languages, with what the cut has rules for: negations, apostrophes, names
# of products, words that other dictionaries cut elsewhere.
_PROBES = (
    "I don't think the wh1000xm4 sounds better than last year's headphones, does it?",
    "Not a bad grinder: 18 grams of beans, no static, and it never clogs. Would buy again!",
    "We've played this co-op board game with four adults every Thursday evening since 2019.",
    "物流很快,包装完好,味道也不错,下次还会再买。",
    "这双跑鞋不适合长距离,跑完半程马拉松脚后跟磨破了,客服没有给出解决办法。",
    "這台咖啡機的萃取壓力不穩,打奶泡倒是沒有問題,豆子還是要選新鮮烘焙的。",
    "降噪耳机戴久了耳朵疼,iPhone 15 连接蓝牙偶尔断开,但是音质在这个价位里算好的。",
    "研究生命的起源,乒乓球拍卖完了,南京市长江大桥欢迎您。",
)


def cut(texts: Sequence[str]) -> list[list[str]]:
    """Cut clean texts into the words that count, as `models.text.tokenize` does.

    The language is told by script and function words alone: a text's words, and so its vector,
    depend on nothing but the text.
    """
    count = len(texts)
    languages = detect_languages(texts, [None] * count, [False] * count)
    return [
        tokenize(text, UNDETERMINED if language == NOT_LOOKED_AT else language)
        for text, language in zip(texts, languages, strict=True)
    ]


def folded(word: str) -> str:
    """Give the word that stands for this one: the simplified form of a Chinese one."""
    return word.translate(to_simplified()) if word[0] >= _LEAST_EAST_ASIAN else word


def column(word: str, columns: int = COLUMNS) -> int:
    """Give a word's column, from 0: its XXH3 hash, the same in every process."""
    return xxhash.xxh3_64_intdigest(folded(word).encode()) % columns


def cutting_digest() -> str:
    """SHA-256 over what the cut makes of texts that are fixed, and over the lists it goes by.

    Another dictionary of jieba, other stop words or other rules make another one: then a model that
    was fitted with the former words cannot be used.
    """
    from stopwordsiso import stopwords  # noqa: PLC0415 - only where such a model is in use

    lists = [sorted(stopwords(language)) for language in ("en", "zh")]
    pairs = sorted(to_simplified().items())
    content = json.dumps([cut(_PROBES), lists, pairs], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


class Rows(dict[str, int]):
    """The row of each word in the projection, 0 for one that is not known.

    It remembers the words that it was asked for; safe to use from several threads.

    Parameters
    ----------
    known
        Columns of the words that are known, ascending, int32 (rows - 1,).
    columns
        That words are hashed to.
    """

    _MOST = 100_000

    def __init__(self, known: NDArray[np.int32], columns: int) -> None:
        super().__init__()
        self._columns = columns
        rows = np.zeros(columns, np.int32)
        rows[known] = np.arange(1, known.size + 1, dtype=np.int32)
        self._rows = rows

    def __missing__(self, word: str) -> int:
        row = int(self._rows[column(word, self._columns)])
        if len(self) >= self._MOST:
            self.clear()
        self[word] = row
        return row
