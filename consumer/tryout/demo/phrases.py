"""What people write in an imaginary shop: phrases of six interests, and texts composed of them.

The phrases lie in shop/*.toml, one file an interest, so that a reader can look at them and add to
them without reading code. A text is a sentence pattern with its slots filled: product, praise,
complaint, scene. That gives more texts than a demo ever asks for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from random import Random
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import EventType

_Choice = TypeVar("_Choice")

# In the order in which a demo with fewer interests takes them.
_FILES = ("coffee", "running", "headphones", "gardening", "board_games", "skin_care")
INTERESTS = len(_FILES)
"""How many interests there are phrases for."""


class Language(StrEnum):
    """What a user writes, as a BCP 47 tag."""

    ENGLISH = "en"
    CHINESE = "zh"


class _Phrases(BaseModel):
    # A misspelt key in a phrase file must not go unnoticed.
    model_config = ConfigDict(frozen=True, extra="forbid")


class Family(_Phrases):
    """Products of one kind, and what fits all of them."""

    items: tuple[tuple[str, str], ...] = Field(min_length=1)  # title in the shop, name in a text
    praise: tuple[str, ...] = Field(min_length=2)
    complaints: tuple[str, ...] = Field(min_length=1)


class Voice(_Phrases):
    """What people say about one interest in one language. Questions are about the first family."""

    scenes: tuple[str, ...] = Field(min_length=1)
    questions: tuple[str, ...] = Field(min_length=1)
    comments: tuple[str, ...] = Field(min_length=1)
    answers: tuple[str, ...] = ()
    families: tuple[Family, ...] = Field(min_length=1)


class Interest(_Phrases):
    """One interest of the shop's users."""

    name: str
    english: Voice
    chinese: Voice

    def voice(self, language: Language) -> Voice:
        """Give the phrases in one language."""
        return self.english if language is Language.ENGLISH else self.chinese


class Patterns(_Phrases):
    """Sentence patterns of one language, for every interest."""

    spans: tuple[str, ...]
    closers: tuple[str, ...]
    grumbles: tuple[str, ...]
    replies: tuple[str, ...]
    glad: tuple[str, ...]
    mixed: tuple[str, ...]
    sorry: tuple[str, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    comments: tuple[str, ...]
    chatter: tuple[str, ...]


class Shared(_Phrases):
    """The patterns of both languages."""

    english: Patterns
    chinese: Patterns

    def patterns(self, language: Language) -> Patterns:
        """Give the patterns of one language."""
        return self.english if language is Language.ENGLISH else self.chinese


@dataclass(frozen=True, slots=True)
class Written:
    """A text, the product that it is about, and the stars that go with its mood."""

    text: str
    title: str
    stars: int


@cache
def interests() -> tuple[Interest, ...]:
    """Load every interest, in a fixed order."""
    return tuple(Interest.model_validate(_load(name)) for name in _FILES)


@cache
def shared() -> Shared:
    """Load the sentence patterns."""
    return Shared.model_validate(_load("shared"))


def pick(random: Random, choices: Sequence[_Choice]) -> _Choice:
    """Choose one of several.

    Only `Random.random` gives the same numbers in every version of Python; `choice` does not have
    to. So the demo is the same stream everywhere.
    """
    return choices[int(random.random() * len(choices))]


def compose(random: Random, interest: Interest, language: Language, kind: EventType) -> Written:
    """Write a text of one kind about one interest."""
    voice, patterns = interest.voice(language), shared().patterns(language)
    pattern, stars = _pattern(random, patterns, kind)
    family = voice.families[0] if kind is EventType.QUESTION else pick(random, voice.families)
    title, name = pick(random, family.items)
    first = int(random.random() * len(family.praise))
    second = 1 + int(random.random() * (len(family.praise) - 1))
    sentences = {
        "question": pick(random, voice.questions).format(item=name),
        "answer": pick(random, voice.answers or voice.comments),
        "comment": pick(random, voice.comments),
    }
    text = pattern.format(
        item=name,
        praise=family.praise[first],
        praise2=family.praise[(first + second) % len(family.praise)],
        complaint=pick(random, family.complaints),
        scene=pick(random, voice.scenes),
        span=pick(random, patterns.spans),
        closer=pick(random, patterns.grumbles if stars <= 2 else patterns.closers),
        reply=pick(random, patterns.replies),
        **sentences,
    )
    return Written(_tidy(text), title, stars)


def chatter(random: Random, language: Language) -> str:
    """Write a text about nothing in particular, such as the parcel."""
    patterns = shared().patterns(language)
    pattern = pick(random, patterns.chatter)
    return _tidy(
        pattern.format(span=pick(random, patterns.spans), closer=pick(random, patterns.closers))
    )


def _pattern(random: Random, patterns: Patterns, kind: EventType) -> tuple[str, int]:
    """Choose a sentence pattern and the stars that fit it."""
    if kind is EventType.QUESTION:
        return pick(random, patterns.questions), 3
    if kind is EventType.ANSWER:
        return pick(random, patterns.answers), 4
    if kind is EventType.COMMENT:
        return pick(random, patterns.comments), 3
    mood = random.random()
    if mood < 0.6:
        return pick(random, patterns.glad), pick(random, (4, 5, 5))
    if mood < 0.8:
        return pick(random, patterns.mixed), 3
    return pick(random, patterns.sorry), pick(random, (1, 2))


def _tidy(text: str) -> str:
    """Begin every sentence with a capital and leave no gap where a slot was empty."""
    text = " ".join(text.split())
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda match: match.group().upper(), text)


def _load(name: str) -> dict[str, object]:
    file = resources.files(__package__) / "shop" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
