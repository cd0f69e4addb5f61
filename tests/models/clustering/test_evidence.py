from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.clustering.evidence import NOISY_SEGMENTS, evidence, gain
from models.clustering.policy import ClusteringPolicy
from models.clustering.reseed import lloyd, reseed
from models.distances import nearest
from tests.models.synthetic import Topics

POINTS = arrays(np.float64, (12, 2), elements=st.integers(-5, 5).map(float))
WEIGHTS = arrays(np.float64, 12, elements=st.integers(1, 4).map(float))
EACH = pytest.mark.parametrize("instead", [False, True])


def random():
    return np.random.default_rng(3)


def inertia(vectors, centres, weights):
    return float((weights * np.square(nearest(vectors, centres)[1])).sum())


def least_inertia(vectors, count, weights):
    """The best that so many centres can do, by trying each way to cut the points by a start."""
    orders = [np.random.default_rng(n).permutation(len(vectors)) for n in range(60)]
    return min(lloyd(vectors, vectors[order[:count]], weights=weights)[1] for order in orders)


@EACH
@given(POINTS, WEIGHTS)
def test_it_promises_no_more_than_the_best_centres_hold(instead, vectors, weights):
    centres = vectors[:3]
    whole = inertia(vectors, centres, weights)
    assume(whole > 0)
    found = evidence(vectors, centres, random(), weights=weights, instead=instead)
    best = 3 * (1 - least_inertia(vectors, 3 if instead else 4, weights) / whole)
    assert 0 <= found <= best + 1e-9


@EACH
@given(POINTS, WEIGHTS, st.sampled_from([0.25, 8.0]))
def test_it_has_no_unit(instead, vectors, weights, scale):
    one, other = (
        evidence(vectors * by, vectors[:3] * by, random(), weights=weights, instead=instead)
        for by in (1.0, scale)
    )
    assert one == other


@EACH
def test_where_all_are_served_there_is_nothing_to_gain(instead):
    vectors = np.repeat(np.eye(3), 4, axis=0)
    assert evidence(vectors, np.eye(3), random(), weights=np.ones(12), instead=instead) == 0


@EACH
def test_rounding_is_no_evidence(instead):
    """A share of it may be anything, and what it came to was held against a new topic."""
    vectors = np.repeat(np.eye(3), 4, axis=0) * (1 + 1e-9 * np.arange(12))[:, None]
    assert evidence(vectors, np.eye(3), random(), weights=np.ones(12), instead=instead) == 0


def test_where_centres_only_lag_behind_all_is_to_gain_by_moving_them():
    vectors = np.repeat(np.eye(3), 4, axis=0)
    assert evidence(vectors, 0.9 * np.eye(3), random(), weights=np.ones(12)) == pytest.approx(3)


def people(counts, seed=0):
    topics = Topics(len(counts), seed=seed)
    rows = [topics.profile(topic) for topic, count in enumerate(counts) for _ in range(count)]
    return np.stack(rows), np.ones(len(rows))


def test_what_all_centres_lag_behind_is_their_mean_ten_times_where_they_are_more():
    vectors = np.repeat(np.eye(40), 4, axis=0)
    lagging = evidence(vectors, 0.9 * np.eye(40), random(), weights=np.ones(160))
    assert lagging == pytest.approx(NOISY_SEGMENTS)
    moved = gain(vectors, 0.9 * np.eye(40), np.eye(40), weights=np.ones(160))
    assert moved == pytest.approx(NOISY_SEGMENTS)


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_a_new_topic_speaks_for_another_segment_and_more_of_the_same_does_not(instead, seed):
    vectors, weights = people([100, 100, 100, 40], seed)
    known = vectors[:300]
    centres, _ = reseed(known, None, 3, random())
    options = {"weights": weights[:300], "instead": instead}
    noise = evidence(known, centres, random(), **options)
    assert noise < 0.15
    # Of the same topics, by other users.
    more, _ = people([100, 100, 100], seed)
    assert evidence(more, centres, random(), **options) - noise < 0.1
    assert evidence(vectors, centres, random(), weights=weights) - noise > 0.15


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("topics", [20, 60])
def test_one_new_topic_among_many_is_seen(topics, seed):
    vectors, weights = people([20] * (topics + 1), seed)
    known = slice(0, 20 * topics)
    centres, _ = reseed(vectors[known], None, topics, random())
    noise = evidence(vectors[known], centres, random(), weights=weights[known])
    found = evidence(vectors, centres, random(), weights=weights) - noise
    assert found > ClusteringPolicy.given_evidence
