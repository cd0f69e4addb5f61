"""Made-up streams of users who choose items: one in which segments matter, and one in which not.

Both are the streams of `benchmarks.interests`, with the same users, times and texts. In the first
each interest has items of its own, and a text is about one of those: who knows the interest knows
half of the answer. In the second everybody draws from one popularity, whatever the interest: then
there is nothing that a segment could add, and a method that finds something there is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.interests.plan import Plan, events
from models.distances import Ints

Kind = Literal["own items", "one popularity"]
KINDS: tuple[Kind, ...] = ("own items", "one popularity")


@dataclass(frozen=True)
class Items:
    """What there is to choose.

    Attributes
    ----------
    each
        Items an interest has; in the other stream all of them are everybody's.
    uneven
        The n-th most popular item is chosen n to the power of minus this often.
    """

    each: int = 40
    uneven: float = 0.8


def chosen_items(planned: Plan, kind: Kind, items: Items, seed: int = 0) -> Ints:
    """Draw an item for each event, int64[n]; item j belongs to interest j // each."""
    random = np.random.default_rng((seed, 3))
    interests, count = len(planned.chosen), len(planned.users)
    if kind == "one popularity":
        weights = np.arange(1, interests * items.each + 1) ** -items.uneven
        order = random.permutation(len(weights))
        drawn: Ints = order[random.choice(len(weights), count, p=weights / weights.sum())]
        return drawn
    weights = np.arange(1, items.each + 1) ** -items.uneven
    own = random.choice(items.each, count, p=weights / weights.sum())
    found: Ints = planned.about * items.each + own
    return found


def item_events(
    planned: Plan, kind: Kind, items: Items | None = None, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Give the stream as user events, ready for JSON; each text is another one."""
    chosen = chosen_items(planned, kind, items or Items(), seed).tolist()
    for number, (event, item) in enumerate(zip(events(planned, seed), chosen, strict=True)):
        text = f"{event['text']} No. {number}."
        yield event | {"item_id": f"item-{item}", "text": text}
