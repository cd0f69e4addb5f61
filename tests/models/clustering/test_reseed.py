from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.clustering.reseed import lloyd, removal_costs, reseed, spread
from models.distances import nearest
from tests.models.synthetic import Topics

POINTS = arrays(np.float64, (12, 2), elements=st.integers(-5, 5).map(float))


def random():
    return np.random.default_rng(3)


def inertia(vectors, centres):
    return float(np.square(nearest(vectors, centres)[1]).sum())


def users_of_topics(counts, **options):
    """Profiles of users, so many of each topic, and the topics."""
    topics = Topics(len(counts), **options)
    rows = [topics.profile(topic) for topic, count in enumerate(counts) for _ in range(count)]
    truth = [topic for topic, count in enumerate(counts) for _ in range(count)]
    return np.stack(rows), np.array(truth)


def topic_of_each_centre(vectors, truth, centres):
    """The set of topics among each centre's members."""
    index, _ = nearest(vectors, centres)
    return [set(truth[index == row].tolist()) for row in range(len(centres))]


def test_k_means_plus_plus_finds_every_topic():
    vectors, truth = users_of_topics([30, 30, 30, 30, 30])
    centres, _ = lloyd(vectors, spread(vectors, 5, random()))
    assert sorted(topic_of_each_centre(vectors, truth, centres), key=min) == [
        {0}, {1}, {2}, {3}, {4},
    ]  # fmt: skip


def test_there_are_no_more_centres_than_different_vectors():
    vectors = np.repeat(np.eye(3), 4, axis=0)
    assert len(spread(vectors, 8, random())) == 3


def test_centres_that_are_there_stay():
    vectors, _ = users_of_topics([20, 20])
    own = vectors[[0, 25]]
    assert np.array_equal(spread(vectors, 4, random(), own)[:2], own)
    assert np.array_equal(spread(vectors, 2, random(), own), own)


@given(POINTS, st.integers(1, 4))
def test_lloyds_steps_never_raise_the_inertia(vectors, count):
    centres = spread(vectors, count, random())
    before = inertia(vectors, centres)
    after, reached = lloyd(vectors, centres)
    assert reached == pytest.approx(inertia(vectors, after))
    assert reached <= before + 1e-9


WEIGHTS = arrays(np.int64, 12, elements=st.integers(1, 4))


@given(POINTS, POINTS.map(lambda points: points[:3]), WEIGHTS)
def test_a_weight_counts_as_so_many_users(vectors, centres, weights):
    repeated = np.repeat(vectors, weights, axis=0)
    after, reached = lloyd(vectors, centres, weights=weights.astype(float))
    expected, inertia_of_all = lloyd(repeated, centres)
    assert after == pytest.approx(expected)
    assert reached == pytest.approx(inertia_of_all)
    assert removal_costs(vectors, after, weights.astype(float)) == pytest.approx(
        removal_costs(repeated, after), abs=1e-9
    )


def test_users_of_many_events_outweigh_a_crowd_that_said_one_thing_each():
    topics = Topics(4)
    settled = np.vstack([topics.profile(topic, 20) for topic in (0, 1, 2) for _ in range(10)])
    crowd = np.vstack([topics.events(3, 1) for _ in range(60)])
    vectors = np.vstack([settled, crowd])
    truth = np.repeat([0, 1, 2, 3], [10, 10, 10, 60])
    weights = np.repeat([20.0, 0.01], [30, 60])
    centres, _ = reseed(vectors, None, 3, random(), weights=weights)
    own = truth < 3
    assert sorted(topic_of_each_centre(vectors[own], truth[own], centres), key=min) == [
        {0}, {1}, {2},
    ]  # fmt: skip


def test_lloyd_does_not_write_into_what_it_was_given():
    centres = np.eye(2)
    lloyd(np.array([[5.0, 5.0]]), centres)
    assert np.array_equal(centres, np.eye(2))


@given(POINTS, POINTS.map(lambda points: points[:4]))
def test_removal_costs_are_what_the_inertia_rises_by(vectors, centres):
    costs = removal_costs(vectors, centres)
    for row in range(4):
        without = inertia(vectors, np.delete(centres, row, axis=0))
        assert costs[row] == pytest.approx(without - inertia(vectors, centres), abs=1e-9)


def test_two_centres_in_one_topic_and_none_in_another_are_put_right():
    vectors, truth = users_of_topics([200, 40, 40])
    first_topic, _ = reseed(vectors[:200], None, 2, random())
    stuck, _ = lloyd(vectors, np.vstack([first_topic, vectors[200:].mean(axis=0)]), 99)
    assert topic_of_each_centre(vectors, truth, stuck) == [{0}, {0}, {1, 2}]
    centres, swaps = reseed(vectors, stuck, 3, random())
    assert swaps == 1
    assert sorted(topic_of_each_centre(vectors, truth, centres), key=min) == [{0}, {1}, {2}]


def test_good_centres_are_not_swapped():
    vectors, _ = users_of_topics([50, 50, 50])
    good, _ = reseed(vectors, None, 3, random())
    again, swaps = reseed(vectors, good, 3, random())
    assert swaps == 0
    assert again == pytest.approx(good)


def test_a_centre_that_serves_nobody_is_put_to_use():
    vectors, truth = users_of_topics([50, 50])
    far = np.stack([vectors[0], 100 * np.ones(384)])
    centres, _ = reseed(vectors, far, 2, random())
    assert sorted(topic_of_each_centre(vectors, truth, centres), key=min) == [{0}, {1}]


def test_the_number_of_centres_follows_the_setting():
    vectors, _ = users_of_topics([30, 30, 30])
    five, _ = reseed(vectors, None, 5, random())
    assert len(five) == 5
    three, _ = reseed(vectors, five, 3, random())
    assert len(three) == 3
    four, _ = reseed(vectors, three, 4, random())
    assert len(four) == 4
    one, swaps = reseed(vectors, four, 1, random())
    assert one == pytest.approx(vectors.mean(axis=0)[None])
    assert swaps == 0


def test_a_crowd_does_not_keep_centres_from_small_topics():
    vectors, truth = users_of_topics([600, 15, 15, 15])
    centres, _ = reseed(vectors, None, 4, random())
    assert sorted(topic_of_each_centre(vectors, truth, centres), key=min) == [{0}, {1}, {2}, {3}]


def test_users_of_one_event_each_are_told_apart_too():
    """One event is mostly noise: as a centre of its own it would win nobody but itself."""
    topics = Topics(4)
    vectors = np.vstack([topics.events(topic, 60) for topic in range(4)])
    truth = np.repeat(np.arange(4), 60)
    centres, _ = reseed(vectors, None, 4, random())
    members = [truth[nearest(vectors, centres)[0] == row] for row in range(4)]
    assert all(np.bincount(own, minlength=4).max() > 0.9 * len(own) for own in members)
    assert min(map(len, members)) > 40


def test_the_outcome_depends_only_on_the_arguments():
    vectors, _ = users_of_topics([40, 40, 40])
    first, _ = reseed(vectors, None, 6, random())
    second, _ = reseed(vectors, None, 6, random())
    assert first.tobytes() == second.tobytes()
