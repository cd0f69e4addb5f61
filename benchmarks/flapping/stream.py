"""The posts as the product sees them: profiles move, the trainer learns, users are assigned.

What the assignment decides has no influence on profiles or segments. So both are computed once, and
each policy is followed through the same course.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.flapping.texts import Posts, users_by_topic
from consumer.offline.replay import events_at_once
from consumer.settings import Settings
from models.clustering.learner import StreamingClusterer
from models.clustering.reseed import reseed
from models.distances import Floats, Ints, nearest
from models.measures.agreement import agreement
from models.profiles.sample import rank
from models.profiles.table import ProfileRows
from models.segments.confidence import confidence
from models.segments.decision import decide
from models.segments.model import SegmentModel
from models.segments.policy import AssignmentPolicy
from schemas.segment_model import NO_SEGMENT


@dataclass(frozen=True)
class Step:
    """Decisions that are due at once.

    Attributes
    ----------
    users
        int64[k], nobody twice.
    vectors, weights, events
        Their profiles: float64[k, d], float64[k], int64[k].
    model
        The segments.
    by_model
        Whether a new model is the reason, not an event of each user.
    """

    users: Ints
    vectors: Floats
    weights: Floats
    events: Ints
    model: SegmentModel
    by_model: bool


@dataclass(frozen=True)
class Course:
    """All decisions of a stream, in their order.

    Attributes
    ----------
    steps
        The decisions.
    topics, events
        int64[users]. Each user's topic, and number of events in the end.
    owners
        Topic of each segment by model version, int64[K]: that of most users, as they stood when the
        version came.
    """

    steps: Sequence[Step]
    topics: Ints
    events: Ints
    owners: Mapping[int, Ints]

    def topic_of(self, segments: Ints, model: SegmentModel) -> Ints:
        """Topic of each segment by id, -1 for those that the model does not hold."""
        rows = model.rows_of(segments)
        return np.where(rows >= 0, self.owners[model.version][rows], -1)


def run(posts: Posts, settings: Settings) -> Course:
    """Run the profiles and the trainer over the posts, batch by batch as in a replay."""
    rows = ProfileRows.empty(posts.names, posts.vectors.shape[1], settings.profile.event_memory)
    clusterer = StreamingClusterer(settings.training, "0" * 64)
    ranks = np.array([rank(name) for name in posts.names])
    model: SegmentModel | None = None
    steps: list[Step] = []

    def publish() -> None:
        nonlocal model
        if not clusterer.due(model):
            return
        model = clusterer.snapshot(model)
        steps.append(_step(rows, np.flatnonzero(rows.events > 0), model, by_model=True))

    batches = posts.lines // events_at_once(settings.batch)
    for number in np.unique(batches).tolist():
        batch = np.flatnonzero(batches == number)
        for turn in _turns(posts.users, batch):
            users = posts.users[turn]
            embeddings, gains = posts.vectors[turn], posts.gains[turn]
            rows.add(users, embeddings, gains, posts.times[turn], settings.profile)
            rows.remember(users, turn.astype(np.uint64) + np.uint64(1))
            if model is not None:
                steps.append(_step(rows, users, model, by_model=False))
        threshold = model.sample_threshold if model else 1.0
        for user in dict.fromkeys(posts.users[batch].tolist()):
            if ranks[user] <= threshold:
                vector = rows.vectors(np.array([user]))[0].astype(np.float32)
                clusterer.learn(posts.names[user], vector, {}, float(rows.weights[user]))
        publish()
    if clusterer.consider(ended=True):
        publish()
    topics = np.zeros(len(posts.names), np.int64)
    topics[posts.users] = posts.topics
    owners = {
        step.model.version: topics_of_segments(step, topics) for step in steps if step.by_model
    }
    return Course(steps, topics, rows.events.copy(), owners)


def _turns(users: Ints, batch: Ints) -> list[Ints]:
    """Cut a batch into turns with one event a user at most, each user's in order."""
    seen: Counter[int] = Counter()
    turns: list[list[int]] = []
    for place in batch.tolist():
        user = int(users[place])
        if seen[user] == len(turns):
            turns.append([])
        turns[seen[user]].append(place)
        seen[user] += 1
    return [np.array(turn) for turn in turns]


