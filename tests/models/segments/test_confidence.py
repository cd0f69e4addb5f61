"""How sure an assignment is: a probability that behaves like one, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.distances import nearest
from models.segments.confidence import confidence
from tests.models.synthetic import Topics, unit

CENTRES = arrays(np.float64, (4, 3), elements=st.floats(-1, 1))
VECTORS = arrays(np.float64, (5, 3), elements=st.floats(-1, 1))
WEIGHTS = arrays(np.float64, 5, elements=st.floats(0, 1e6))


def every_share(vectors, weights, centres):
    """Confidence of each profile in each centre, float64[n, K]."""
    n = len(vectors)
    columns = [
        confidence(vectors, np.full(n, row), weights, centres) for row in range(len(centres))
    ]
    return np.stack(columns, axis=1)


@given(VECTORS, WEIGHTS, CENTRES)
def test_shares_of_all_segments_are_in_0_to_1_and_add_up_to_1(vectors, weights, centres):
    shares = every_share(vectors, weights, centres)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-12)


@given(VECTORS, WEIGHTS, CENTRES)
def test_the_nearest_segment_has_the_largest_share_and_no_less_than_chance(
    vectors, weights, centres
):
    rows, _ = nearest(vectors, centres)
    shares = every_share(vectors, weights, centres)
    own = shares[np.arange(len(rows)), rows]
    assert (own == shares.max(axis=1)).all()
    assert (own >= 1 / len(centres) - 1e-12).all()


@given(VECTORS, WEIGHTS, CENTRES, st.permutations(range(4)))
def test_the_order_of_the_segments_does_not_matter(vectors, weights, centres, order):
    shares = every_share(vectors, weights, centres)
    assert np.array_equal(every_share(vectors, weights, centres[order]), shares[:, order])


@given(VECTORS, WEIGHTS, CENTRES)
def test_a_profile_by_itself_is_as_sure_as_among_others(vectors, weights, centres):
    rows, _ = nearest(vectors, centres)
    together = confidence(vectors, rows, weights, centres)
    for i in range(len(vectors)):
        one = slice(i, i + 1)
        assert confidence(vectors[one], rows[one], weights[one], centres) == together[i]


@given(st.floats(0, math.pi / 2), st.floats(0, 1), st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_the_nearer_of_two_by_more_the_surer(angle, step, weight, seed):
    start = unit(np.random.default_rng(seed).normal(size=8))
    side = np.roll(start, 1) - np.roll(start, 1) @ start * start
    centres = np.stack([start, unit(side)])
    # On the way from one centre to the other the margin shrinks.
    places = [angle * step, angle]
    vectors = np.stack([math.cos(at) * centres[0] + math.sin(at) * centres[1] for at in places])
    near, far = confidence(vectors, np.zeros(2, np.int64), np.full(2, weight), centres)
    assert near >= far - 1e-12


@given(st.floats(0, 50), st.floats(0, 50))
def test_more_evidence_never_makes_the_nearest_less_sure(one, other):
    topics = Topics(3, dimension=16)
    vectors = np.stack([topics.profile(0)] * 2)
    rows, _ = nearest(vectors, topics.directions)
    less, more = confidence(vectors, rows, np.sort([one, other]), topics.directions)
    assert less <= more + 1e-12


def test_without_evidence_every_segment_is_as_likely():
    topics = Topics(5)
    assert confidence(
        topics.events(2, 1), np.array([2]), np.zeros(1), topics.directions
    ) == pytest.approx(0.2)


def test_midway_between_two_the_odds_are_even():
    centres = np.eye(3)[:2]
    vector = unit(np.array([[1.0, 1.0, 0.0]]))
    assert confidence(vector, np.array([0]), np.array([9.0]), centres) == pytest.approx(0.5)


def test_centres_at_the_origin_tell_nothing_apart():
    assert confidence(np.eye(2)[:1], np.array([1]), np.ones(1), np.zeros((2, 2))) == [0.5]


def test_nobody_is_asked():
    assert confidence(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0), np.eye(2)).size == 0
