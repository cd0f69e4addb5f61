"""The trainer's clusterer with every algorithm and projection in the place of k-means."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from models.clustering.clusterers.state import from_json
from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ALGORITHMS, ClusteringPolicy
from models.clustering.reseed import serving
from models.distances import nearest
from models.segments.model import SegmentModel
from schemas.segment_model import SegmentModelRecord
from tests.models.clustering.test_learner import Stream, mixed
from tests.models.synthetic import EMBEDDING, changed

POLICY = ClusteringPolicy(
    segments=4,
    warmup_users=40,
    reseed_every=200,
    sample_users=400,
    projection_dimensions=32,
    seed=3,
)
policies = pytest.mark.parametrize(
    "policy",
    [
        changed(POLICY, algorithm=algorithm, projection=projection)
        for algorithm in ALGORITHMS
        for projection in ("none", "pca", "random")
        if (algorithm, projection) != ("kmeans", "none")
    ],
    ids=lambda policy: f"{policy.algorithm}-{policy.projection}",
)


def learned(policy: ClusteringPolicy, events) -> StreamingClusterer:
    clusterer = StreamingClusterer(policy, EMBEDDING)
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


@pytest.mark.parametrize("projection", ["pca", "random"])
def test_topics_that_come_one_after_the_other_all_get_a_segment(projection: str):
    stream = Stream()
    policy = changed(POLICY, projection=projection)
    clusterer = StreamingClusterer(policy, EMBEDDING)
    for topic in range(4):
        for event in stream.events(topic, users=30, count=150):
            clusterer.learn(*event)
        clusterer.settle()
    assert stream.v_measure(clusterer.centres) > 0.99


every_policy = pytest.mark.parametrize(
    "policy",
    [
        changed(POLICY, algorithm=algorithm, projection=projection, segments=segments)
        for algorithm in ALGORITHMS
        for projection in ("none", "pca", "random")
        for segments in (4, "auto")
    ],
    ids=lambda policy: f"{policy.algorithm}-{policy.projection}-{policy.segments or 'auto'}",
)


def published(clusterer: StreamingClusterer, previous: SegmentModel | None = None) -> SegmentModel:
    """Take a version, by way of its JSON, as the topic has it."""
    record = clusterer.snapshot(previous).to_record().model_dump_json()
    return SegmentModel.from_record(SegmentModelRecord.model_validate_json(record))


@every_policy
def test_restored_from_a_version_it_goes_on_as_if_it_had_never_stopped(policy: ClusteringPolicy):
    stream = Stream(topics=5)
    stopped = learned(policy, mixed(stream, count=50))
    stopped.settle()
    # Some profiles into the way to the next look.
    for event in stream.events(0, users=25, count=7):
        stopped.learn(*event)
    model = published(stopped)
    restored = StreamingClusterer(policy, EMBEDDING)
    restored.restore(model, deepcopy(stopped.sample))
    versions = []
    later = list(stream.events(4, users=25, count=197))
    for each in (stopped, restored):
        assert np.array_equal(each.centres, model.centres)
        for event in later:
            each.learn(*event)
        versions.append(published(each, model))
    first, second = (version.to_record() for version in versions)
    assert first == second
    assert first.learner is not None
    # A look came on the way.
    assert from_json(first.learner)["since_look"] < len(later)


@policies
def test_without_its_state_it_begins_with_the_published_centres_and_the_sampled_users(
    policy: ClusteringPolicy,
):
    stream = Stream()
    clusterer = learned(policy, mixed(stream, count=60))
    clusterer.settle()
    model = clusterer.snapshot(None)
    another = clusterer.snapshot(None).learner.replace(policy.algorithm, "another")
    later = list(stream.events(0, users=25, count=1))
    ends = []
    for learner in (None, another, "no JSON"):
        restored = StreamingClusterer(policy, EMBEDDING)
        restored.restore(replace(model, learner=learner), deepcopy(clusterer.sample))
        assert np.array_equal(restored.centres, model.centres)
        assert not restored.due(model)
        for event in later:
            restored.learn(*event)
        restored.settle()
        ends.append(restored.centres)
    # What it does from there depends on what was read back only.
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[0], ends[2])


def test_a_state_that_no_record_can_hold_is_left_out(monkeypatch):
    clusterer = learned(changed(POLICY, algorithm="dbstream"), mixed(Stream(), count=20))
    monkeypatch.setattr("models.clustering.learner.LARGEST_STATE", 1_000)
    model = clusterer.snapshot(None)
    assert '"clusterer": null' in model.learner
    restored = StreamingClusterer(clusterer.policy, EMBEDDING)
    restored.restore(model, clusterer.sample)
    assert np.array_equal(restored.centres, model.centres)


def test_a_state_whose_parts_are_missing_is_not_gone_on_from():
    clusterer = learned(changed(POLICY, algorithm="dbstream"), mixed(Stream(), count=20))
    model = clusterer.snapshot(None)
    restored = StreamingClusterer(clusterer.policy, EMBEDDING)
    restored.restore(
        replace(model, learner=model.learner.replace("shared_at", "shared_by")), clusterer.sample
    )
    assert np.array_equal(restored.centres, model.centres)


@pytest.mark.parametrize("projection", ["none", "pca", "random"])
def test_the_number_is_found_whatever_the_centres_are_learned_in(projection: str):
    stream = Stream(topics=5)
    policy = changed(POLICY, segments="auto", projection=projection)
    clusterer = StreamingClusterer(policy, EMBEDDING)
    for topic in range(5):
        for event in stream.events(topic, users=30, count=180):
            clusterer.learn(*event)
        clusterer.settle()
    assert len(clusterer.centres) == 5
    assert stream.v_measure(clusterer.centres) > 0.99


@pytest.mark.parametrize("segments", [4, "auto"])
def test_an_algorithm_with_its_own_number_finds_no_more_than_allowed(segments: int | str):
    policy = changed(POLICY, segments=segments, algorithm="dbstream", max_segments=3)
    clusterer = learned(policy, mixed(Stream()))
    clusterer.settle()
    assert len(clusterer.centres) == 3
    assert [policy.allows(count) for count in (0, 1, 3, 4)] == [False, True, True, False]


@policies
def test_a_version_without_sampled_users_can_be_restored(policy: ClusteringPolicy):
    clusterer = learned(policy, mixed(Stream(), count=40, users=12))
    clusterer.settle()
    model = clusterer.snapshot(None)
    restored = StreamingClusterer(policy, EMBEDDING)
    restored.restore(model, type(clusterer.sample)(policy.sample_users))
    restored.settle()
    assert np.array_equal(restored.centres, model.centres)


def test_centres_that_serve_hardly_anybody_are_left_out():
    vectors = np.vstack([np.zeros((200, 2)), np.ones((199, 2)), [[5.0, 5.0]]])
    centres = np.array([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0], [9.0, 9.0], [0.0, 0.0]])
    assert serving(vectors, centres, 9, 2).tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert serving(vectors, centres, 9, 1).tolist() == [[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]]
    assert serving(vectors[:1], centres[1:2], 9, 2).tolist() == [[1.0, 1.0]]
    # Of too many those that serve most are kept, in their order.
    assert serving(vectors, centres[[2, 1, 0]], 2, 1).tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_an_algorithm_with_its_own_number_publishes_only_clusters_that_serve_users():
    stream = Stream()
    clusterer = learned(changed(POLICY, algorithm="dbstream"), mixed(stream))
    rows, _ = nearest(clusterer.sample.vectors(), clusterer.centres)
    assert len(set(rows.tolist())) == len(clusterer.centres)
