"""The trainer's clusterer with every algorithm and projection in the place of k-means."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from models.clusterers import ALGORITHMS
from models.clustering import ClusteringError, ClusteringPolicy, StreamingKMeans
from models.distances import nearest
from models.reseed import serving
from tests.models.synthetic import EMBEDDING
from tests.models.test_clustering import Stream, mixed

POLICY = ClusteringPolicy(
    segments=4,
    warm_up_users=40,
    reseed_every=200,
    sample_users=400,
    projection_dimensions=32,
    seed=3,
)
policies = pytest.mark.parametrize(
    "policy",
    [
        replace(POLICY, algorithm=algorithm, projection=projection)
        for algorithm in ALGORITHMS
        for projection in ("none", "pca", "random")
        if (algorithm, projection) != ("kmeans", "none")
    ],
    ids=lambda policy: f"{policy.algorithm}-{policy.projection}",
)


def learned(policy: ClusteringPolicy, events) -> StreamingKMeans:
    clusterer = StreamingKMeans(policy, EMBEDDING)
    for event in events:
        clusterer.learn(*event)
    return clusterer


@policies
def test_segments_are_found_and_published_in_the_space_of_the_profiles(policy: ClusteringPolicy):
    stream = Stream()
    # What is found by density needs profiles of more than two or three events each.
    clusterer = learned(policy, mixed(stream, count=150 if policy.own_number else 60))
    clusterer.settle()
    model = clusterer.snapshot(None)
    assert model.centres.shape[1] == 384
    assert np.array_equal(model.centres, clusterer.centres[np.argsort(model.ids)])
    assert (model.sizes > 0).all()
    if policy.own_number:
        assert len(model.ids) > 1
    else:
        assert len(model.ids) == 4
        assert stream.v_measure(model.centres) > 0.99


@pytest.mark.parametrize("projection", ["none", "pca", "random"])
@pytest.mark.parametrize("algorithm", ["streamkmeans", "clustream"])
def test_topics_that_come_one_after_the_other_all_get_a_segment(algorithm: str, projection: str):
    stream = Stream()
    policy = replace(POLICY, algorithm=algorithm, projection=projection)
    clusterer = StreamingKMeans(policy, EMBEDDING)
    for topic in range(4):
        for event in stream.events(topic, users=30, count=150):
            clusterer.learn(*event)
        clusterer.settle()
    assert stream.v_measure(clusterer.centres) > 0.99


@policies
def test_restored_it_begins_with_the_published_centres_and_the_sampled_users(
    policy: ClusteringPolicy,
):
    stream = Stream()
    clusterer = learned(policy, mixed(stream, count=60))
    clusterer.settle()
    model = clusterer.snapshot(None)
    restored, again = StreamingKMeans(policy, EMBEDDING), StreamingKMeans(policy, EMBEDDING)
    later = list(stream.events(0, users=25, count=1))
    for each in (restored, again):
        each.restore(model, deepcopy(clusterer.sample))
        assert np.array_equal(each.centres, model.centres)
        assert not each.due(model)
        for event in later:
            each.learn(*event)
        each.settle()
    # What it does from there depends on what was read back only.
    assert np.array_equal(restored.centres, again.centres)


@policies
def test_a_version_without_sampled_users_can_be_restored(policy: ClusteringPolicy):
    clusterer = learned(policy, mixed(Stream(), count=40, users=12))
    clusterer.settle()
    model = clusterer.snapshot(None)
    restored = StreamingKMeans(policy, EMBEDDING)
    restored.restore(model, type(clusterer.sample)(policy.sample_users))
    restored.settle()
    assert np.array_equal(restored.centres, model.centres)


def test_centres_that_serve_hardly_anybody_are_left_out():
    vectors = np.vstack([np.zeros((200, 2)), np.ones((199, 2)), [[5.0, 5.0]]])
    centres = np.array([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0], [9.0, 9.0], [0.0, 0.0]])
    assert serving(vectors, centres).tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert serving(vectors, centres, 0.0025).tolist() == [[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]]
    assert serving(vectors[:1], centres[1:2]).tolist() == [[1.0, 1.0]]


def test_an_algorithm_with_its_own_number_publishes_only_clusters_that_serve_users():
    stream = Stream()
    clusterer = learned(replace(POLICY, algorithm="dbstream"), mixed(stream))
    rows, _ = nearest(clusterer.sample.vectors(), clusterer.centres)
    assert len(set(rows.tolist())) == len(clusterer.centres)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": "odac"}, "algorithm is 'odac'"),
        ({"projection": "umap"}, "projection is 'umap'"),
        ({"projection_dimensions": 0}, "projection_dimensions is 0"),
    ],
)
def test_names_that_nobody_has_are_refused(changes, said):
    with pytest.raises(ClusteringError, match=said):
        replace(POLICY, **changes)
