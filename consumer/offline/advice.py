"""Which languages texts are in, and which embedding model reads them: `segmenter model advise`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.embedding.making.fit_words import TextSample
from models.embedding.policy import LEAST_TEXTS
from models.text import NOT_LOOKED_AT, UNDETERMINED, chinese_script, detect_language

SAMPLE = 2_000
"""Texts that are looked at, where no other number is asked for."""

ENOUGH = 0.8
"""Share of the texts whose language can be told that a model has to read, to be advised."""

_LEAST_SHARE = 0.05
"""Share of the texts that makes a language one of several that a model has to put together."""

_LONG_ENOUGH = 50
"""Characters of a text that is hardly taken for one of another language."""

# By how they are named in embedding.model; None reads every language that is likely here.
_READS = {"default": ("en",), "multilingual": None, "words": None}
_OTHERS_WANT_SPACES = ("th", "lo", "km", "my", "bo", "dz")
"""Languages that are written without spaces and that nothing here cuts into words."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How well a model reads texts.

    Attributes
    ----------
    model
        As `embedding.model` names it.
    reads
        Share of the texts whose language can be told that are in languages that it reads.
    """

    model: str
    reads: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found.

    Attributes
    ----------
    texts, distinct
        How many texts there were with words, and how many of different content were looked at.
    languages
        Share of each language among those, the commonest first; Chinese by its script (zh-Hans,
        zh-Hant; zh where a text does not show it), ``und`` for what does not tell its language.
    readers
        The models that can be had, and how much of it they read.
    model
        The one to take.
    reason
        Why, in a sentence.
    """

    texts: int
    distinct: int
    languages: dict[str, float]
    readers: tuple[Reader, ...]
    model: str
    reason: str


def advise(texts: Iterable[str], most: int = SAMPLE) -> Advice:
    """Look at a sample of texts, and say which model reads them.

    Parameters
    ----------
    texts
        Clean ones, one at least.
    most
        Texts that are looked at, at most: of the different ones those with the lowest hash.

    Returns
    -------
    Advice
    """
    sample = TextSample(most)
    for text in texts:
        sample.add(text)
    chosen = sample.texts()
    found = Counter(_languages(chosen))
    shares = {code: round(count / len(chosen), 4) for code, count in found.most_common()}
    readers = tuple(Reader(model, _share_read(found, model)) for model in _READS)
    model, reason = _choose({each.model: each.reads for each in readers}, found, sample.seen)
    return Advice(sample.seen, len(chosen), shares, readers, model, reason)


def _languages(texts: Sequence[str]) -> list[str]:
    """Tell the language of each text, Chinese by its script.

    A language that only a few short texts seem to be in is none: alone, two or three English words
    ("peel, pot") are told as Dutch or Portuguese, one list in fifty. They are ``und`` then.
    """
    told = [detect_language(text) for text in texts]
    counts = Counter(told)
    there = {code for code, count in counts.items() if count >= _LEAST_SHARE * len(texts)}
    there |= {code for code, text in zip(told, texts, strict=True) if len(text) >= _LONG_ENOUGH}
    return [
        chinese_script(text) if code == "zh" else code if code in there else UNDETERMINED
        for code, text in zip(told, texts, strict=True)
    ]


def _share_read(found: Counter[str], model: str) -> float:
    told = {code: n for code, n in found.items() if code not in (UNDETERMINED, NOT_LOOKED_AT)}
    if not told:
        return 0.0
    languages = _READS[model]
    read = sum(
        count
        for code, count in told.items()
        if (code in languages if languages else True)
        and not (model == "words" and code in _OTHERS_WANT_SPACES)
    )
    return round(read / sum(told.values()), 4)


def _choose(reads: dict[str, float], found: Counter[str], texts: int) -> tuple[str, str]:
    if not any(reads.values()):
        return "default", "no text tells its language: are these what people write?"
    if reads["default"] >= ENOUGH:
        return "default", "nearly all texts are in English, which it reads best"
    of_note = _LEAST_SHARE * found.total()
    languages = {code[:2] for code, count in found.items() if count >= of_note} - {UNDETERMINED[:2]}
    if len(languages) > 1 or texts < LEAST_TEXTS:
        return "multilingual", (
            "it has texts of one meaning in one place whatever their language, and needs no history"
        )
    return "multilingual", (
        "it knows words that mean the same, which words does not; words takes a small part of the "
        "time and memory, and is fitted on this history (segmenter model fit words)"
    )
