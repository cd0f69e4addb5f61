"""The same defaults hold in an embedding model in which all texts lie close together."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.flapping import stream
from benchmarks.flapping.stream import Outcome
from benchmarks.interests.plan import Shape, plan, posts
from benchmarks.interests.texts import vectors_like_texts
from consumer.settings import Settings

SHAPE = Shape(interests=6, users=600, events=16.0)


@cache
def followed(cosine: float, segments: int | str, seeds: int) -> list[tuple[Outcome, int]]:
    """What the defaults make of some streams, and how many segments there are in the end."""
    settings = Settings(
        training={"segments": segments, "warmup_users": 100, "reseed_every": 400},
        batch={"max_records": 100},
    )
    texts, found = vectors_like_texts(closeness=0.5), []
    for seed in range(seeds):
        course = stream.run(posts(plan(SHAPE, seed), texts, seed, cosine=cosine), settings)
        outcome = stream.follow(course, settings.assignment, 5)
        found.append((outcome, len(course.steps[-1].model.ids)))
    return found


def mean(found: list[tuple[Outcome, int]], *names: str) -> float:
    return float(np.mean([sum(getattr(outcome, name) for name in names) for outcome, _ in found]))


@pytest.mark.parametrize(
    ("cosine", "segments", "seeds"), [(0.5, 6, 3), (0.81, 6, 3), (0.81, "auto", 1)]
)
def test_a_constant_in_all_vectors_costs_no_quality(cosine, segments, seeds):
    plain, squeezed = followed(0.0, segments, seeds), followed(cosine, segments, seeds)
    assert mean(squeezed, "v_measure") >= 0.97 * mean(plain, "v_measure")
    assert [count for _, count in squeezed] == [count for _, count in plain]


@pytest.mark.parametrize("cosine", [0.5, 0.81])
def test_a_constant_in_all_vectors_leaves_about_as_many_changes(cosine):
    plain, squeezed = followed(0.0, 6, 3), followed(cosine, 6, 3)
    moves = ("own_moves", "model_moves")
    assert mean(squeezed, *moves) == pytest.approx(mean(plain, *moves), rel=0.2)
