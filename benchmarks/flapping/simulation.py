"""Users who change their interest once, at a known event, and what a policy makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.flapping.texts import Texts, users_by_topic
from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ClusteringPolicy
from models.distances import Floats, Ints, nearest
from models.profiles.policy import ProfilePolicy
from models.profiles.table import ProfileRows
from models.segments.confidence import confidence
from models.segments.decision import decide
from models.segments.model import SegmentModel
from models.segments.policy import AssignmentPolicy
from schemas.segment_model import NO_SEGMENT

_DAY = 86_400_000_000


@dataclass(frozen=True)
class Scenario:
    """How the simulated users write.

    Attributes
    ----------
    users
        Whom the figures are means over.
    focus
        Share of a user's texts on the interest of the time; the others are on any topic.
    gap_days
        Mean time between two events of a user; exponential, so the events are a Poisson process.
    half_life_days
        Of the profiles.
    before
        Least and most events before the change; drawn evenly.
    after
        Events after the change.
    seed
        Of everything that is drawn.
    """

    users: int = 1200
    focus: float = 0.7
    gap_days: float = 30.0
    half_life_days: float = 180.0
    before: tuple[int, int] = (8, 16)
    after: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Course:
    """The users' profiles after each event, and the segments that were learned from them.

    Attributes
    ----------
    vectors
        float64[steps, users, d], of unit length.
    weights
        float64[steps, users].
    first, second
        int64[users]. Id of the right segment before the change, and after.
    changes_at
        int64[users]. Events before the change.
    model
        The segments.
    scenario
        How the users write.
    """

    vectors: Floats
    weights: Floats
    first: Ints
    second: Ints
    changes_at: Ints
    model: SegmentModel
    scenario: Scenario


def simulate(scenario: Scenario, texts: Texts) -> Course:
    """Let the users write, and learn segments from their profiles just before the first changes."""
    random = np.random.default_rng(scenario.seed)
    n, least = scenario.users, scenario.before[0]
    first = random.integers(texts.topics, size=n)
    second = (first + random.integers(1, texts.topics, size=n)) % texts.topics
    changes_at = random.integers(least, scenario.before[1] + 1, size=n)
    policy = ProfilePolicy(half_life_days=scenario.half_life_days, event_memory=1)
    rows: ProfileRows | None = None
    every = np.arange(n)
    times = np.zeros(n, np.int64)
    vectors, weights = [], []
    for step in range(scenario.before[1] + scenario.after):
        interest = np.where(step < changes_at, first, second)
        strays = random.random(n) >= scenario.focus
        topics = np.where(strays, random.integers(texts.topics, size=n), interest)
        embeddings = texts.draw(topics, random)
        times = times + (random.exponential(scenario.gap_days, size=n) * _DAY).astype(np.int64)
        if rows is None:
            rows = ProfileRows.empty([f"u{i}" for i in range(n)], embeddings.shape[1], 1)
        rows.add(every, embeddings, np.ones(n), times, policy)
        rows.remember(every, np.full(n, step + 1, np.uint64))
        vectors.append(rows.vectors())
        weights.append(rows.weights.copy())
    model = _learn(vectors[least - 1], weights[least - 1], texts.topics)
    segments = _segments_of_topics(vectors[least - 1], first, model)
    return Course(
        np.stack(vectors),
        np.stack(weights),
        segments[first],
        segments[second],
        changes_at,
        model,
        scenario,
    )


def _learn(vectors: Floats, weights: Floats, segments: int) -> SegmentModel:
    clusterer = StreamingClusterer(ClusteringPolicy(segments=segments, warmup_users=100), "0" * 64)
    for user, (vector, weight) in enumerate(zip(vectors, weights.tolist(), strict=True)):
        clusterer.learn(f"u{user}", vector, {}, weight)
    clusterer.settle()
    return clusterer.snapshot(None)


def _segments_of_topics(vectors: Floats, topics: Ints, model: SegmentModel) -> Ints:
    """Id of the segment of each topic: where most of its users are.

    Raises
    ------
    ValueError
        Where two topics share a segment: then there is no truth to compare with.
    """
    count = len(model.ids)
    found = users_by_topic(vectors, topics, count, model).argmax(axis=1)
    if len(set(found.tolist())) < count:
        raise ValueError("two topics share a segment: give texts that are easier to tell apart")
    ids: Ints = model.ids[found]
    return ids


@dataclass(frozen=True)
class Outcome:
    """What a policy makes of simulated users: means over them.

    Attributes
    ----------
    changes
        Moves from segment to segment a user; 1 is the truth.
    lag
        Events from the change on until the user is in the right segment, that one included; those
        who never get there count with all of theirs.
    wrong
        Share of users who are not in the right segment in the end.
    waiting
        Share of events before the change after which a user was in no segment.
    """

    changes: float
    lag: float
    wrong: float
    waiting: float


def follow(course: Course, policy: AssignmentPolicy) -> Outcome:
    """Decide after each event, as a worker does, and compare with the truth."""
    n, after = course.scenario.users, course.scenario.after
    current = np.full(n, NO_SEGMENT)
    since = np.zeros(n, np.int64)
    moves = np.zeros(n, np.int64)
    lag = np.full(n, after)
    wrong = np.zeros(n, bool)
    waiting = 0
    for step, (vectors, weights) in enumerate(zip(course.vectors, course.weights, strict=True)):
        events = np.full(n, step + 1)
        outcome = decide(
            vectors, current, events, events - since, course.model, policy, weights=weights
        )
        here = step - course.changes_at
        # Every user is followed for as many events after the change.
        changed = outcome.changed & (here < after)
        moves += changed & (current != NO_SEGMENT)
        since = np.where(changed, step + 1, since)
        current = np.where(changed, outcome.segment, current)
        right = current == course.second
        lag = np.where(right & (here >= 0), np.minimum(lag, here + 1), lag)
        wrong |= ~right & (here == after - 1)
        waiting += int(((current == NO_SEGMENT) & (here < 0)).sum())
    return Outcome(
        float(moves.mean()),
        float(lag.mean()),
        float(wrong.mean()),
        waiting / int(course.changes_at.sum()),
    )


def judged_before_the_change(course: Course) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidence in the nearest segment after each event before the change, and if it is right."""
    model, sure, right = course.model, [], []
    for step, (vectors, weights) in enumerate(zip(course.vectors, course.weights, strict=True)):
        early = step < course.changes_at
        rows, _ = nearest(vectors[early], model.centres)
        sure.append(confidence(vectors[early], rows, weights[early], model.centres))
        right.append(model.ids[rows] == course.first[early])
    return np.concatenate(sure), np.concatenate(right)
