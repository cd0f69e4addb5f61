"""The number of segments: how far apart they are, and the way down from many to few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import norm

from benchmarks.interests.plan import Shape, plan, squeezed
from benchmarks.interests.texts import vectors_like_texts
from models.clustering.grid import GridSample
from models.clustering.policy import LEAST_SEGMENTS
from models.clustering.reseed import lloyd
from models.clustering.segment_count import find_segments
from models.clustering.separation import LEAST_USERS, separations
from models.distances import nearest
from models.measures.agreement import agreement
from models.measures.offline import offline_kmeans
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


def look(vectors, centres=None, most=100, weights=None, seed=0, least_users=1):
    return find_segments(
        vectors,
        centres,
        most,
        np.random.default_rng(seed),
        weights=weights,
        least_users=least_users,
    )


def found(vectors, centres=None, **options):
    return look(vectors, centres, **options).centres


# --- users on a grid -----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.float64, (9, 3), elements=st.floats(-8, 8, width=32)),
    st.permutations(range(9)),
)
def test_on_the_grid_the_order_of_a_sum_is_of_no_matter(vectors, order):
    weights = np.linspace(0.5, 90, 9)
    sample, other = GridSample(vectors, weights), GridSample(vectors[order], weights[order])
    centres = sample.on_grid(vectors[:2] / 3)
    squares, others = (each.squares(slice(None), centres) for each in (sample, other))
    assert np.array_equal(squares[order], others)
    one = np.zeros(9, np.int64)
    means = [each.means(np.arange(9), one, centres) for each in (sample, other)]
    assert np.array_equal(*means)
    expected = np.average(vectors, axis=0, weights=sample.weights)
    assert sample.off_grid(means[0])[0] == pytest.approx(expected, abs=1e-4)
    distances = np.square(vectors[:, None] - vectors[:2] / 3).sum(axis=2)
    scale = np.square(sample.off_grid(np.ones(1)))[0]
    assert squares * scale == pytest.approx(distances, abs=1e-3)


def test_users_are_moved_to_the_grid_as_lloyd_moves_them_off_it():
    vectors, _ = profiles([40, 30, 20])
    weights = np.random.default_rng(0).integers(1, 9, len(vectors)).astype(float)
    sample = GridSample(vectors, weights)
    centres, rows = sample.lloyd(sample.on_grid(vectors[:3]), 50)
    expected, _ = lloyd(vectors, vectors[:3], 50, weights)
    assert sample.off_grid(centres) == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(rows, nearest(vectors, expected)[0])


def test_the_best_known_are_in_their_order_and_on_the_same_grid():
    vectors = np.array([[0.9, 0.0], [0.1, 0.1], [0.2, 0.0], [0.0, 0.3]])
    sample = GridSample(vectors, np.array([1.0, 5.0, 2.0, 5.0]))
    best = sample.best_known(2)
    assert best.weights.tolist() == [5.0, 5.0]
    centres = sample.on_grid(vectors[:1])
    assert np.array_equal(
        best.squares(slice(None), centres), sample.squares(np.array([1, 3]), centres)
    )


# --- how far apart two are -----------------------------------------------------------------------


def naive_separation(vectors, rows, known, a, b, normal):
    """User by user, with a dot product for the place on the line."""
    sides = {a: [], b: []}
    count = len(vectors)
    halves = ([i % 2 for i in range(count)], [i // 2 % 2 for i in range(count)])
    for half in halves:
        for held in (0, 1):
            own = [
                np.mean([vectors[i] for i in range(count) if half[i] != held and rows[i] == k], 0)
                for k in range(rows.max() + 1)
            ]
            line = own[b] - own[a]
            for i in range(count):
                if half[i] != held:
                    continue
                side = min(range(len(own)), key=lambda k: np.linalg.norm(vectors[i] - own[k]))
                if side in sides:
                    place = 2 * (vectors[i] - (own[a] + own[b]) / 2) @ line / (line @ line)
                    sides[side].append((place, known[i] / 2))
    (x, u), (y, v) = (np.array(sides[side]).T for side in (a, b))
    mean_x, mean_y = np.average(x, weights=u), np.average(y, weights=v)
    within = (u * (x - mean_x) ** 2).sum() + (v * (y - mean_y) ** 2).sum()
    share = u.sum() / (u.sum() + v.sum())
    between = (u.sum() + v.sum()) * share * (1 - share) * (mean_x - mean_y) ** 2
    return between / within / normal(share)


@pytest.mark.parametrize("seed", range(3))
def test_separations_are_those_of_a_naive_count(seed):
    def normal(share):
        between = norm.pdf(norm.ppf(share)) ** 2 / (share * (1 - share))
        return between / (1 - between)

    vectors, rows = profiles([30, 20, 16], events=4, seed=seed, dimension=20)
    known = np.random.default_rng(seed).uniform(0.1, 1.0, len(vectors))
    sample = GridSample(vectors, np.ones(len(vectors)))
    centres = np.stack([vectors[rows == k].mean(axis=0) for k in range(3)])
    apart = separations(sample, rows, sample.on_grid(centres), known)
    assert np.array_equal(apart, apart.T)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        expected = naive_separation(vectors, rows, known, a, b, normal)
        assert apart[a, b] == pytest.approx(expected, rel=1e-3)


def apart_of(vectors, steps=50):
    sample = GridSample(vectors, np.ones(len(vectors)))
    centres, rows = sample.lloyd(sample.on_grid(vectors[:2]), steps)
    return separations(sample, rows, centres, np.ones(len(vectors)))[0, 1]


@pytest.mark.parametrize("dimension", [1, 2, 10, 384])
def test_a_cloud_is_hardly_apart_in_any_number_of_dimensions(dimension):
    assert apart_of(cloud(1_000, dimension)) < 1.2


def test_two_clouds_are_apart_whatever_their_sizes_and_the_scale():
    for share in (0.5, 0.1):
        many = cloud(1_000, 5)
        many[:, 0] += np.where(np.arange(1_000) < 1_000 * share, 6.0, 0.0)
        many = many[np.random.default_rng(0).permutation(1_000)]
        assert apart_of(many) > 2.5
        assert apart_of(many * 1e-3) == pytest.approx(apart_of(many), rel=1e-3)


def test_a_few_users_are_not_apart_and_the_nearest_least():
    vectors, rows = profiles([60, 60, 1])
    sample = GridSample(vectors, np.ones(len(vectors)))
    centres = np.stack([vectors[rows == k].mean(axis=0) for k in range(3)])
    apart = separations(sample, rows, sample.on_grid(centres), np.ones(len(vectors)))
    assert LEAST_USERS > 1
    assert apart[0, 1] > 2.5
    assert max(apart[0, 2], apart[1, 2]) <= 0.1


# --- the number of segments -----------------------------------------------------------------------


@pytest.mark.parametrize("users", [[60, 60], [80, 40, 40], [60] * 5, [40] * 12, [200, 40, 40]])
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
def test_users_with_thousands_of_texts_take_no_segment_from_the_others(seed):
    vectors, _ = profiles([60, 60, 40, 30], events=4)
    weights = np.full(len(vectors), 5.0)
    weights[:6] = 50_000.0
    assert len(found(vectors, weights=weights, seed=seed)) == 4


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


def test_users_who_all_write_the_same_are_one_segment():
    """Rounding parts their profiles, in float32 or float16, and nothing else."""
    for kind in (np.float32, np.float16):
        text = Topics(1).profile(0)
        rows = [(text * count).astype(kind).astype(float) / count for count in range(1, 31)]
        assert len(found(np.stack(rows))) == 1


def test_a_segment_of_too_few_users_is_left_to_its_neighbours():
    vectors, _ = profiles([200, 100, 40])
    assert len(found(vectors, least_users=35)) == 3
    assert len(found(vectors, least_users=45)) == 2


def test_the_way_down_is_told():
    vectors, _ = profiles([60] * 5)
    curve = look(vectors).curve
    numbers = [point.segments for point in curve]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > 5
    assert numbers[-1] == LEAST_SEGMENTS
    assert all((point.apart >= 1) == (point.segments <= 5) for point in curve)


# --- interests that share words ------------------------------------------------------------------


def interests(shape, seed, cosine=0.0):
    """Profiles, weights and interests of users of a made-up stream: means of their vectors."""
    drawn = plan(shape, seed)
    vectors = vectors_like_texts().draw(drawn.chosen[drawn.about], np.random.default_rng((seed, 1)))
    vectors = squeezed(vectors, cosine)
    rows = np.zeros((shape.users, vectors.shape[1]))
    np.add.at(rows, drawn.users, vectors)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, np.bincount(drawn.users).astype(float), drawn.truth


@pytest.mark.parametrize("cosine", [0.0, 0.81], ids=["as-they-are", "squeezed"])
@pytest.mark.parametrize(("count", "users"), [(5, 1500), (20, 3000)])
@pytest.mark.parametrize("seed", range(2))
def test_the_number_of_interests_is_found_within_a_quarter(count, users, seed, cosine):
    vectors, weights, truth = interests(Shape(interests=count, users=users), seed, cosine)
    centres = found(vectors, weights=weights, least_users=15)
    assert 0.75 * count <= len(centres) <= 1.25 * count
    known = weights >= 5
    own = nearest(vectors[known], centres)[0]
    given = offline_kmeans(vectors[known], count, starts=3).rows
    labels = truth[known].tolist()
    assert (
        agreement(labels, own.tolist()).v_measure
        >= 0.95 * agreement(labels, given.tolist()).v_measure
    )


def test_a_second_look_keeps_the_number():
    vectors, weights, _ = interests(Shape(interests=20), 0)
    centres = found(vectors, weights=weights, least_users=15)
    for seed in range(1, 4):
        again = look(vectors, centres, weights=weights, least_users=15, seed=seed)
        assert abs(len(again.centres) - len(centres)) <= 1