def _step(rows: ProfileRows, users: Ints, model: SegmentModel, *, by_model: bool) -> Step:
    return Step(
        users,
        rows.vectors(users),
        rows.weights[users].copy(),
        rows.events[users].copy(),
        model,
        by_model,
    )


@dataclass(frozen=True)
class Outcome:
    """What a policy makes of the stream.

    Attributes
    ----------
    entered
        Share of the users who are in a segment in the end.
    own_moves, model_moves
        Moves from segment to segment a user, by the users' own events and by new models.
    flapping
        Own moves a user out of a segment of the user's topic: all for nothing, as the users keep to
        their topics.
    v_measure
        Of the users with enough events, in the end.
    covered
        Share of events after which the user was in a segment, of those after the first model.
    """

    entered: float
    own_moves: float
    model_moves: float
    flapping: float
    v_measure: float
    covered: float


def follow(course: Course, policy: AssignmentPolicy, least_events: int = 10) -> Outcome:
    """Take all decisions of a stream by one policy."""
    n = len(course.topics)
    current, since = np.full(n, NO_SEGMENT), np.zeros(n, np.int64)
    own = by_model = flapping = inside = events = 0
    for step in course.steps:
        users = step.users
        before = current[users]
        # A new model waives dwelling, as in the worker.
        waived = np.full(len(users), policy.dwell_events)
        rested = waived if step.by_model else step.events - since[users]
        outcome = decide(
            step.vectors, before, step.events, rested, step.model, policy, weights=step.weights
        )
        moved = outcome.changed & (before != NO_SEGMENT)
        if step.by_model:
            by_model += int(moved.sum())
        else:
            topics = course.topics[users]
            own += int(moved.sum())
            flapping += int((moved & (course.topic_of(before, step.model) == topics)).sum())
            inside += int((outcome.segment != NO_SEGMENT).sum())
            events += len(users)
        current[users] = outcome.segment
        since[users] = np.where(outcome.changed, step.events, since[users])
    judged = course.events >= least_events
    found = agreement(course.topics[judged].tolist(), current[judged].tolist())
    return Outcome(
        float((current != NO_SEGMENT).mean()),
        own / n,
        by_model / n,
        flapping / n,
        found.v_measure,
        inside / events,
    )


def topics_of_segments(step: Step, topics: Ints) -> Ints:
    """Topic of most of the users that each segment is nearest to, int64[K]; -1 for nobody's."""
    table = users_by_topic(step.vectors, topics[step.users], int(topics.max()) + 1, step.model)
    return np.where(table.any(axis=0), table.argmax(axis=0), -1)


def judged_by_the_last_model(course: Course) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidence in the nearest segment after each event, and if it is of the user's topic.

    Earlier models split the topics that there were then among all segments: to be sure between two
    segments of one topic is no question that a label can answer.
    """
    last = course.steps[-1].model
    sure, right = [], []
    for step in course.steps:
        if not step.by_model:
            rows, _ = nearest(step.vectors, last.centres)
            sure.append(confidence(step.vectors, rows, step.weights, last.centres))
            right.append(course.topic_of(last.ids[rows], last) == course.topics[step.users])
    return np.concatenate(sure), np.concatenate(right)


def sure_by_segments(course: Course, segments: int, least: Sequence[float]) -> list[float]:
    """Share of the users, as they stand in the end, who are at least so sure of a segment.

    Parameters
    ----------
    segments
        How many; found on all users' profiles, without the stream.
    least
        Confidences.
    """
    last: dict[int, tuple[Floats, float]] = {}
    for step in course.steps:
        if not step.by_model:
            found = zip(step.users.tolist(), step.vectors, step.weights.tolist(), strict=True)
            last.update({user: (vector, weight) for user, vector, weight in found})
    vectors = np.stack([vector for vector, _ in last.values()])
    weights = np.array([weight for _, weight in last.values()])
    centres, _ = reseed(vectors, None, segments, np.random.default_rng(0), weights=weights)
    rows, _ = nearest(vectors, centres)
    sure = confidence(vectors, rows, weights, centres)
    return [round(float((sure >= each).mean()), 4) for each in least]
