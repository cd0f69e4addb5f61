"""Typical words of each segment, and the short label that people see.

Class-based TF-IDF as in BERTopic (Grootendorst, arXiv:2203.05794): a word is typical of a segment
when the users there say it often and those of the other segments do not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from models.distances import Ints
from models.text import NEGATIONS

WORDS = 10
"""Typical words kept of a segment."""

LABEL_WORDS = 3
"""Words that make the label: enough to tell segments apart, few enough for a chart's legend."""


def typical_words(
    segments: Ints, terms: Sequence[Mapping[str, float]], count: int, *, words: int = WORDS
) -> list[tuple[str, ...]]:
    """Rank the words of each segment by class-based TF-IDF.

    Each user's weights are scaled to a sum of 1 first, so that the words are the segment's and not
    those of its busiest user.

    Parameters
    ----------
    segments
        int64[n]. Row of each user's segment, 0 to `count` - 1.
    terms
        Terms with weights of each of the n users. Weights of 0 or less and negations do not
        count.
    count
        Number of segments.
    words
        The most words to give for one.

    Returns
    -------
    list of tuple
        The words of each segment, the most typical first; words of the same score in alphabetical
        order. Empty for a segment without terms.
    """
    weights: list[defaultdict[str, float]] = [defaultdict(float) for _ in range(count)]
    users = [0] * count
    for row, everything in zip(segments.tolist(), terms, strict=True):
        # Tokens keep "not", since it changes what a text says; but no group is about "not".
        own = {term: weight for term, weight in everything.items() if term not in NEGATIONS}
        total = math.fsum(weight for weight in own.values() if weight > 0)
        if not total:
            continue
        users[row] += 1
        for term, weight in own.items():
            if weight > 0:
                weights[row][term] += weight / total
    everywhere: defaultdict[str, float] = defaultdict(float)
    for segment in weights:
        for term, weight in segment.items():
            everywhere[term] += weight
    # A user's weights add up to 1, so a segment's add up to its users.
    average = sum(users) / max(count, 1)
    ranked = []
    for segment in weights:
        score = {
            term: weight * math.log1p(average / everywhere[term])
            for term, weight in segment.items()
        }
        ranked.append(tuple(sorted(score, key=lambda term: (-score[term], term))[:words]))
    return ranked


def label(segment: int, words: Sequence[str]) -> str:
    """Name a segment after its first words, or after its id where it has none."""
    return ", ".join(words[:LABEL_WORDS]) or f"segment {segment}"
