"""One contract for all clusterers, and what each of River's defects was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from river import cluster

from models.clustering.clusterers.base import (
    Clusterer,
    ClustererError,
    as_features,
)
from models.clustering.clusterers.dbstream import DBSTREAM
from models.clustering.clusterers.kmeans import KMeans
from models.clustering.clusterers.make import make_clusterer
from models.clustering.clusterers.projection import Projected
from models.clustering.clusterers.state import from_json, to_json
from models.clustering.policy import ALGORITHMS, ClusteringPolicy
from models.clustering.reseed import reseed
from models.distances import VectorsError
from models.measures.agreement import agreement
from models.river_internals import SoundDBSTREAM
from tests.models.synthetic import Topics

CASES = [(name, "none") for name in ALGORITHMS] + [
    ("kmeans", "pca"),
    ("kmeans", "random"),
    ("dbstream", "pca"),
]
every_case = pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda members=None, name=name, projection=projection: made(name, projection, members),
            id=name if projection == "none" else f"{name}-{projection}",
        )
        for name, projection in CASES
    ],
)

Make = Callable[..., Clusterer]


def made(name: str, projection: str, members=None) -> Clusterer:
    members = stream(40) if members is None else members
    policy = ClusteringPolicy(
        segments=4, seed=7, algorithm=name, projection=projection, projection_dimensions=8
    )
    return make_clusterer(policy, lambda: (members, np.ones(len(members))))


def stream(count: int, dimension: int = 24, seed: int = 0, topics: int = 4) -> np.ndarray:
    """Profiles of several topics, taking turns."""
    source = Topics(topics, dimension, seed=seed)
    return np.stack([source.profile(row % topics) for row in range(count)])


def begun(clusterer: Clusterer, vectors: np.ndarray, segments: int = 4) -> Clusterer:
    """Started on good centres of some vectors."""
    centres, _ = reseed(vectors, None, segments, np.random.default_rng(7))
    clusterer.start(vectors, np.ones(len(vectors)), centres)
    return clusterer


def learned(clusterer: Clusterer, vectors: np.ndarray, first: int = 100) -> Clusterer:
    """Started on the first vectors, and on from there one by one."""
    if not clusterer.dimensions:
        begun(clusterer, vectors[:first])
        vectors = vectors[first:]
    for vector in vectors:
        clusterer.learn(vector)
    return clusterer


def rivers_answer(clusterer: Clusterer, vector: np.ndarray) -> int:
    """What River's own `predict_one` says."""
    if isinstance(clusterer, Projected):
        return rivers_answer(clusterer._inner, clusterer.projection.apply(vector[None])[0])
    return clusterer._river.predict_one(as_features(vector))


def state(clusterer: Clusterer) -> str:
    return to_json(clusterer.snapshot())


def arrays(entry: object) -> Iterator[np.ndarray]:
    """Every array in a state."""
    if isinstance(entry, np.ndarray):
        yield entry
    if isinstance(entry, dict):
        for value in entry.values():
            yield from arrays(value)


# --- the contract ---------------------------------------------------------------------------------


@every_case
def test_it_does_not_collapse_on_unit_vectors_in_384_dimensions(make: Make):
    vectors = stream(320, 384)
    clusterer = learned(make(vectors), vectors)
    truth = (np.arange(320) % 4).tolist()
    found = agreement(truth, clusterer.labels(vectors).tolist())
    assert found.purity > 0.99
    if not ALGORITHMS[clusterer.name]:
        assert found.v_measure > 0.99
        assert len(clusterer.centres) == 4
    assert clusterer.centres.shape[1] == 384


@every_case
def test_predicting_changes_nothing(make: Make):
    vectors = stream(260)
    asked, silent = begun(make(), vectors[:100]), begun(make(), vectors[:100])
    for row, vector in enumerate(vectors[100:]):
        asked.learn(vector)
        silent.learn(vector)
        if row % 20 == 0:
            before = state(asked)
            asked.labels(vectors)
            _ = asked.centres
            assert state(asked) == before
    assert state(asked) == state(silent)


