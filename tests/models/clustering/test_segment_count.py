from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.clustering import segment_count
from models.clustering.policy import LEAST_SEGMENTS
from models.clustering.reseed import lloyd
from models.clustering.segment_count import (
    LEAST_USERS,
    MERGE_DEPTH,
    MOST_KNOWN,
    SPLIT_DEPTH,
    find_segments,
    valleys,
)
from tests.models.synthetic import Topics


def profiles(users: list[int], events=10, seed=0, dimension=384):
    """Profiles of so many users of each topic, mixed."""
    topics = Topics(max(len(users), 2), dimension, seed=seed)
    rows = [
        topics.profile(topic, events) for topic, count in enumerate(users) for _ in range(count)
    ]
    order = np.random.default_rng(seed).permutation(len(rows))
    truth = np.repeat(np.arange(len(users)), users)
    return np.stack(rows)[order], truth[order]


def cloud(users: int, dimension: int, seed=0):
    return np.random.default_rng(seed).normal(size=(users, dimension))


def found(vectors, centres=None, most=50, weights=None, seed=0):
    centres, _ = find_segments(vectors, centres, most, np.random.default_rng(seed), weights=weights)
    return centres


# --- valleys --------------------------------------------------------------------------------------


def naive_valleys(vectors, centres, weights):
    """User by user, with a dot product for the place on the line."""
    full = min(MOST_KNOWN, np.quantile(weights, 0.9))
    middle = np.zeros((len(centres), len(centres)))
    end = np.zeros_like(middle)
    for held in (0, 1):
        fitted = [i for i in range(len(vectors)) if i % 2 != held]
        own, _ = lloyd(vectors[fitted], centres, 2, weights[fitted])
        for i in range(held, len(vectors), 2):
            nearest = min(range(len(own)), key=lambda k: np.linalg.norm(vectors[i] - own[k]))
            known = (min(weights[i], full) / full) ** 2
            for a in range(len(own)):
                for b in range(len(own)):
                    if a == b or nearest not in (a, b):
                        continue
                    line = own[b] - own[a]
                    place = 2 * (vectors[i] - (own[a] + own[b]) / 2) @ line / (line @ line)
                    middle[a, b] += known * (abs(place) < 1 / 3)
                    end[a, b] += known * (abs(place + 1) < 1 / 3)
    depth = np.zeros_like(middle)
    for a in range(len(centres)):
        for b in range(len(centres)):
            if a != b:
                emptier = min(end[a, b], end[b, a])
                depth[a, b] = (middle[a, b] + 1) / emptier if emptier >= LEAST_USERS else np.inf
    return depth


@pytest.mark.parametrize("seed", range(4))
def test_valleys_are_those_of_a_naive_count(seed):
    random = np.random.default_rng(seed)
    vectors, _ = profiles([30, 20, 10, 3], events=4, seed=seed, dimension=20)
    weights = random.gamma(1.0, 5.0, size=len(vectors)) + 0.01
    centres = vectors[random.choice(len(vectors), 5, replace=False)]
    expected = naive_valleys(vectors, centres, weights)
    assert valleys(vectors, centres, weights) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.float64, (24, 3), elements=st.floats(-1, 1, width=16)),
    st.permutations(range(4)),
)
def test_the_order_of_the_centres_is_of_no_matter(vectors, order):
    centres = vectors[:4] + np.arange(4)[:, None] * 1e-3
    depth = valleys(vectors, centres)
    assert np.array_equal(depth, depth.T)
    assert (depth >= 0).all()
    # Of two centres at the same distance the first wins, so ties are left out.
    distances = np.linalg.norm(vectors[:, None] - centres, axis=2)
    distances.sort(axis=1)
    if (distances[:, 1] - distances[:, 0]).min() > 1e-9:
        again = valleys(vectors, centres[list(order)])
        finite = np.isfinite(depth[np.ix_(order, order)])
        assert np.array_equal(np.isfinite(again), finite)


