"""What part of speech a word is, as far as that can be told of the word alone."""

import functools
import math
import re
from collections.abc import Callable

from models.text.traditional import to_simplified

# Of jieba's tags, which are those of the People's Daily corpus: nouns with their subclasses,
# adjectives, what stands before a noun only (b, 无线), states (z), places (s), times (t), nouns
# made of verbs (vn), abbreviations and fixed phrases (j, i, l), and letters amid them.
_FIRST = frozenset("nabzstjil")
_WHOLE = frozenset(("vn", "eng"))
# A particle that the dictionary files among the states.
_NEITHER = frozenset(("zg",))
_EAST_ASIAN = "\u2e80"
# Kana and hangul: words of Japanese and Korean, which no dictionary here has.
_PHONETIC = re.compile("[\u1100-\u11ff\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7ff]")

# Of the tags of the British National Corpus (C5): nouns, names, adjectives, numerals and letters;
# VVG is what ends in -ing, which names what people do (hiking); UNC is what is in no dictionary.
_ENGLISH = ("NN", "NP", "AJ", "CRD", "ORD", "ZZ", "VVG", "UNC")

LEAST_SHARE = 0.2
"""Share of a word's uses in English texts, as noun or adjective, from which on it may name: of
"play" it is .4, of "loved" .1."""

_KNOWN = -25.0
"""Log probability of a word's likeliest reading above which its stem is one that the tagger has
learned. Those of words that it guesses at are below -30, among them words of other languages."""


def names_or_describes(word: str) -> bool:
    """Tell whether a word is a noun or an adjective, of Chinese and of English words.

    Chinese words are told by the dictionary of jieba, in either script; one that it would cut again
    by its last part, which in Chinese is what the others are said of. Words in English letters are
    told by HanTa's model of English, which has learned how often a word is what (Wartena, "The
    Hanover Tagger", 2023); of a word that neither knows the answer is yes, as of words in other
    letters.

    Raises
    ------
    ModuleNotFoundError
        If the word is in English letters, and HanTa (the extra ``names``) is not installed.
    """
    if word >= _EAST_ASIAN:
        if _PHONETIC.search(word):
            return True
        tag = chinese_tag(word.translate(to_simplified()))
        return tag in _WHOLE or (tag[:1] in _FIRST and tag not in _NEITHER)
    return not (word.isascii() and word.isalpha()) or _names_in_english(word)


def chinese_tag(word: str) -> str:
    """Give jieba's tag of a word in simplified characters, of its last part where it is cut."""
    _, tag = _tagger()(word)[-1]
    return tag


def is_chinese_word(word: str) -> bool:
    """Tell whether jieba's dictionary has a word in simplified characters as a whole."""
    return len(_tagger()(word)) == 1


@functools.lru_cache(100_000)
def _names_in_english(word: str) -> bool:
    # Without regard to case: terms are in lower case, and no name is told by its capital.
    readings = _english_tagger()(word)
    if not readings or readings[0][1] < _KNOWN:
        return True
    best = readings[0][1]
    weights = [(tag, math.exp(chance - best)) for tag, chance in readings]
    named = math.fsum(weight for tag, weight in weights if tag.startswith(_ENGLISH))
    return named >= LEAST_SHARE * math.fsum(weight for _, weight in weights)


@functools.cache
def _tagger() -> Callable[[str], list[tuple[str, str]]]:
    from rjieba import tag  # noqa: PLC0415 - its dictionary takes 0.1 s to load

    return tag


@functools.cache
def _english_tagger() -> Callable[[str], list[tuple[str, float]]]:
    from HanTa.HanoverTagger import HanoverTagger  # noqa: PLC0415 - 50 MB, for this alone

    tagger = HanoverTagger("morphmodel_en.pgz")
    return lambda word: tagger.tag_word(word, casesensitive=False)
