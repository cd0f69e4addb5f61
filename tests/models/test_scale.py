"""Nothing compares a distance with a number: if all shrink, nothing else changes.

By powers of two nothing is rounded, so what comes out is the same to the bit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ClusteringPolicy
from models.drift.check import COSINE, MMD, PSI, DriftCheck, Texts
from models.drift.policy import DriftPolicy
from models.segments.identity import match
from models.segments.model import SegmentModel
from tests.models.synthetic import EMBEDDING, Topics

SCALES = (0.5, 2.0**-6)


def versions(policy: dict[str, Any], scale: float) -> list[SegmentModel]:
    """What a trainer publishes of a stream in which a topic appears late and another one ends."""
    topics = Topics(4, dimension=24, closeness=0.7)
    clusterer = StreamingClusterer(
        ClusteringPolicy(warmup_users=40, reseed_every=60, sample_users=150, **policy), EMBEDDING
    )
    found: list[SegmentModel] = []
    draw = np.random.default_rng(3)
    for step in range(480):
        topic = int(draw.integers(3)) + (step > 200)
        texts = 1 + int(draw.integers(8))
        vector = topics.profile(topic, texts) * scale
        clusterer.learn(f"u{topic}-{step % 90}", vector, {}, float(texts))
        if step % 20 == 0 and clusterer.due(found[-1] if found else None):
            found.append(clusterer.snapshot(found[-1] if found else None))
    return found


@pytest.mark.parametrize(
    "policy",
    [
        {"segments": 3},
        {"segments": "auto", "max_segments": 12},
        {"segments": 3, "algorithm": "dbstream"},
    ],
    ids=["kmeans", "auto", "dbstream"],
)
@pytest.mark.parametrize("scale", SCALES)
def test_segments_and_their_ids_are_the_same_if_all_distances_shrink(policy, scale):
    whole, small = versions(policy, 1.0), versions(policy, scale)
    assert len(whole) > 1
    assert len(small) == len(whole)
    for one, other in zip(whole, small, strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.sizes, other.sizes)
        assert np.array_equal(one.centres * scale, other.centres)
        assert one.history == other.history


@pytest.mark.parametrize("scale", SCALES)
def test_a_single_segment_goes_on_by_the_place_alone_whatever_the_scale(scale):
    (first, *_) = versions({"segments": 1}, 1.0)
    small = replace(first, centres=first.centres * scale, radii=first.radii * scale)
    for share in (0.1, 0.49, 0.51, 2.0):
        away = np.zeros_like(first.centres)
        away[0, 0] = share * first.radii[0]
        one = match(first.centres + away, EMBEDDING, first)
        other = match((first.centres + away) * scale, EMBEDDING, small)
        assert one.ids.tolist() == other.ids.tolist() == [0 if share < 0.5 else 1]


@pytest.mark.parametrize("scale", SCALES)
def test_drift_is_found_in_the_same_looks_if_all_distances_shrink(scale):
    topics = Topics(3, dimension=24, closeness=0.7)
    draw = np.random.default_rng(0)
    model = replace(versions({"segments": 3}, 1.0)[-1], centres=0.6 * topics.directions)
    small = replace(model, centres=model.centres * scale)

    def texts(shares: tuple[float, ...]) -> Texts:
        drawn = draw.choice(3, 200, p=shares)
        return Texts(draw.random(200), np.concatenate([topics.events(each, 1) for each in drawn]))

    def shrunk(given: Texts) -> Texts:
        return Texts(given.users, given.vectors * scale)

    reference = texts((0.6, 0.4, 0.0))
    policy = DriftPolicy(segment_users=40)
    whole_check, small_check = (
        DriftCheck(each, policy, seed=0) for each in (reference, shrunk(reference))
    )
    for shares, alarms in (((0.6, 0.4, 0.0), set()), ((0.3, 0.3, 0.4), {MMD, COSINE, PSI})):
        current = texts(shares)
        one, other = whole_check.look(current, model), small_check.look(shrunk(current), small)
        assert set(one.alarms) >= alarms
        assert bool(one.alarms) == bool(alarms)
        assert other.alarms == one.alarms
        assert other.drifted_segments == one.drifted_segments
        assert other.detections == one.detections
