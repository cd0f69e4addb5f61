"""What rules make of texts: attributes, the label, words. Time alone changes none of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.rules.parts import Bools, Evaluate, Facts, Part, Type, earliest

METHODS: dict[str, Callable[[Any, Any], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
}


def tested(method: str, left: Part, right: Part) -> Part:
    """Ask a text for another; one that is not there has none."""
    test = METHODS[method]

    def evaluate(facts: Facts) -> Bools:
        if isinstance(right.literal, str):
            asked = right.literal
            found = [text is not None and test(text, asked) for text in _texts(left, facts)]
            return np.array(found, bool)
        pairs = zip(_texts(left, facts), _texts(right, facts), strict=True)
        return np.array([None not in pair and test(*pair) for pair in pairs], bool)

    return Part(Type.BOOL, evaluate)


def same(sign: str, left: Part, right: Part) -> Part:
    """Compare texts, or truths, for being the same; a text that is not there equals nothing."""

    def evaluate(facts: Facts) -> Bools:
        literals = [each.literal for each in (left, right) if isinstance(each.literal, str)]
        if len(literals) == 1:
            (text,), other = literals, right if isinstance(left.literal, str) else left
            found = np.array([each == text for each in _texts(other, facts)], bool)
        else:
            sides = (_spread(each.evaluate(facts), len(facts)) for each in (left, right))
            found = np.array([a == b and a is not None for a, b in zip(*sides, strict=True)], bool)
        return found if sign == "eq" else ~found

    return Part(Type.BOOL, evaluate, turns=earliest((left.turns, right.turns)))


def among(left: Part, right: Part) -> Part:
    """Tell whether a text is in a list."""

    def evaluate(facts: Facts) -> Bools:
        first = _spread(left.evaluate(facts), len(facts))
        if right.literal is not None:
            return np.array([text in right.literal for text in first], bool)
        return np.array([a in b for a, b in zip(first, right.evaluate(facts), strict=True)], bool)

    return Part(Type.BOOL, evaluate)


def size(part: Part) -> Part:
    """Count the texts of a list."""
    return Part(
        Type.INT,
        lambda facts: np.array([len(each) for each in part.evaluate(facts)], np.int64),
        counts={},
    )


def attribute(name: str) -> Part:
    """Give an attribute."""
    return Part(Type.STRING, lambda facts: facts.attribute(name))


def has_attribute(name: str) -> Part:
    """Tell whether there is an attribute."""
    return Part(
        Type.BOOL,
        lambda facts: np.array([each is not None for each in facts.attribute(name)], bool),
    )


READ: dict[str, tuple[Type, Evaluate]] = {
    "segment": (Type.INT, lambda facts: facts.segment),
    "label": (Type.STRING, lambda facts: facts.label),
    "words": (Type.STRINGS, lambda facts: facts.words),
}
"""What a profile tells."""


def _texts(part: Part, facts: Facts) -> Sequence[str | None]:
    """Give a part that is a text as one text for each row."""
    found = part.evaluate(facts)
    return [found] * len(facts) if isinstance(found, str) else found


def _spread(found: Any, rows: int) -> Any:
    if isinstance(found, list):
        return found
    return [found] * rows if isinstance(found, str) else np.broadcast_to(found, rows).tolist()
