"""Which words of a vocabulary are forms of one word: ``beer, beers`` and ``brewed, brewing``.

Nothing is known here of the language, so the vocabulary itself has to tell what an ending is: two
that follow many of its stems by turns (``brew-ed`` and ``brew-ing``, ``play-ed`` and ``play-ing``)
are endings of one word, as in the signatures of Goldsmith ("Unsupervised learning of the morphology
of a natural language", Computational Linguistics 2001). What two words share by chance (``bott-le``
and ``bott-om``) is hardly found again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations

from models.text.traditional import to_simplified

LONGEST_ENDING = 3
"""Letters of an ending at most."""

SHORTEST_STEM = 4
"""Letters that words must begin with alike, for endings other than a plural's."""

LEAST_STEMS = 5
"""Stems that a pair of endings must be seen with to count as endings."""

LEAST_SHARE = 0.1
"""Share of the stems of the commonest pair that it must be seen with. What makes other words, as
``class-ic`` and ``read-y``, is rarer than what makes forms."""

# Plurals of English and of others, by the letters of the shortest stem; a small vocabulary would
# not show them.
_PLURALS = {("", "s"): 3, ("ies", "y"): 3, ("", "es"): SHORTEST_STEM}
_SHORTEST_SINGULAR = 3

_MOST_SHARED = 0.55
_HAN = range(0x2E80, 0x323B0)


def forms(words: Iterable[str]) -> Mapping[str, str]:
    """Find the forms of one word in a vocabulary.

    Chinese words have no endings; the same in traditional and simplified characters is one.

    Parameters
    ----------
    words
        The vocabulary, case-folded; each once or more often, in any order.

    Returns
    -------
    mapping
        Each word's first form, the shortest one and of these the first in alphabetical order; the
        word itself where it has no other.
    """
    vocabulary = sorted(set(words), key=lambda word: (len(word), word))
    first = {word: word for word in vocabulary}

    def root(word: str) -> str:
        while first[word] != word:
            word = first[word]
        return word

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)), key=lambda word: (len(word), word))
        first[high] = low

    simplified: dict[str, str] = {}
    endings: defaultdict[str, list[str]] = defaultdict(list)
    for word in vocabulary:
        if any(ord(letter) in _HAN for letter in word):
            join(word, simplified.setdefault(word.translate(to_simplified()), word))
        elif word.isalpha():
            for length in range(min(LONGEST_ENDING, len(word) - _SHORTEST_SINGULAR) + 1):
                cut = len(word) - length
                endings[word[:cut]].append(word[cut:])
    several = {stem: sorted(found) for stem, found in endings.items() if len(found) > 1}
    stems = Counter(
        pair
        for stem, found in several.items()
        if len(stem) >= SHORTEST_STEM
        for pair in combinations(found, 2)
    )
    least = max(LEAST_STEMS, LEAST_SHARE * max(stems.values(), default=0))
    for stem, found in several.items():
        for pair in combinations(found, 2):
            shortest = _PLURALS.get(pair, SHORTEST_STEM if stems[pair] >= least else len(stem) + 1)
            if len(stem) >= shortest:
                join(stem + pair[0], stem + pair[1])
    return {word: root(word) for word in vocabulary}


def alike(one: str, other: str) -> bool:
    """Tell whether two words are so near each other that a short name has no use for both.

    One is the beginning of the other (``math, mathematics``), or they begin alike for most of their
    letters (``computing, computers``). Of Chinese words one is a part of the other.
    """
    short, long = sorted((one, other), key=len)
    if ord(short[0]) in _HAN:
        return short in long
    if not long.isalpha():  # two products of one name
        return False
    pairs = enumerate(zip(short, long, strict=False))
    shared = next((place for place, (a, b) in pairs if a != b), len(short))
    return shared >= SHORTEST_STEM and (shared == len(short) or shared >= _MOST_SHARED * len(long))
