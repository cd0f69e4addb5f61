"""The benchmark of the clusterers: the trainer's input, the runs and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import clusterers
from benchmarks.clustering.profiles import Profiles, read_profiles
from benchmarks.clustering.runs import Run, alone, run_alone, run_trainer
from benchmarks.markdown import render
from benchmarks.shared import RESULTS, read
from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ClusteringPolicy
from tests.models.synthetic import Topics


@pytest.fixture
def profiles() -> Profiles:
    source = Topics(3, 24)
    count = 240
    return Profiles(
        users=[f"user-{row % 120}" for row in range(count)],
        vectors=np.stack([source.profile(row % 3) for row in range(count)]),
        weights=np.ones(count),
        labels={f"user-{user}": f"topic-{user % 3}" for user in range(120)},
        final=np.arange(120, count),
    )


def test_the_trainers_input_is_made_from_events_and_kept_vectors(events, tmp_path):
    stored = tmp_path / "vectors.npz"
    labels = [int(json.loads(line)["label"][-1]) for line in events.read_bytes().splitlines()]
    vectors = np.eye(3, dtype=np.float16)[labels]
    np.savez(stored, row=np.arange(len(labels)), vectors=vectors)
    profiles = read_profiles(events, stored, 5, pytest.fail)
    assert len(profiles.final) == 12
    assert {profiles.users[row] for row in profiles.final} == set(profiles.labels)
    for row in profiles.final:
        label = profiles.labels[profiles.users[row]]
        assert profiles.vectors[row].argmax() == int(label[-1])
    assert len(read_profiles(events, stored, 6, pytest.fail).final) == 0


@pytest.mark.parametrize(("algorithm", "projection"), [("kmeans", "none"), ("dbstream", "pca")])
def test_a_run_foresees_each_profile_and_ends_with_segments(profiles, algorithm, projection):
    policy = ClusteringPolicy(
        segments=3,
        algorithm=algorithm,
        projection=projection,
        projection_dimensions=4,
        warmup_users=100,
    )
    runs = [
        run_alone(alone(policy, profiles), profiles, policy),
        run_trainer(StreamingClusterer(policy, "0" * 64), profiles),
    ]
    for run in runs:
        # It is asked before it learns: nothing is known before the warm-up of 100 users ends.
        assert run.foreseen[:100] == [None] * 100
        assert len(run.foreseen) == 240
        assert None not in run.foreseen[200:]
        assert profiles.agreement(profiles.final.tolist(), run.segments).purity > 0.99
        assert run.number >= 3
        assert run.seconds > 0


def test_what_was_never_foreseen_counts_as_nothing(profiles):
    run = Run(0.1, [None] * 240, [0] * 120, 1)
    summary = clusterers.summary(profiles, [run])
    assert (summary["v"], summary["prequential_v"], summary["segments"]) == (0, 0, [1])


def test_a_rows_figures_are_on_the_page():
    own = {
        "v": 0.987,
        "v_least": 0.9,
        "ari": 0.5,
        "prequential_v": 0.25,
        "prequential_ari": 0.1,
        "microseconds": 1234.5,
        "segments": [6, 8, 6],
    }
    row = {"algorithm": "kmeans", "projection": "pca", "bytes": 2_500_000, "state_bytes": 40_000}
    figures = {
        "profiles": 4000,
        "users": 2000,
        "final_users": 300,
        "least_events": 10,
        "seeds": 3,
        "segments": 6,
        "dimensions": 32,
        "file": "x.jsonl.gz",
        "machine": {"cpu": "a CPU"},
        "offline": {"v": 0.99, "ari": 1.0},
        "rows": [{**row, "alone": own, "trainer": own}],
    }
    written = clusterers.tables(figures)
    line = "| kmeans | pca | 0.99 | 0.90 | 0.50 | 0.25 | 0.10 | 1,234 | 6 to 8 | 2.5 MB | 40 kB |"
    assert written.count(line) == 2
    assert "V = 0.99, ARI = 1.00" in written


def test_the_page_in_the_repository_says_what_the_results_say():
    text = clusterers.PAGE.read_text(encoding="utf-8")
    figures = read(RESULTS / "clusterers.json")
    assert render(text, "clusterers", clusterers.tables(figures)) == text
    assert "<!-- clusterers: begin -->" in text
