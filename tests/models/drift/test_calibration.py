"""Permutations that respect who is in both samples, and the tail that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearson3

from models.drift.calibration import (
    NullDistribution,
    exchanges,
    halvings,
    means_by,
    pairs_of,
    per_user,
)

NONE = np.empty((0, 2), np.int64)


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30), min_size=1))
def test_pairs_are_the_users_in_both_samples(users, others):
    random = np.random.default_rng(0)
    first, second = (random.permutation(sorted(each)).astype(float) for each in (users, others))
    pairs = pairs_of(first, second)
    assert {first[i] for i, _ in pairs} == users & others
    assert all(first[i] == second[j] for i, j in pairs)


@given(st.integers(1, 8), st.integers(1, 8), st.data())
@settings(max_examples=40)
def test_an_exchange_keeps_sizes_and_lets_nobody_be_twice_in_a_sample(count, other, data):
    shared = data.draw(st.integers(0, min(count, other)))
    pairs = np.stack([np.arange(shared), other - 1 - np.arange(shared)], axis=1)
    drawn = exchanges(count, other, pairs, 25, np.random.default_rng(1))
    assert drawn.shape == (25, count + other)
    assert (drawn.sum(axis=1) == count).all()
    assert (drawn[:, pairs[:, 0]] != drawn[:, count + pairs[:, 1]]).all()


def test_every_exchange_is_as_likely_as_any_other():
    drawn = exchanges(2, 2, np.array([[0, 1]]), 4000, np.random.default_rng(0))
    seen, times = np.unique(drawn, axis=0, return_counts=True)
    # The user in both is exchanged or not; so are the two others.
    assert len(seen) == 4
    assert (abs(times - 1000) < 120).all()


def test_users_in_both_samples_make_the_permutations_narrower():
    random = np.random.default_rng(2)
    tastes = random.normal(size=200)
    texts = np.concatenate([tastes, tastes])[:, None] + 0.1 * random.normal(size=(400, 1))

    def spread(pairs):
        drawn = exchanges(200, 200, pairs, 300, np.random.default_rng(3))
        first, second = means_by(texts, drawn)
        return (first - second).std()

    alike = np.stack([np.arange(200)] * 2, axis=1)
    assert spread(alike) < 0.2 * spread(NONE)


@given(st.integers(2, 9))
def test_a_halving_marks_half_of_the_rows_rounded_down(count):
    assert (halvings(count, 10, np.random.default_rng(0)).sum(axis=1) == count // 2).all()


def test_means_by_draw_are_those_of_each_draw():
    random = np.random.default_rng(4)
    features, drawn = random.normal(size=(7, 3)), halvings(7, 5, random)
    first, second = means_by(features, drawn)
    for draw in range(5):
        np.testing.assert_allclose(first[draw], features[drawn[draw]].mean(axis=0))
        np.testing.assert_allclose(second[draw], features[~drawn[draw]].mean(axis=0))


# --- the tail -------------------------------------------------------------------------------------


@pytest.mark.parametrize("skewness", [0.05, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("chance", [0.2, 0.01, 1e-5])
def test_the_tail_is_that_of_a_pearson_type_3_distribution(skewness, chance):
    found = NullDistribution(3.0, 0.5, skewness).exceeded_by(chance)
    assert found == pytest.approx(pearson3.isf(chance, skewness, 3.0, 0.5), rel=1e-6)


@pytest.mark.parametrize("skewness", [0.0, -0.7])
def test_a_tail_without_skewness_or_to_the_left_is_normal(skewness):
    assert NullDistribution(1.0, 2.0, skewness).exceeded_by(0.025) == pytest.approx(4.92, abs=0.01)


def test_the_tail_of_a_sum_of_squares_is_met_far_beyond_the_draws():
    random = np.random.default_rng(5)
    scales = 1.0 / np.arange(1, 40)

    def draw(count):
        return np.square(random.normal(size=(count, 39)) * scales).sum(axis=1)

    threshold = NullDistribution.of(draw(4_000)).exceeded_by(1e-3)
    assert (draw(200_000) > threshold).mean() == pytest.approx(1e-3, rel=0.5)


def test_statistics_that_do_not_vary_are_exceeded_by_what_is_above_them():
    null = NullDistribution.of(np.full(10, 0.25))
    assert (null.skewness, null.exceeded_by(1e-4)) == (0.0, 0.25)


@given(st.floats(0.01, 0.4), st.floats(0.1, 10))
def test_a_multiple_of_a_statistic_has_the_multiple_of_its_threshold(chance, factor):
    null = NullDistribution(1.0, 0.3, 0.8)
    assert null.times(factor).exceeded_by(chance) == pytest.approx(
        factor * null.exceeded_by(chance)
    )


def test_chance_differences_fall_with_the_users_on_either_side():
    assert per_user(100, 50) == pytest.approx(0.03)
