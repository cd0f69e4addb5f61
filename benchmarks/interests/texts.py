"""Texts on sixty interests that share words, written from lists; and vectors as if of such texts.

Written texts go through the embedding model. They are no toy: interests of a family share words
with each other, and some with others, and every text has words that say nothing, so that k-means on
the users' profiles (MiniLM, 20 interests) reaches a V-measure of 0.7 to 0.9.

Vectors with the same geometry need no model, for tests that have no time for one.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.flapping.texts import MadeUpTexts, Noise
from models.distances import Ints
from models.embedding.runner_types import Embedder, Vectors

_WORDS = Path(__file__).with_name("words.toml")

_PLAIN = [
    "day",
    "week",
    "month",
    "friend",
    "shop",
    "price",
    "problem",
    "question",
    "idea",
    "thing",
    "place",
    "time",
    "year",
    "morning",
    "brother",
    "colleague",
    "forum",
    "video",
    "photo",
    "parcel",
    "order",
    "message",
    "answer",
    "weekend",
    "month",
    "holiday",
]
"""Words that anybody uses."""

_SENTENCES = (
    "I still think about the {} and the {}.",
    "Has anybody here tried the {} with a {}?",
    "My {} was better than the {} I had last year.",
    "The {} is fine, but the {} gave me trouble.",
    "We talked about the {} and about the {} for an hour.",
    "After a {} like that I need another {}.",
    "Do not buy a {} before you know your {}.",
    "It comes down to the {}, not to the {}.",
    "Somebody told me that the {} depends on the {}.",
    "Thanks, the {} works now, and so does the {}.",
)

_OWN, _SHARED = 0.3, 0.5
"""A word is one of the interest's own with the first chance, of its family's up to the second."""

# As measured on 100 written texts of each interest in all-MiniLM-L6-v2: products of the means of
# texts on one interest, on two of a family and on any two; variance of the texts on an interest
# along the lines to others, and in how many dimensions it is about the same.
_OF_ONE, _IN_FAMILY, _IN_GENERAL = 0.229, 0.182, 0.134
_ALONG, _DIMENSIONS = 0.0204, 64


@dataclass(frozen=True)
class Interest:
    """A name, the name of its family, the words of it alone (nearly), and those of the family."""

    name: str
    family: str
    own: tuple[str, ...]
    shared: tuple[str, ...]


@cache
def interests() -> tuple[Interest, ...]:
    """Give all, in an order that takes one of each family first."""
    families = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
    found = [
        [
            Interest(name.replace("_", " "), family, tuple(own), tuple(words["shared"]))
            for name, own in words["interests"].items()
        ]
        for family, words in families.items()
    ]
    return tuple(own[place] for place in range(len(found[0])) for own in found)


def write(interest: Interest, random: np.random.Generator) -> str:
    """Write a text of one or two sentences on an interest."""
    sentences = random.choice(len(_SENTENCES), int(random.integers(1, 3)), replace=False)
    return " ".join(
        _SENTENCES[number].format(_word(interest, random), _word(interest, random))
        for number in sentences.tolist()
    )


def _word(interest: Interest, random: np.random.Generator) -> str:
    kind = random.random()
    words = interest.own if kind < _OWN else interest.shared if kind < _SHARED else _PLAIN
    return words[int(random.integers(len(words)))]


class WrittenTexts:
    """Draws from written texts, so many of each interest, that are embedded once."""

    def __init__(self, embedder: Embedder, each: int = 100, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.topics = len(interests())
        self._each = each
        written = [write(interest, random) for interest in interests() for _ in range(each)]
        self._vectors = embedder.embed(written)

    def draw(self, topics: Ints, random: np.random.Generator) -> Vectors:
        """Draw a text on each of n topics: unit vectors, float32[n, d]."""
        return self._vectors[topics * self._each + random.integers(self._each, size=len(topics))]


def vectors_like_texts(*, closeness: float = 1.0) -> MadeUpTexts:
    """Give vectors in the place of written texts, with the geometry that MiniLM gives these.

    Parameters
    ----------
    closeness
        Noise, as a multiple of that of written texts: its variance along a line between topics.
    """
    families = np.array([interest.family for interest in interests()])
    dots = np.where(families[:, None] == families, _IN_FAMILY, _IN_GENERAL)
    np.fill_diagonal(dots, _OF_ONE)
    return MadeUpTexts(Noise(dots.tolist(), _ALONG * closeness, _DIMENSIONS))
