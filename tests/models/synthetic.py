"""Embeddings with a known truth: topics as caps on the unit sphere, as sentence embeddings have."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.base import Section

EMBEDDING = "e" * 64

Policy = TypeVar("Policy", bound=Section)


def changed(policy: Policy, **changes: Any) -> Policy:
    """The policy with other values, which are checked."""
    return type(policy)(**policy.model_dump() | changes)


class Topics:
    """Topics in random directions; an event is its topic's direction plus wide noise.

    With `closeness` .5 two events of a topic have a cosine of .25, about what all-MiniLM-L6-v2
    gives for posts of one Stack Exchange site.
    """

    def __init__(self, count: int, dimension: int = 384, closeness: float = 0.5, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.directions = unit(self.random.normal(size=(count, dimension)))
        self.closeness = closeness

    def events(self, topic: int, count: int) -> NDArray[np.float64]:
        noise = unit(self.random.normal(size=(count, self.directions.shape[1])))
        wide = np.sqrt(1 - self.closeness**2) * noise
        return unit(self.closeness * self.directions[topic] + wide)

    def profile(self, topic: int, events: int = 10) -> NDArray[np.float64]:
        return unit(self.events(topic, events).sum(axis=0))


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
