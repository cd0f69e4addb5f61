"""Vectors of texts on known topics: real ones, and made-up ones with the real ones' noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.worker_stage import default_embedder, event_vectors
from consumer.offline.files import read_lines
from consumer.settings import Settings
from models.distances import Floats, Ints, nearest
from models.embedding.runner_types import Embedder, Vectors
from models.profiles.table import to_microseconds
from models.segments.model import SegmentModel
from schemas.events import UserEvent


@dataclass(frozen=True)
class Posts:
    """The accepted events of a file with their vectors, in the file's order.

    Attributes
    ----------
    vectors
        float32[n, d], of unit length.
    users, topics
        int64[n]. Numbers, by first appearance.
    times
        int64[n]. Microseconds since 1970.
    gains
        float64[n]. Weight of each event, by its type.
    lines
        int64[n]. Line of each in the file, from 0; those between were refused.
    names
        User ids by number.
    """

    vectors: Vectors
    users: Ints
    topics: Ints
    times: Ints
    gains: Floats
    lines: Ints
    names: list[str]


def read_posts(path: Path, stored: Path, load: Callable[[], Embedder] = default_embedder) -> Posts:
    """Read a file of labelled events, and their vectors from another; as for `event_vectors`."""
    rows, vectors = event_vectors(path, stored, load)
    lines = list(read_lines(path))
    weights = Settings().events.weights
    users: dict[str, int] = {}
    topics: dict[str, int] = {}
    columns: list[tuple[int, int, int, float]] = []
    for row in rows.tolist():
        event, label = UserEvent.model_validate_json(lines[row]), json.loads(lines[row])["label"]
        columns.append(
            (
                users.setdefault(event.user_id, len(users)),
                topics.setdefault(label, len(topics)),
                to_microseconds(event.occurred_at),
                weights[event.type],
            )
        )
    user, topic, time, gain = (np.array(column) for column in zip(*columns, strict=True))
    return Posts(vectors, user, topic, time, gain, rows, list(users))


def users_by_topic(vectors: Floats, topics: Ints, count: int, model: SegmentModel) -> Ints:
    """Count users by topic, of so many, and nearest segment: int64[topics, K]."""
    rows, _ = nearest(vectors, model.centres)
    table = np.zeros((count, len(model.ids)), np.int64)
    np.add.at(table, (topics, rows), 1)
    return table


class Texts(Protocol):
    """Where the simulated users' texts come from."""

    topics: int

    def draw(self, topics: Ints, random: np.random.Generator) -> Vectors:
        """Draw a text on each of n topics: unit vectors, float32[n, d]."""
        ...


class RealTexts:
    """Draws from the posts of each topic, with replacement, whoever wrote them."""

    def __init__(self, posts: Posts) -> None:
        self.topics = int(posts.topics.max()) + 1
        self._vectors = posts.vectors
        self._rows = [np.flatnonzero(posts.topics == topic) for topic in range(self.topics)]

    def draw(self, topics: Ints, random: np.random.Generator) -> Vectors:
        places = random.random(len(topics))
        rows = [
            self._rows[topic][int(place * len(self._rows[topic]))]
            for topic, place in zip(topics.tolist(), places.tolist(), strict=True)
        ]
        return self._vectors[rows]


@dataclass(frozen=True)
class Noise:
    """What made-up texts need to be as hard to tell apart as real ones.

    Attributes
    ----------
    dots
        Products of the topics' mean vectors, (K, K): how short they are and how near each other.
    along
        Variance of a user's texts along the line between two topics' centres.
    dimensions
        In which noise of that variance has the length that it has in real texts: of the 384, as
        many as count.
    """

    dots: list[list[float]]
    along: float
    dimensions: int


def measure_noise(posts: Posts, least_events: int = 10) -> Noise:
    """Measure the noise of real texts, at users with at least so many."""
    count = int(posts.topics.max()) + 1
    vectors = posts.vectors.astype(np.float64)
    means = np.stack([vectors[posts.topics == topic].mean(axis=0) for topic in range(count)])
    whole, along = [], []
    for user in np.flatnonzero(np.bincount(posts.users) >= least_events).tolist():
        own = posts.users == user
        spread = vectors[own] - vectors[own].mean(axis=0)
        spread *= np.sqrt(len(spread) / (len(spread) - 1))
        topic = int(posts.topics[own][0])
        lines = np.delete(means, topic, axis=0) - means[topic]
        lines /= np.linalg.norm(lines, axis=1, keepdims=True)
        whole.append(np.square(spread).sum(axis=1).mean())
        along.append(np.square(spread @ lines.T).mean())
    return Noise(
        np.round(means @ means.T, 4).tolist(),
        round(float(np.mean(along)), 5),
        round(float(np.mean(whole) / np.mean(along))),
    )


class MadeUpTexts:
    """Draws a topic's mean plus noise that is the same in all directions, scaled to length 1."""

    def __init__(self, noise: Noise) -> None:
        self.topics = len(noise.dots)
        values, directions = np.linalg.eigh(np.array(noise.dots))
        self._means = np.zeros((self.topics, noise.dimensions))
        self._means[:, : self.topics] = directions * np.sqrt(np.maximum(values, 0))
        self._deviation = np.sqrt(noise.along)

    def draw(self, topics: Ints, random: np.random.Generator) -> Vectors:
        shape = (len(topics), self._means.shape[1])
        vectors = self._means[topics] + self._deviation * random.normal(size=shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        found: Vectors = vectors.astype(np.float32)
        return found
