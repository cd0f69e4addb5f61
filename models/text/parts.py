"""A text in parts that can be left out of it, one at a time: sentences, or words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import regex

# A sentence ends with a mark and what closes it, where a space follows or the text ends; marks that
# are as wide as a Chinese character need no space behind them.
_END = regex.compile(
    r"[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019]*|\n+"
)
# Runs of Chinese characters, which jieba cuts, and words with marks and apostrophes in them.
_WORD = regex.compile(r"\p{Han}+|[\w--\p{Han}]+(?:['\u2019\-][\w--\p{Han}]+)*", regex.V1)


class Part(NamedTuple):
    """A part of a text.

    Attributes
    ----------
    text
        It, without the space around it.
    rest
        The text without it.
    """

    text: str
    rest: str


def sentences(text: str, most: int) -> list[Part]:
    """Give the first so many sentences of a text, with what is left without each."""
    ends = [*(match.end() for match in _END.finditer(text)), len(text)]
    spans = pairwise([0, *ends])
    return [_part(text, *span) for span in spans if text[slice(*span)].strip()][:most]


def words(text: str, most: int) -> list[Part]:
    """Give the first so many words of a text, with what is left without each."""
    spans: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        if text[start] >= "\u2e80" and end - start > 1:
            for word in _chinese_cutter()(match.group()):
                spans.append((start, start + len(word)))
                start += len(word)
        else:
            spans.append((start, end))
        if len(spans) >= most:
            break
    return [_part(text, *span) for span in spans[:most]]


def _part(text: str, start: int, end: int) -> Part:
    return Part(text[start:end].strip(), f"{text[:start]}{text[end:]}".strip())


@functools.cache
def _chinese_cutter() -> Callable[[str], list[str]]:
    from rjieba import cut  # noqa: PLC0415 - its dictionary takes 0.1 s to load

    return cut
