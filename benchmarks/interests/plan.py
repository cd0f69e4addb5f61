"""Who writes on which interest, and when: the plan of a made-up stream with many topics.

It is what streams in the wild are: interests of uneven size, half of the users with one text only,
three texts of ten on something else, and topics that come, split, merge and go. The plan knows no
texts; `benchmarks.interests.texts` has two kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.flapping.texts import Posts, Texts
from benchmarks.interests.texts import interests, write
from models.distances import Ints
from models.embedding.runner_types import Vectors

_DAY = 86_400_000_000
_DAYS = 365
_START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shape:
    """What the stream looks like.

    Attributes
    ----------
    interests
        How many, 2 to 60.
    users
        How many.
    events
        Mean number of texts of the users who write more than one.
    single
        Share of the users with one text only.
    focus
        Share of the texts on the user's own interest; the others are on any.
    uneven
        The n-th largest interest has n to the power of minus this many users.
    changing
        Whether interests come, go, split and merge: a tenth of them, or one, each, as far as there
        are enough. Those that split are written on as one with another until half-time, those
        that merge from then on.
    """

    interests: int = 20
    users: int = 3000
    events: float = 8.0
    single: float = 0.5
    focus: float = 0.7
    uneven: float = 0.6
    changing: bool = False


@dataclass(frozen=True)
class Plan:
    """The events in order of time.

    Attributes
    ----------
    users
        int64[n]. Numbers of users.
    about
        int64[n]. Which of `chosen` each text is about.
    times
        int64[n]. Microseconds since the start of 2024.
    truth
        int64[users]. Interest of each user in the end, as a row of `chosen`; of interests that have
        merged the first.
    chosen
        int64[interests]. Which of the sixty they are.
    """

    users: Ints
    about: Ints
    times: Ints
    truth: Ints
    chosen: Ints

    @property
    def number(self) -> int:
        """How many different interests users have in the end."""
        return len(np.unique(self.truth))

    def known(self, least_events: int = 5) -> NDArray[np.bool_]:
        """Tell who wrote so many texts or more, bool[users]."""
        return np.bincount(self.users, minlength=len(self.truth)) >= least_events


def plan(shape: Shape, seed: int = 0) -> Plan:
    """Draw a stream; the same for the same shape and seed."""
    random = np.random.default_rng(seed)
    count, users = shape.interests, shape.users
    chosen = random.permutation(len(interests()))[:count]
    sizes = random.permutation(np.arange(1, count + 1) ** -shape.uneven)
    own = random.choice(count, users, p=sizes / sizes.sum())
    more = 1 + random.geometric(1.0 / max(shape.events - 1.0, 1.0), users)
    texts = np.where(random.random(users) < shape.single, 1, more)
    # Each user writes between a first and a last moment, in [0, 1].
    first, last = 0.9 * random.random(users), np.ones(users)
    come, gone, pairs = _changes(shape, random)
    is_late, is_gone = np.isin(own, come), np.isin(own, gone)
    first[is_late] = 0.5 + first[is_late] / 2
    first[is_gone] *= 0.4
    last[is_gone] = 0.45
    author = np.repeat(np.arange(users), texts)
    at = first[author] + (last - first)[author] * random.random(len(author))
    order = np.argsort(at, kind="stable")
    author, at = author[order], at[order]
    stray = random.random(len(author)) >= shape.focus
    about = np.where(stray, random.integers(count, size=len(author)), own[author])
    truth = own.copy()
    for number, pair in enumerate(pairs):
        splits = number < len(pairs) / 2
        as_one = np.isin(about, pair) & ((at < 0.5) == splits)
        about[as_one] = random.choice(pair, int(as_one.sum()))
        if not splits:
            truth[np.isin(own, pair)] = min(pair)
    return Plan(author, about, (at * _DAYS * _DAY).astype(np.int64), truth, chosen)


def _changes(
    shape: Shape, random: np.random.Generator
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Draw the interests that come, those that go, and pairs: one half splits, the other merges."""
    rest = random.permutation(shape.interests).tolist() if shape.changing else []
    tenth = max(1, shape.interests // 10)
    come, gone, rest = rest[:tenth], rest[tenth : 2 * tenth], rest[2 * tenth :]
    return come, gone, list(zip(rest[::2], rest[1::2], strict=False))[: 2 * tenth]


def posts(planned: Plan, texts: Texts, seed: int = 0, *, cosine: float = 0.0) -> Posts:
    """Give the stream as posts with vectors.

    Parameters
    ----------
    texts
        One topic for each of the sixty interests.
    seed
        Of the draws.
    cosine
        Squeezes the vectors around a constant one, so that any two have about so much more of it,
        as some embedding models do by themselves.
    """
    vectors = texts.draw(planned.chosen[planned.about], np.random.default_rng((seed, 1)))
    count = len(planned.users)
    return Posts(
        squeezed(vectors, cosine),
        planned.users,
        planned.truth[planned.users],
        planned.times,
        np.ones(count),
        np.arange(count),
        [f"user-{number}" for number in range(len(planned.truth))],
    )


def squeezed(vectors: Vectors, cosine: float) -> Vectors:
    """Mix a constant vector into unit vectors, so that orthogonal ones have that cosine."""
    constant = np.random.default_rng(0).normal(size=vectors.shape[1])
    constant *= np.sqrt(cosine) / np.linalg.norm(constant)
    mixed = np.sqrt(1.0 - cosine) * vectors.astype(np.float64) + constant
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    found: Vectors = mixed.astype(np.float32)
    return found


def events(planned: Plan, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Give the stream as user events with a written text each, ready for JSON.

    The label is what the user is interested in, in the end, whatever this one text is about.
    """
    random = np.random.default_rng((seed, 2))
    names = [interests()[number].name for number in planned.chosen.tolist()]
    columns = zip(
        planned.users.tolist(), planned.about.tolist(), planned.times.tolist(), strict=True
    )
    for number, (user, about, time) in enumerate(columns):
        at = _START + timedelta(microseconds=time)
        yield {
            "event_id": f"{number}",
            "user_id": f"user-{user}",
            "type": "comment",
            "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "text": write(interests()[int(planned.chosen[about])], random),
            "label": names[int(planned.truth[user])],
        }
