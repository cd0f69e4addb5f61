"""Which words of a text push: the model is asked again without each of its parts.

Occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014), on
sentences, and on the words of the one that matters most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consumer.explain.case import Case
from consumer.explain.facts import Part
from models.embedding.runner_types import Embedder
from models.text.parts import Part as TextPart
from models.text.parts import sentences, words

TAKEN_APART = 3
"""Events whose texts are taken apart, those with the greatest shares."""
MOST_PARTS = 48
"""Sentences of a text, and words, that are left out one by one."""
TOLD_PARTS = 6

Parts = tuple[list[Part], list[Part]]
"""Sentences and words, those that matter most first."""


def taken_apart(case: Case, embedder: Embedder) -> dict[int, Parts]:
    """Take the texts apart that push most, to either side; by the places of their events."""
    shares = case.share_of
    chosen = sorted(shares, key=lambda n: -abs(shares[n]))[:TAKEN_APART]
    found = {}
    for n in chosen:
        text = case.known[n].text or ""
        several = sentences(text, MOST_PARTS)
        first = _effects(case, n, several, embedder) if len(several) > 1 else []
        within = _words_in(text, first[0].text if first else text)
        found[n] = (first, _effects(case, n, within, embedder))
    return found


def _effects(case: Case, n: int, parts: Sequence[TextPart], embedder: Embedder) -> list[Part]:
    """Give by how much less an event would push without each part of its text."""
    whole = case.share_of[n]
    left = [part for part in parts if part.rest.strip()]
    vectors = np.zeros((0, embedder.dimensions))
    if left:
        vectors = np.asarray(embedder.embed([part.rest for part in left]), np.float64)
    pushes = case.pushes(vectors, case.known[n].weight).tolist()
    told = [
        Part(text=part.text, share=whole - push)
        for part, push in zip(left, pushes, strict=True)
        if np.isfinite(push)  # the model may have no vector for what is left
    ]
    # Without the one part that a text has there is no text.
    told += [Part(text=part.text, share=whole) for part in parts if not part.rest.strip()]
    return sorted(told, key=lambda part: -abs(part.share))[:TOLD_PARTS]


def _words_in(text: str, within: str) -> list[TextPart]:
    """Give the words of a part of a text, with what is left of the whole without each."""
    before, _, after = text.partition(within)
    return [
        TextPart(word.text, f"{before}{word.rest} {after}".strip())
        for word in words(within, MOST_PARTS)
    ]
