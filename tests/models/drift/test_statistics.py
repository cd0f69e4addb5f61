"""What is measured between two samples: features, distances, components, shares."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from models.drift.features import RandomFeatures, median_distance, mmd_squared
from models.drift.statistics import (
    SortedComponents,
    component_distances,
    cosine_distance,
    psi,
    spreads,
    squared_distance,
)

COORDINATES = st.floats(-5, 5, allow_nan=False, width=32)


ROWS = st.integers(1, 8)


def samples(rows: st.SearchStrategy[int] = ROWS):
    return rows.flatmap(lambda n: arrays.arrays(np.float64, (n, 3), elements=COORDINATES))


def texts(count: int, topic: int, seed: int, dimensions: int = 64) -> np.ndarray:
    """Unit vectors around a topic, as noisy as single texts."""
    found = np.random.default_rng(seed).normal(scale=0.12, size=(count, dimensions))
    found[:, topic] += 0.6
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def exact_mmd_squared(vectors, others, bandwidth) -> float:
    """The kernel between all pairs, one by one."""

    def mean(first, second):
        return np.mean(
            [[np.exp(-np.sum((x - y) ** 2) / (2 * bandwidth**2)) for y in second] for x in first]
        )

    return float(mean(vectors, vectors) + mean(others, others) - 2 * mean(vectors, others))


@pytest.mark.parametrize("seed", range(4))
def test_random_features_come_within_a_tenth_of_the_exact_mmd(seed):
    one = texts(60, 0, seed)
    other = np.concatenate([texts(30, 0, seed + 50), texts(30, 1, seed + 90)])
    bandwidth = median_distance(np.concatenate([one, other]))
    features = RandomFeatures.draw(64, bandwidth, seed, count=1024)
    exact = exact_mmd_squared(one, other, bandwidth)
    assert mmd_squared(features(one), features(other)) == pytest.approx(exact, rel=0.1)


def test_the_product_of_features_is_the_kernel_and_each_has_length_1():
    vectors = texts(12, 0, 1)
    features = RandomFeatures.draw(64, 0.9, 0, count=20_000)(vectors)
    kernel = np.exp(-np.square(vectors[:, None] - vectors).sum(axis=2) / (2 * 0.9**2))
    np.testing.assert_allclose(features @ features.T, kernel, atol=0.03)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0)


@given(samples())
def test_a_sample_has_no_mmd_from_itself_in_another_order(vectors):
    features = RandomFeatures.draw(3, 1.0, 0, count=16)(vectors)
    assert mmd_squared(features, features[::-1]) == pytest.approx(0.0, abs=1e-12)


@given(samples(), samples())
def test_mmd_is_symmetric_and_between_0_and_2(one, other):
    draw = RandomFeatures.draw(3, 1.0, 0, count=16)
    forth, back = mmd_squared(draw(one), draw(other)), mmd_squared(draw(other), draw(one))
    assert forth == pytest.approx(back)
    assert 0.0 <= forth <= 4.0


def test_the_bandwidth_is_the_median_distance_between_two_rows():
    vectors = texts(40, 0, 3)
    pairs = [np.linalg.norm(vectors[i] - vectors[j]) for i in range(40) for j in range(i)]
    assert median_distance(vectors) == pytest.approx(np.median(pairs))


@pytest.mark.parametrize("vectors", [np.ones((1, 4)), np.ones((5, 4)) / 2])
def test_rows_that_are_all_one_have_the_bandwidth_1(vectors):
    assert median_distance(vectors) == 1.0


def test_the_same_seed_draws_the_same_features():
    first, second = (RandomFeatures.draw(5, 0.7, 3).frequencies for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != RandomFeatures.draw(5, 0.7, 4).frequencies.tobytes()


# --- distances of means ---------------------------------------------------------------------------


@given(samples(st.just(2)), samples(st.just(2)))
def test_distances_of_many_means_are_those_of_each_pair(means, others):
    squared, cosine = squared_distance(means, others), cosine_distance(means, others)
    for row in range(2):
        a, b = means[row], others[row]
        assert squared[row] == pytest.approx(np.linalg.norm(a - b) ** 2)
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        expected = 1 - float(a @ b) / lengths if lengths > 0 else 0.0
        assert cosine[row] == pytest.approx(expected, abs=1e-9)


# --- components -----------------------------------------------------------------------------------


@given(samples(), samples())
def test_component_distances_are_those_of_scipy(one, other):
    scale = np.array([1.0, 2.0, 0.5])
    found = component_distances(one, other, scale)
    expected = [wasserstein_distance(one[:, k], other[:, k]) / scale[k] for k in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(st.integers(0, 1_000))
@settings(max_examples=20)
def test_sorted_components_compare_any_part_with_the_rest(seed):
    random = np.random.default_rng(seed)
    vectors, first = random.normal(size=(9, 4)), np.zeros(9, bool)
    first[random.permutation(9)[: random.integers(1, 9)]] = True
    found = SortedComponents(vectors, np.ones(4)).distances(first)
    np.testing.assert_allclose(
        found, component_distances(vectors[first], vectors[~first], np.ones(4)), atol=1e-12
    )


def test_a_component_that_does_not_vary_has_a_scale_of_1():
    vectors = np.array([[1.0, 2.0], [1.0, 4.0]])
    assert spreads(vectors).tolist() == [1.0, 1.0]
    assert spreads(vectors * [1, 3]).tolist() == [1.0, 3.0]


# --- shares ---------------------------------------------------------------------------------------

COUNTS = arrays.arrays(np.int64, 4, elements=st.integers(0, 500))


@given(COUNTS, COUNTS)
def test_psi_is_symmetric_and_not_below_0(one, other):
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, other) >= 0.0
    assert psi(one, one) == 0.0


@given(COUNTS, COUNTS)
def test_psi_is_the_sum_over_segments_of_smoothed_shares(one, other):
    p, q = ((counts + 0.5) / (counts.sum() + 2.0) for counts in (one, other))
    expected = sum((a - b) * np.log(a / b) for a, b in zip(p, q, strict=True))
    assert psi(one, other) == pytest.approx(expected)
    many = psi(np.stack([one, other]), np.stack([other, other]))
    assert many.tolist() == [psi(one, other), 0.0]