@every_case
def test_it_shares_nothing_with_what_it_was_given_or_gave(make: Make):
    vectors = stream(220)
    clusterer, twin = begun(make(), vectors[:100]), learned(make(), vectors)
    for vector in vectors[100:]:
        mine = vector.copy()
        clusterer.learn(mine)
        mine[:] = np.nan
    clusterer.centres[:] = np.nan
    for array in arrays(clusterer.snapshot()):
        array[:] = 0
    assert state(clusterer) == state(twin)
    given_to_start = [vectors[:50].copy(), np.ones(50), vectors[:4].copy()]
    clusterer.start(*given_to_start)
    before = state(clusterer)
    for array in given_to_start:
        array[:] = 7
    assert state(clusterer) == before


def test_the_same_stream_gives_the_same_bits_whatever_the_hash_seed():
    program = (
        "from tests.models.clustering.test_clusterers import *\n"
        "for name, projection in CASES:\n"
        "    clusterer = learned(made(name, projection), stream(140))\n"
        "    print(name, state(clusterer), clusterer.labels(stream(50, seed=1)).tolist())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(printed.pop().splitlines()) == len(CASES)


@every_case
def test_labels_of_many_are_those_of_each_alone_and_rivers_own(make: Make):
    clusterer = learned(make(), stream(250))
    # Other users too, some of them twice.
    centres = clusterer.centres
    vectors = np.vstack([stream(60), stream(30, seed=5), centres, stream(5)])
    together = clusterer.labels(vectors)
    assert together.dtype == np.int64
    assert together.tolist() == [int(clusterer.labels(row[None])[0]) for row in vectors]
    assert together.tolist() == [rivers_answer(clusterer, row) for row in vectors]
    assert together.max() < len(centres)


@every_case
@pytest.mark.parametrize("cut", [100, 101, 231])
def test_restored_from_json_it_goes_on_as_if_it_had_never_stopped(make: Make, cut: int):
    vectors = stream(330)
    stopped, restored = learned(make(), vectors[:cut]), make()
    restored.restore(from_json(state(stopped)))
    assert state(restored) == state(stopped)
    for clusterer in (stopped, restored):
        learned(clusterer, vectors[cut:])
    assert state(restored) == state(stopped)
    assert np.array_equal(restored.centres, stopped.centres)
    assert np.array_equal(restored.labels(vectors), stopped.labels(vectors))


def small(name: str) -> Clusterer:
    return KMeans() if name == "kmeans" else DBSTREAM(4, micro_clusters=15, cleanup=40, radius=1.3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_memory_is_bounded_on_a_stream_that_never_repeats(name: str):
    random = np.random.default_rng(0)
    clusterer = begun(small(name), random.normal(size=(30, 6)))
    sizes = []
    for scale in np.linspace(1, 50, 500):
        clusterer.learn(scale * random.normal(size=6))
        sizes.append(sum(array.size for array in arrays(clusterer.snapshot())))
    # Micro-clusters of 9 numbers, and 4 for each pair of them.
    assert max(sizes) <= 15 * 9 + 4 * 15 * 14
    assert max(sizes[400:]) <= max(sizes[:400])


@every_case
def test_before_it_is_started_it_has_nothing_and_learns_nothing(make: Make):
    clusterer = make()
    assert not clusterer.ready
    for ask in (lambda: clusterer.centres, lambda: clusterer.labels(stream(1))):
        with pytest.raises((ClustererError, VectorsError)):
            ask()
    with pytest.raises(VectorsError):
        clusterer.learn(stream(1)[0])


@every_case
def test_vectors_that_do_not_fit_are_refused_and_nothing_is_learned(make: Make):
    clusterer = learned(make(), stream(120))
    before = state(clusterer)
    for bad in (np.ones(3), np.full(24, np.nan)):
        with pytest.raises(VectorsError):
            clusterer.learn(bad)
        with pytest.raises(VectorsError):
            clusterer.labels(bad[None])
    assert state(clusterer) == before


@pytest.mark.parametrize("projection", ["none", "random", "pca"])
def test_better_centres_steer_k_means(projection: str):
    vectors, moved = stream(200), stream(4, seed=3)
    clusterer = learned(made("kmeans", projection, vectors), vectors)
    clusterer.steer(vectors, np.ones(200), moved)
    if isinstance(clusterer, Projected):
        projected = clusterer.projection.apply(moved)
        assert np.array_equal(clusterer._inner.centres, projected)
    else:
        assert np.array_equal(clusterer.centres, moved)


def test_dbstream_begins_anew_only_when_its_radius_no_longer_fits():
    vectors = stream(200)
    centres, _ = reseed(vectors, None, 4, np.random.default_rng(0))
    clusterer, anew = learned(DBSTREAM(4), vectors), DBSTREAM(4)
    before = state(clusterer)
    clusterer.steer(vectors, np.ones(200), centres)
    assert state(clusterer) == before
    clusterer.steer(vectors / 2, np.ones(200), centres / 2)
    anew.start(vectors / 2, np.ones(200), centres / 2)
    assert state(clusterer) == state(anew)


@every_case
def test_steering_begins_what_has_not_begun(make: Make):
    vectors = stream(60)
    steered, started = make(), make()
    steered.steer(vectors, np.ones(60), vectors[:4])
    started.start(vectors, np.ones(60), vectors[:4])
    assert steered.ready
    assert state(steered) == state(started)


@every_case
def test_identical_vectors_are_one_cluster_and_no_error(make: Make):
    clusterer = learned(make(np.ones((9, 4))), np.ones((150, 4)), first=10)
    assert len(set(clusterer.labels(np.ones((5, 4))).tolist())) == 1


@pytest.mark.parametrize(("one", "other"), [("kmeans", "dbstream"), ("dbstream", "kmeans")])
def test_a_state_of_another_algorithm_is_refused(one: str, other: str):
    with pytest.raises(ClustererError, match=f"of {other}, not of {one}"):
        made(one, "none").restore(learned(made(other, "none"), stream(110)).snapshot())


@pytest.mark.parametrize(
    ("algorithm", "changes", "said"),
    [
        (DBSTREAM, {"segments": 0}, "segments is 0"),
        (KMeans, {"step": 0.0}, "step is 0"),
        (KMeans, {"step": 1.5}, "step is 1.5"),
        (DBSTREAM, {"radius": 0.0}, "radius is 0"),
        (DBSTREAM, {"cleanup": 0}, "cleanup is 0"),
        (DBSTREAM, {"micro_clusters": 0}, "micro_clusters is 0"),
        (DBSTREAM, {"fading": -1.0}, "fading is -1"),
        (DBSTREAM, {"least_weight": float("nan")}, "least_weight is nan"),
    ],
)
def test_settings_out_of_bounds_are_refused(algorithm, changes, said):
    with pytest.raises(ClustererError, match=said):
        algorithm(**({"segments": 4} if algorithm is DBSTREAM else {}) | changes)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": {"array": "", "dtype": "O", "shape": [0]}}', '{"a": {"array": "!"}}']
)
def test_what_is_no_state_is_refused(text: str):
    with pytest.raises(ClustererError, match="no state"):
        from_json(text)


# --- River's defects ------------------------------------------------------------------------------


def test_rivers_k_means_alone_collapses_where_a_warm_start_does_not():
    vectors = stream(200, 384)
    alone = cluster.KMeans(n_clusters=4, seed=0)
    for vector in vectors:
        alone.learn_one(as_features(vector))
    assert {alone.predict_one(as_features(vector)) for vector in vectors} == {
        alone.predict_one(as_features(vectors[0]))
    }


def test_dbstream_joins_along_the_shared_density_both_ways():
    river = SoundDBSTREAM(clustering_threshold=1.0, minimum_weight=0.5)
    river.most = 10
    for place in (0.0, 3.0, 1.5):
        river.learn_one(as_features(np.array([place])))
    # The middle one has the highest key, 2: only from it to the others and back is there a way.
    river.s, river.s_t = {0: {2: 1.0}, 1: {2: 1.0}}, {0: {2: 2}, 1: {2: 2}}
    for micro in river.micro_clusters.values():
        micro.weight = 1.0
    river.clustering_is_up_to_date = False
    assert [river.predict_one(as_features(np.array([x]))) for x in (0.0, 1.5, 3.0)] == [0, 0, 0]
    assert len(river.centers) == 1


def test_dbstream_keeps_no_density_of_the_dead():
    river = SoundDBSTREAM(clustering_threshold=1.0, fading_factor=0.5, cleanup_interval=2)
    river.most = 10
    river.learn_one(as_features(np.array([0.0])))
    river.s, river.s_t = {5: {7: 3.0}, 0: {5: 2.0}}, {5: {7: 0}, 0: {5: 0}}
    river.learn_one(as_features(np.array([0.1])))
    assert river.s == river.s_t == {}
