from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.clustering.clusterers.base import ClustererError
from models.clustering.clusterers.kmeans import KMeans
from models.clustering.clusterers.projection import IncrementalPca, Projected, RandomProjection
from models.clustering.clusterers.state import from_json, to_json
from models.clustering.reseed import reseed
from models.distances import VectorsError
from tests.models.synthetic import Topics

both = pytest.mark.parametrize("make", [IncrementalPca, RandomProjection])


def profiles(count: int, topics: int = 4, dimension: int = 48, seed: int = 0) -> np.ndarray:
    source = Topics(topics, dimension, seed=seed)
    return np.stack([source.profile(row % topics) for row in range(count)])


def fitted(make, dimensions: int = 8, vectors: np.ndarray | None = None):
    projection = make(dimensions)
    vectors = profiles(80) if vectors is None else vectors
    projection.fit(vectors, np.ones(len(vectors)))
    return projection


@both
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_row_is_projected_to_the_same_bits_whatever_rows_share_the_call(make, rows: int):
    projection, vectors = fitted(make), profiles(300, seed=2)
    together = projection.apply(vectors[:rows])
    assert together.shape == (rows, 8)
    alone = [projection.apply(vector[None])[0] for vector in vectors[:rows]]
    assert np.array_equal(together, np.stack(alone))


@both
def test_what_is_lifted_is_projected_back(make):
    projection = fitted(make)
    points = projection.apply(profiles(5))
    assert projection.apply(projection.lift(points)) == pytest.approx(points)


@both
def test_restored_it_goes_on_to_the_same_bits(make):
    stopped, restored = fitted(make), make(8)
    for vector in profiles(30, seed=1):
        stopped.learn(vector)
    restored.restore(from_json(to_json(stopped.snapshot())))
    for projection in (stopped, restored):
        for vector in profiles(150, seed=3):
            projection.learn(vector)
        projection.renew(profiles(50, seed=3), np.ones(50))
        sizes = [array.size for array in projection.snapshot().values() if np.ndim(array)]
        assert sum(sizes) <= (2 * 8 + 2 + 100) * 48 + 8
    assert to_json(stopped.snapshot()) == to_json(restored.snapshot())


@both
def test_vectors_of_another_length_are_refused(make):
    with pytest.raises(VectorsError, match="takes 48 numbers"):
        fitted(make).apply(np.ones((1, 3)))


@both
def test_a_state_of_another_projection_and_no_dimensions_are_refused(make):
    other = fitted(RandomProjection if make is IncrementalPca else IncrementalPca)
    with pytest.raises(ClustererError, match="not of"):
        make(8).restore(other.snapshot())
    with pytest.raises(ClustererError, match="dimensions is 0"):
        make(0)


# --- random ---------------------------------------------------------------------------------------


def test_random_directions_keep_distances_about_as_they_are():
    vectors = profiles(100, dimension=384)
    projected = fitted(lambda m: RandomProjection(m, seed=1), 64, vectors).apply(vectors)
    pairs = [(i, j) for i in range(100) for j in range(i)]
    ratio = [
        np.linalg.norm(projected[i] - projected[j]) / np.linalg.norm(vectors[i] - vectors[j])
        for i, j in pairs
    ]
    assert np.mean(ratio) == pytest.approx(1, abs=0.05)
    assert np.std(ratio) < 0.15


# --- PCA ------------------------------------------------------------------------------------------


