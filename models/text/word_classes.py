"""What part of speech a word is, as far as that can be told of the word alone."""

import functools
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


def names_or_describes(word: str) -> bool:
    """Tell whether a word is a noun or an adjective; true of all words that are not Chinese.

    Chinese words are told by the dictionary of jieba, in either script; one that it would cut again
    by its last part, which in Chinese is what the others are said of. Of other languages no
    dependency tells.
    """
    if word < _EAST_ASIAN:
        return True
    _, tag = _tagger()(word.translate(to_simplified()))[-1]
    return tag in _WHOLE or (tag[:1] in _FIRST and tag not in _NEITHER)


@functools.cache
def _tagger() -> Callable[[str], list[tuple[str, str]]]:
    from rjieba import tag  # noqa: PLC0415 - its dictionary takes 0.1 s to load

    return tag
