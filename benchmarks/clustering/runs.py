"""One algorithm over the trainer's input: alone, and as the trainer runs it."""

from __future__ import annotations

import copy
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.clustering.profiles import Profiles
from models.clustering.clusterers.base import Clusterer
from models.clustering.clusterers.make import make_clusterer
from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ClusteringPolicy
from models.clustering.reseed import reseed
from models.distances import Ints, nearest
from models.profiles.sample import UserSample
from models.segments.model import SegmentModel

BATCH = 100
"""Profiles after which the trainer is asked for a new version."""

WARM_UP = 100
"""Profiles whose centres a clusterer begins with, where it has no trainer."""


def alone(policy: ClusteringPolicy, profiles: Profiles) -> Clusterer:
    """Make a clusterer that has no trainer, but the same sample for the centres of a projection."""
    sample = UserSample(policy.sample_users)
    for user, vector, weight in zip(
        profiles.users, profiles.vectors, profiles.weights, strict=True
    ):
        sample.put(user, vector, {}, weight)
    members = (sample.vectors(), sample.weights())
    return make_clusterer(policy, lambda: members)


@dataclass
class Run:
    """One algorithm over the stream.

    Attributes
    ----------
    seconds
        Processor time of learning: all profiles, the warm-up and the looks among them.
    foreseen
        Segment of each profile before it was learned; None before there were segments.
    segments
        Segment of each last profile in the end.
    number
        Segments in the end.
    """

    seconds: float
    foreseen: list[int | None]
    segments: list[int]
    number: int


def run_alone(clusterer: Clusterer, profiles: Profiles, policy: ClusteringPolicy) -> Run:
    """Let a clusterer learn by itself, from good centres of the first profiles on.

    Segments are its labels.
    """

    def learn(row: int) -> None:
        if row >= WARM_UP:
            clusterer.learn(profiles.vectors[row])
        elif row == WARM_UP - 1:
            vectors, weights = profiles.vectors[:WARM_UP], profiles.weights[:WARM_UP]
            generator = np.random.default_rng(policy.seed)
            count = policy.least_segments
            clusterer.start(
                vectors, weights, reseed(vectors, None, count, generator, weights=weights)[0]
            )

    return _run(
        profiles,
        learn,
        lambda rows: clusterer.labels(profiles.vectors[rows]) if clusterer.ready else None,
        lambda: len(clusterer.centres),
    )


def run_trainer(learner: StreamingClusterer, profiles: Profiles) -> Run:
    """Let the trainer's clusterer learn; segments are those of the versions that it publishes."""
    model: SegmentModel | None = None

    def publish() -> None:
        nonlocal model
        if learner.due(model):
            model = learner.snapshot(model)

    def learn(row: int) -> None:
        learner.learn(profiles.users[row], profiles.vectors[row], {}, profiles.weights[row])

    def label(rows: Ints) -> Ints | None:
        if rows[0] % BATCH == 0:
            publish()
        if model is None:
            return None
        segments: Ints = model.ids[nearest(profiles.vectors[rows], model.centres)[0]]
        return segments

    run = _run(profiles, learn, label, lambda: 0)
    begun = time.process_time()
    learner.settle()
    run.seconds += time.process_time() - begun
    publish()
    segments = label(profiles.final)
    if segments is not None and model is not None:
        run.segments, run.number = segments.tolist(), len(model.ids)
    return run


def _run(
    profiles: Profiles,
    learn: Callable[[int], None],
    label: Callable[[Ints], Ints | None],
    number: Callable[[], int],
) -> Run:
    seconds, foreseen = 0.0, list[int | None]()
    for row in range(len(profiles.users)):
        segment = label(np.array([row]))
        foreseen.append(None if segment is None else int(segment[0]))
        begun = time.process_time()
        learn(row)
        seconds += time.process_time() - begun
    segments = label(profiles.final)
    if segments is None:
        return Run(seconds, foreseen, [0] * len(profiles.final), 0)
    return Run(seconds, foreseen, segments.tolist(), number())


def held(clusterer: Clusterer) -> int:
    """Measure the memory that a copy of a clusterer takes in Python, in bytes."""
    tracemalloc.start()
    copied = copy.deepcopy(clusterer)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del copied
    return size