def test_two_topics_have_a_valley_and_one_has_none():
    vectors, truth = profiles([60, 60])
    means = np.stack([vectors[truth == topic].mean(axis=0) for topic in (0, 1)])
    assert valleys(vectors, means)[0, 1] < 0.1
    one = vectors[truth == 0]
    cut = found(np.vstack([one, one + 1e-9]), most=2)
    assert valleys(one, cut)[0, 1] > MERGE_DEPTH


@pytest.mark.parametrize("dimension", [1, 2, 10, 384])
@pytest.mark.parametrize("users", [60, 1_000])
def test_a_cloud_has_no_valley_in_any_number_of_dimensions(dimension, users):
    vectors = cloud(users, dimension)
    centres, _ = lloyd(vectors, vectors[:2])
    assert valleys(vectors, centres)[0, 1] > MERGE_DEPTH


def test_a_few_users_prove_no_valley():
    vectors, truth = profiles([60, 4])
    means = np.stack([vectors[truth == topic].mean(axis=0) for topic in (0, 1)])
    assert valleys(vectors, means)[0, 1] > SPLIT_DEPTH


def test_users_hardly_known_do_not_fill_the_valley():
    """Single texts of two near topics lie all over the place; users with more do not."""
    topics = Topics(2, closeness=0.35)
    many = [topics.profile(n % 2, 12) for n in range(80)]
    single = [topics.profile(n % 2, 1) for n in range(800)]
    vectors = np.stack(many + single)
    weights = np.array([12.0] * 80 + [1.0] * 800)
    centres = topics.directions * 0.5
    assert valleys(vectors, centres, weights)[0, 1] < valleys(vectors, centres)[0, 1]


# --- the number of segments -----------------------------------------------------------------------


@pytest.mark.parametrize("users", [[40, 40], [80, 40, 20], [60] * 5, [30] * 12, [200, 15, 15]])
def test_the_number_of_topics_is_found(users):
    vectors, truth = profiles(users)
    centres = found(vectors)
    assert len(centres) == len(users)
    rows = np.linalg.norm(vectors[:, None] - centres, axis=2).argmin(axis=1)
    assert len(set(zip(rows.tolist(), truth.tolist(), strict=True))) == len(users)


@pytest.mark.parametrize("dimension", [2, 384])
def test_a_cloud_is_cut_in_two_and_no_further(dimension):
    assert len(found(cloud(400, dimension))) == LEAST_SEGMENTS


def test_a_topic_that_appears_gets_a_segment_and_one_that_is_gone_loses_it():
    vectors, truth = profiles([50, 50, 50, 50])
    first = found(vectors[truth < 2])
    assert len(first) == 2
    second = found(vectors, first)
    assert len(second) == 4
    assert len(found(vectors[truth < 3], second)) == 3


@pytest.mark.parametrize("seed", range(3))
def test_users_with_thousands_of_texts_take_no_segment_from_the_others(seed, monkeypatch):
    vectors, _ = profiles([60, 60, 40, 30], events=4)
    weights = np.full(len(vectors), 5.0)
    weights[:6] = 50_000.0
    assert len(found(vectors, weights=weights, seed=seed)) == 4
    monkeypatch.setattr(segment_count, "MOST_WEIGHT", np.inf)
    assert len(found(vectors, weights=weights, seed=seed)) < 4


def test_looking_again_changes_nothing():
    vectors, _ = profiles([60, 40, 30, 20])
    centres = found(vectors)
    for seed in range(1, 6):
        again = found(vectors, centres, seed=seed)
        assert np.array_equal(again, centres)


def test_there_are_no_more_than_asked_for():
    vectors, _ = profiles([40] * 6)
    assert len(found(vectors, most=4)) == 4
    assert len(found(vectors, found(vectors), most=3)) == 3
    assert len(found(vectors, most=1)) == 1


def test_fewer_different_users_give_fewer_segments():
    assert len(found(np.ones((9, 4)))) == 1
    assert len(found(np.repeat(np.eye(4)[:2], 5, axis=0))) == 2
    assert len(found(np.eye(4)[:1])) == 1


def test_the_same_users_and_seed_give_the_same_bits():
    vectors, _ = profiles([40, 30, 20])
    weights = np.linspace(1, 9, len(vectors))
    assert np.array_equal(found(vectors, weights=weights), found(vectors, weights=weights))
