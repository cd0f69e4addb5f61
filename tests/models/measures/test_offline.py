from __future__ import annotations

import numpy as np
import pytest

from models.measures.agreement import agreement
from models.measures.offline import BATCH, offline_kmeans, one_pass_kmeans
from tests.models.synthetic import Topics


@pytest.fixture(scope="module")
def users():
    topics = Topics(4, dimension=64)
    truth = [n % 4 for n in range(2 * BATCH + 10)]
    return np.stack([topics.profile(topic) for topic in truth]), truth


@pytest.mark.parametrize("cluster", [offline_kmeans, one_pass_kmeans])
def test_topics_far_apart_are_found(cluster, users):
    vectors, truth = users
    found = cluster(vectors, 4)
    assert found.centres.shape == (4, 64)
    assert agreement(truth, found.rows.tolist()).v_measure > 0.7


@pytest.mark.parametrize("cluster", [offline_kmeans, one_pass_kmeans])
def test_the_same_seed_gives_the_same_rows(cluster, users):
    assert np.array_equal(cluster(users[0], 4, 7).rows, cluster(users[0], 4, 7).rows)


@pytest.mark.parametrize("cluster", [offline_kmeans, one_pass_kmeans])
def test_rows_are_those_of_the_nearest_centres(cluster, users):
    vectors, _ = users
    found = cluster(vectors, 3)
    distances = np.linalg.norm(vectors[:, None] - found.centres, axis=2)
    assert np.array_equal(found.rows, distances.argmin(axis=1))


@pytest.mark.parametrize("cluster", [offline_kmeans, one_pass_kmeans])
def test_fewer_different_profiles_than_clusters_are_no_failure(cluster):
    found = cluster(np.repeat(np.eye(5)[:2], 10, axis=0), 4)
    assert len(set(found.rows.tolist())) == 2
