from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from models.measures import internal as module
from models.measures.internal import internal_measures, simplified_silhouette


def clustering(seed: int, users: int = 40, segments: int = 4):
    """Users around centres, some of them with another centre than the nearest."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(segments, 6))
    rows = random.integers(segments, size=users)
    return centres[rows] + 0.4 * random.normal(size=(users, 6)), rows, centres


def naive(vectors, rows, centres):
    silhouettes, own_distances = [], []
    for vector, row in zip(vectors, rows, strict=True):
        distances = [float(np.sqrt(((vector - centre) ** 2).sum())) for centre in centres]
        own = distances.pop(row)
        other = min(distances)
        silhouettes.append((other - own) / max(own, other))
        own_distances.append(own)
    apart = [
        min(
            float(np.linalg.norm(centres[a] - centres[b]))
            for b in range(len(centres))
            if b != a and b in rows
        )
        for a in range(len(centres))
        if a in rows
    ]
    return np.mean(silhouettes), np.mean(own_distances), np.mean(apart)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 50), st.integers(2, 5))
def test_own_measures_are_those_of_a_naive_loop_and_the_others_scikit_learns(seed, users, segments):
    vectors, rows, centres = clustering(seed, users, segments)
    outcome = internal_measures(vectors, rows, centres)
    used = len(set(rows.tolist()))
    assert outcome.segments == used
    if used < 2:
        return
    silhouette, cohesion, separation = naive(vectors, rows, centres)
    assert outcome.simplified_silhouette == pytest.approx(silhouette)
    assert outcome.cohesion == pytest.approx(cohesion)
    assert outcome.separation == pytest.approx(separation)
    assert outcome.silhouette == pytest.approx(metrics.silhouette_score(vectors, rows))
    assert outcome.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(vectors, rows))
    assert outcome.calinski_harabasz == pytest.approx(
        metrics.calinski_harabasz_score(vectors, rows)
    )


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_silhouettes_lie_between_minus_one_and_one(seed):
    vectors, rows, centres = clustering(seed)
    outcome = internal_measures(vectors, rows, centres)
    assert -1 <= outcome.silhouette <= 1
    assert -1 <= outcome.simplified_silhouette <= 1


def test_farther_apart_is_better():
    vectors, rows, centres = clustering(3)
    near = internal_measures(vectors, rows, centres)
    shift = 5 * centres
    far = internal_measures(vectors + shift[rows], rows, centres + shift)
    assert far.silhouette > near.silhouette
    assert far.simplified_silhouette > near.simplified_silhouette
    assert far.separation > near.separation
    assert far.davies_bouldin < near.davies_bouldin
    assert far.cohesion == pytest.approx(near.cohesion)


def test_one_segment_has_cohesion_only():
    outcome = internal_measures(np.eye(3), np.zeros(3, np.int64), np.zeros((1, 3)))
    assert (outcome.segments, outcome.cohesion) == (1, 1.0)
    assert outcome.silhouette is outcome.simplified_silhouette is outcome.separation is None
    assert outcome.davies_bouldin is outcome.calinski_harabasz is None


def test_as_many_segments_as_users_have_no_silhouette():
    outcome = internal_measures(np.eye(3), np.arange(3), np.eye(3))
    assert (outcome.cohesion, outcome.silhouette) == (0.0, None)
    assert outcome.simplified_silhouette == 1.0


def test_nobody_has_no_measures():
    assert internal_measures(np.empty((0, 3)), np.empty(0, np.int64), np.eye(3)) is None
    assert simplified_silhouette(np.empty((0, 3)), np.empty(0, np.int64), np.eye(3)) is None


def test_a_user_in_the_middle_of_two_centres_in_one_place_counts_nothing():
    centres = np.zeros((2, 3))
    assert simplified_silhouette(np.zeros((1, 3)), np.zeros(1, np.int64), centres) == 0.0


def test_the_silhouette_of_many_users_is_that_of_a_sample(monkeypatch):
    vectors, rows, centres = clustering(1, users=400)
    whole = internal_measures(vectors, rows, centres).silhouette
    monkeypatch.setattr(module, "SILHOUETTE_USERS", 200)
    part = internal_measures(vectors, rows, centres)
    assert part.silhouette != whole
    assert part.silhouette == pytest.approx(whole, abs=0.1)
    assert part == internal_measures(vectors, rows, centres)
