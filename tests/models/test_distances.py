from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from river import cluster

from models.distances import (
    ROWS_AT_ONCE,
    VectorsError,
    distances_to,
    distances_to_all,
    nearest,
    nearest_and_all,
    separations,
)
from tests.models.synthetic import Topics, unit

# Whole numbers have exact squares: ties are ties in every way of adding up.
WHOLE = st.integers(-3, 3).map(float)


def naive_nearest(vectors, centres):
    """Row by row, centre by centre."""
    index, distance = [], []
    for vector in vectors:
        each = [np.sqrt(np.square(vector - centre).sum()) for centre in centres]
        index.append(each.index(min(each)))
        distance.append(min(each))
    return index, distance


def river_kmeans(centres):
    kmeans = cluster.KMeans(n_clusters=len(centres), seed=1)
    kmeans.centers = {i: dict(enumerate(centre.tolist())) for i, centre in enumerate(centres)}
    return kmeans


def predicted(kmeans, vectors):
    return [kmeans.predict_one(dict(enumerate(vector.tolist()))) for vector in vectors]


def test_nearest_equals_rivers_predict_one_on_every_row():
    topics = Topics(8)
    vectors = np.vstack([topics.events(i % 8, 20) for i in range(16)])
    centres = np.stack([topics.events(i, 50).mean(axis=0) for i in range(8)])
    index, _ = nearest(vectors, centres)
    assert index.tolist() == predicted(river_kmeans(centres), vectors)


@given(arrays(np.float64, (6, 3), elements=WHOLE), arrays(np.float64, (4, 3), elements=WHOLE))
def test_of_equally_near_centres_the_first_wins_as_in_river(vectors, centres):
    index, _ = nearest(vectors, centres)
    assert index.tolist() == predicted(river_kmeans(centres), vectors)


@given(
    arrays(np.float64, (5, 7), elements=st.floats(-1e3, 1e3)),
    arrays(np.float64, (3, 7), elements=st.floats(-1e3, 1e3)),
)
def test_nearest_equals_the_naive_reference_to_the_last_bit(vectors, centres):
    index, distance = nearest(vectors, centres)
    assert (index.tolist(), distance.tolist()) == naive_nearest(vectors, centres)


@pytest.mark.parametrize("dimension", [1, 2, 7, 8, 9, 128, 129, 384, 1000])
def test_a_row_gives_the_same_bits_whatever_rows_share_the_call(dimension):
    random = np.random.default_rng(dimension)
    vectors = unit(random.normal(size=(257, dimension)))
    # Centres that differ in the last bits make a hard case for the shortlist.
    centre = unit(random.normal(size=dimension))
    centres = np.vstack(
        [centre, centre * (1 + 2e-16), centre + 1e-13, random.normal(size=(6, dimension))]
    )
    index, distance = nearest(vectors, centres)
    for size in (1, 2, 3, 64):
        for start in range(0, len(vectors), size):
            part = slice(start, start + size)
            alone = nearest(vectors[part], centres)
            assert np.array_equal(alone[0], index[part])
            assert alone[1].tobytes() == distance[part].tobytes()
    assert distances_to(vectors, centres[index]).tobytes() == distance.tobytes()


def test_more_rows_than_one_chunk_are_all_answered():
    random = np.random.default_rng(3)
    vectors = random.normal(size=(ROWS_AT_ONCE + 3, 4))
    centres = random.normal(size=(3, 4))
    index, distance = nearest(vectors, centres)
    assert (index.tolist(), distance.tolist()) == naive_nearest(vectors, centres)


def test_memory_layout_does_not_change_the_bits():
    random = np.random.default_rng(4)
    vectors, centres = random.normal(size=(40, 33)), random.normal(size=(5, 33))
    _, distance = nearest(vectors, centres)
    _, columns_first = nearest(np.asfortranarray(vectors), np.asfortranarray(centres))
    assert distance.tobytes() == columns_first.tobytes()


def test_the_second_nearest_is_found_by_excluding_the_nearest():
    random = np.random.default_rng(5)
    vectors, centres = random.normal(size=(50, 6)), random.normal(size=(4, 6))
    first, _ = nearest(vectors, centres)
    second, distance = nearest(vectors, centres, exclude=first)
    every = np.linalg.norm(vectors[:, None] - centres[None], axis=2)
    assert second.tolist() == np.argsort(every, axis=1)[:, 1].tolist()
    assert distance == pytest.approx(np.sort(every, axis=1)[:, 1])


def test_no_rows_give_no_rows():
    index, distance = nearest(np.empty((0, 3)), np.ones((2, 3)))
    assert index.shape == distance.shape == (0,)


@pytest.mark.parametrize(
    ("vectors", "centres", "said"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "same length"),
        (np.ones(3), np.ones((2, 3)), "same length"),
        (np.ones((2, 3)), np.ones((0, 3)), "too few"),
        (np.full((1, 2), np.nan), np.ones((2, 2)), "finite"),
        (np.ones((1, 2)), np.full((2, 2), np.inf), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(vectors, centres, said):
    with pytest.raises(VectorsError, match=said):
        nearest(vectors, centres)


def test_excluding_the_only_centre_is_refused():
    with pytest.raises(VectorsError, match="too few"):
        nearest(np.ones((1, 2)), np.ones((1, 2)), exclude=np.array([0]))


@given(arrays(np.float64, (5, 3), elements=WHOLE))
def test_separation_is_the_distance_to_the_nearest_other_centre(centres):
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(separations(centres), apart.min(axis=1), rtol=1e-12)
    with pytest.raises(VectorsError, match="too few"):
        separations(centres[:1])


NUMBERS = st.one_of(WHOLE, st.floats(-1e3, 1e3))


@given(arrays(np.float64, (9, 3), elements=NUMBERS), arrays(np.float64, (4, 3), elements=NUMBERS))
def test_nearest_with_the_distances_from_all_is_both_to_the_last_bit(vectors, centres):
    index, distance, every = nearest_and_all(vectors, centres)
    expected = nearest(vectors, centres)
    assert index.tolist() == expected[0].tolist()
    assert distance.tobytes() == expected[1].tobytes()
    assert every.tobytes() == distances_to_all(vectors, centres).tobytes()


def test_what_cannot_be_compared_has_no_distances_from_all():
    with pytest.raises(VectorsError, match="too few"):
        nearest_and_all(np.ones((2, 3)), np.ones((0, 3)))


def test_distances_to_all_centres_are_those_of_each_pair():
    random = np.random.default_rng(11)
    vectors, centres = random.normal(size=(ROWS_AT_ONCE + 3, 9)), random.normal(size=(5, 9))
    found = distances_to_all(vectors, centres)
    for column, centre in enumerate(centres):
        assert np.array_equal(found[:, column], distances_to(vectors, centre))
    assert np.array_equal(found.min(axis=1), nearest(vectors, centres)[1])