def captured(basis: np.ndarray, vectors: np.ndarray) -> float:
    centred = vectors - vectors.mean(axis=0)
    return float(np.square(centred @ basis.T).sum() / np.square(centred).sum())


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    batches=st.lists(st.integers(1, 12), min_size=1, max_size=5),
)
def test_learned_in_batches_it_is_the_decomposition_of_all_at_once(seed: int, batches: list[int]):
    """Exact as long as nothing is cut off: 6 directions for 6 dimensions."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(10 + sum(batches), 6)) * [5, 4, 3, 2, 1, 0.5] + 2
    projection = IncrementalPca(6, batch=1)
    projection.fit(vectors[:10], np.ones(10))
    start = 10
    for count in batches:
        projection._merge(vectors[start : start + count])
        start += count
    _, lengths, basis = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    assert projection._mean == pytest.approx(vectors.mean(axis=0))
    assert projection._lengths == pytest.approx(lengths)
    assert np.abs(np.sum(projection.learning * basis, axis=1)) == pytest.approx(np.ones(6))


def test_cut_to_few_directions_it_still_captures_nearly_as_much_as_all_at_once():
    vectors = profiles(600)
    projection = fitted(lambda m: IncrementalPca(m, batch=50), 6, vectors[:50])
    for vector in vectors[50:]:
        projection.learn(vector)
    _, _, best = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    assert captured(projection.learning, vectors) > 0.97 * captured(best[:6], vectors)


def test_the_basis_in_use_turns_only_when_it_misses_too_much():
    old, new = profiles(200, topics=2), profiles(400, topics=6, seed=9)
    projection = fitted(IncrementalPca, 4, old)
    before = projection.apply(new)
    for vector in profiles(100, topics=2):
        projection.learn(vector)
    assert not projection.renew(old, np.ones(200))
    assert np.array_equal(projection.apply(new), before)
    for vector in new:
        projection.learn(vector)
    assert np.array_equal(projection.apply(new), before)
    assert projection.renew(new, np.ones(400))
    assert not np.array_equal(projection.apply(new), before)
    assert not projection.renew(new, np.ones(400))


def test_identical_vectors_have_one_direction():
    projection = fitted(IncrementalPca, 4, np.ones((20, 5)))
    assert projection.apply(np.ones((2, 5))).tolist() == [[0.0], [0.0]]


# --- centres in the original space ----------------------------------------------------------------


def begin(clusterer: Projected, vectors: np.ndarray, count: int) -> None:
    """Start on the first hundred vectors, and learn the others."""
    centres, _ = reseed(vectors[:100], None, count, np.random.default_rng(0))
    clusterer.start(vectors[:100], np.ones(100), centres)
    for vector in vectors[100:]:
        clusterer.learn(vector)


@both
def test_centres_are_the_weighted_means_of_the_members_in_the_original_space(make):
    vectors, weights = profiles(200), 1.0 + np.arange(200) % 5
    clusterer = Projected(KMeans(), make(8), lambda: (vectors, weights))
    begin(clusterer, vectors, 4)
    labels = clusterer.labels(vectors)
    for row, centre in enumerate(clusterer.centres):
        own = [i for i in range(200) if labels[i] == row]
        mean = sum(weights[i] * vectors[i] for i in own) / sum(weights[i] for i in own)
        assert centre == pytest.approx(mean)


@both
def test_a_cluster_without_members_has_a_centre_that_is_projected_to_its_own(make):
    vectors = profiles(200)
    clusterer = Projected(KMeans(), make(8), lambda: (vectors[:1], np.ones(1)))
    begin(clusterer, vectors, 4)
    mine = clusterer.labels(vectors[:1])[0]
    projected = clusterer.projection.apply(clusterer.centres)
    for row in set(range(4)) - {mine}:
        assert projected[row] == pytest.approx(clusterer._inner.centres[row])


def test_when_the_basis_turns_the_clusterer_begins_anew_in_the_new_one():
    old, new = profiles(200, topics=2), profiles(400, topics=6, seed=9)
    clusterer = Projected(KMeans(), IncrementalPca(5), lambda: (new, np.ones(400)))
    begin(clusterer, np.vstack([old, new]), 6)
    centres = np.stack([new[topic::6].mean(axis=0) for topic in range(6)])
    clusterer.steer(new, np.ones(400), centres)
    labels = clusterer.labels(new)
    assert np.mean(labels == np.arange(400) % 6) > 0.98
    assert clusterer.centres[0] == pytest.approx(new[labels == 0].mean(axis=0))
