"""Streams in which nothing changes, and streams in which a tenth of what is written does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.flapping.texts import Posts
from models.distances import Floats, Ints
from models.embedding.runner_types import Vectors

_DAY = 86_400_000_000
_GAP_DAYS = 3.0
"""Mean time between two events of a made-up user."""


@dataclass(frozen=True)
class Stream:
    """Events in order.

    Attributes
    ----------
    users
        int64[n]. Numbers of users.
    vectors
        float32[n, d], of unit length.
    times
        int64[n]. Microseconds since 1970.
    names
        User ids by number.
    shift
        Number of the first event of the changed stream; None where nothing changes.
    """

    users: Ints
    vectors: Vectors
    times: Ints
    names: Sequence[str]
    shift: int | None = None


def as_it_was(posts: Posts) -> Stream:
    """Give the posts in the order in which they were written."""
    return Stream(posts.users, posts.vectors, posts.times, posts.names)


def shuffled(posts: Posts, seed: int) -> Stream:
    """Give the posts in random order, each by its author: what is written is the same all along."""
    order = np.random.default_rng(seed).permutation(len(posts.users))
    # New names, so that other users are the sampled ones where not all can be.
    names = [f"{seed}-{name}" for name in posts.names]
    return Stream(posts.users[order], posts.vectors[order], posts.times, names)


@dataclass(frozen=True)
class Change:
    """What a tenth of the events change to.

    Attributes
    ----------
    before, after
        float64[topics]. Shares of the topics.
    moves
        float64[topics, topics]. Chance that a user of a topic goes over to another.
    """

    before: Floats
    moves: Floats

    @property
    def after(self) -> Floats:
        """Shares after it."""
        return np.asarray(self.before @ self.moves)


def none(topics: int) -> Change:
    """Nothing changes; all topics are equally popular."""
    return Change(np.full(topics, 1.0 / topics), np.eye(topics))


def new_topic(topics: int, new: int, share: float = 0.1) -> Change:
    """Users of every topic go over to one that there was not; the others are equally popular."""
    before = np.full(topics, 1.0 / (topics - 1))
    before[new] = 0.0
    moves = np.eye(topics) * (1.0 - share)
    moves[:, new] += share
    return Change(before, moves)


def swapped(topics: int, old: int, new: int, share: float = 0.1) -> Change:
    """A topic of that share gives way to one that there was not."""
    before = np.full(topics, (1.0 - share) / (topics - 2))
    before[old], before[new] = share, 0.0
    moves = np.eye(topics)
    moves[old] = np.eye(topics)[new]
    return Change(before, moves)


def moved(topics: int, source: int, target: int, share: float = 0.1) -> Change:
    """Of equally popular topics one wins what another one loses."""
    before = np.full(topics, 1.0 / topics)
    moves = np.eye(topics)
    moves[source] = (1.0 - share * topics) * np.eye(topics)[source]
    moves[source, target] += share * topics
    return Change(before, moves)


def made_up(posts: Posts, change: Change, events: int, shift: int | None, seed: int) -> Stream:
    """Let users come and go, who write real posts on a topic of theirs each.

    As many events a user as real users have; the texts are drawn with replacement from the posts of
    the topic. At the change each user goes over to another topic or not, and who comes later does
    so at once.

    Parameters
    ----------
    posts
        Where texts, and numbers of events a user, come from.
    change
        Shares of the topics.
    events
        How many.
    shift
        After how many events the change comes; None for never.
    seed
        Of everything that is drawn.
    """
    random = np.random.default_rng(seed)
    lengths = np.bincount(posts.users)
    mean_length = float(lengths.mean())
    # Users come before the stream begins and after it has ended, so that in it as many come as go.
    users = int(3 * events / mean_length)
    counts = random.choice(lengths, users)
    span = events / mean_length
    starts = np.sort(random.uniform(-span, 2 * span, users))
    author = np.repeat(np.arange(users), counts)
    gaps = random.exponential(_GAP_DAYS, len(author)) * span / 365
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    ages = np.cumsum(gaps) - gaps
    at = starts[author] + ages - ages[firsts]
    order = np.argsort(at, kind="stable")
    order = order[at[order] >= 0][:events]
    topics = random.choice(len(change.before), users, p=change.before)
    after = np.array([random.choice(len(row), p=row) for row in change.moves[topics]])
    author = author[order]
    late = np.arange(len(order)) >= (len(order) if shift is None else shift)
    topic = np.where(late, after[author], topics[author])
    rows = [np.flatnonzero(posts.topics == number) for number in range(len(change.before))]
    places = random.random(len(order))
    drawn = np.array(
        [
            rows[number][int(place * len(rows[number]))]
            for number, place in zip(topic.tolist(), places.tolist(), strict=True)
        ]
    )
    # A year, whatever the number of events: profiles fade as they do in the real stream.
    times = (np.linspace(0, 365, len(order)) * _DAY).astype(np.int64)
    names = [f"{seed}-{number}" for number in range(users)]
    return Stream(author, posts.vectors[drawn], times, names, shift)
