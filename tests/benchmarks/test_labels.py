"""The benchmark of labels: the stream of profiles, the runs and the page."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from benchmarks import labels
from benchmarks.labelling import cost
from benchmarks.markdown import render
from benchmarks.pipeline.checkouts import ROOT
from benchmarks.shared import RESULTS, read
from models.labels.policy import LabelPolicy


@pytest.fixture
def stream() -> labels.Stream:
    draw = np.random.default_rng(3)
    count, users = 360, 60
    of_user = np.arange(users) % 3
    who = np.concatenate([np.flatnonzero(of_user == label) for label in range(3)])
    rows = np.concatenate([draw.choice(who[20 * k : 20 * k + 20], count // 3) for k in range(3)])
    vectors = draw.normal(0, 0.05, (count, 24)) + np.eye(24)[of_user[rows]]
    seen = dict.fromkeys(range(users), 0)
    events = []
    for user in rows.tolist():
        seen[user] += 1
        events.append(seen[user])
    return labels.Stream(
        users=rows,
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        events=np.array(events),
        labels=of_user[rows],
        names=["a", "b", "c"],
        held_out=np.arange(users) % 5 == 0,
    )


def test_profiles_are_made_from_events_and_kept_vectors(events, tmp_path):
    stored = tmp_path / "vectors.npz"
    lines = events.read_bytes().splitlines()
    numbers = [int(json.loads(line)["label"][-1]) for line in lines]
    np.savez(stored, row=np.arange(len(lines)), vectors=np.eye(3, dtype=np.float16)[numbers])
    stream = labels.read_stream(events, stored, pytest.fail)
    assert len(stream.users) == len(lines)
    np.testing.assert_allclose(np.linalg.norm(stream.vectors, axis=1), 1, rtol=1e-6)
    assert len(stream.final) == len(stream.held_out)
    assert stream.events.max() > 1


def test_each_candidate_is_run_and_measured(stream):
    wanted = ("logistic", "logistic, RandomUnderSampler", "logistic, 1 rehearsed")
    made = labels.candidates(stream.names)
    found = {name: labels.followed(stream, made[name]()) for name in wanted}
    assert found["logistic, 1 rehearsed"]["final_unseen"] > 0.9
    for each in found.values():
        assert each["bytes"] > 500
        assert each["learn_microseconds"] > 0


def test_hysteresis_is_weighed_along_the_stream(stream, monkeypatch):
    monkeypatch.setattr(labels, "_BATCH", 40)
    monkeypatch.setattr(labels, "LabelPolicy", partial(LabelPolicy, publish_every=20))
    policies = [LabelPolicy(margin=0, dwell_events=0), LabelPolicy()]
    quick, steady = labels.flapping(stream, policies)
    assert quick["versions"] == steady["versions"] > 0
    assert steady["changes_a_user"] <= quick["changes_a_user"]
    assert steady["right"] > 0.8


def test_the_page_shows_what_was_measured():
    row = {
        "name": "logistic, 1 rehearsed", "progressive": 0.99, "progressive_unseen": 0.98,
        "final": 1.0, "final_unseen": 0.97, "final_unseen_all": 0.9,
        "predict_microseconds": 50.0, "learn_microseconds": 450.0, "bytes": 25_400,
    }  # fmt: skip
    figures = {
        "profiles": 1000, "users": 100, "labels": 6, "least_events": 5, "rows": [row],
        "default": "logistic, 1 rehearsed", "offline": {"majority": 0.1},
        "flapping": [{"margin": 0.2, "dwell_events": 3, "changes_a_user": 1.25, "right": 0.99,
                      "without": 0.01, "versions": 7}],
        "evaluated": {"classifier": "logistic", "groups": [
            {"least_events": 5, "users": 90, "rows": [
                {"name": "majority", "count": 90, "accuracy": 0.5, "macro_recall": 0.1,
                 "macro_precision": 0.1, "macro_f1": 0.125}]}]},
    }  # fmt: skip
    text = labels.tables(figures)
    assert (
        "| **logistic, 1 rehearsed** (default) | 0.990 | 0.980 | 1.000 | 0.970 | 0.900 | 450 |"
        in text
    )
    assert "| offline: majority |  |  |  | 0.100 |" in text
    assert "| 0.2 | 3 | 1.25 | 0.990 | 0.010 |" in text
    assert "7 versions of the label model" in text
    assert "| majority, users with ≥ 5 events | 90 | 0.500 | 0.100 | 0.100 | 0.125 |" in text


def test_the_product_evaluates_the_same_file(events, tmp_path):
    stored = tmp_path / "vectors.npz"
    lines = events.read_bytes().splitlines()
    numbers = [int(json.loads(line)["label"][-1]) for line in lines]
    np.savez(stored, row=np.arange(len(lines)), vectors=np.eye(3, dtype=np.float16)[numbers])
    figures, picture = labels.evaluated(events, stored, pytest.fail)
    assert [group["least_events"] for group in figures["groups"]] == [1, 5, 10]
    assert picture.startswith(b"\x89PNG")


def test_two_builds_learn_the_same_profiles_by_turns(monkeypatch):
    monkeypatch.setattr(cost, "LABELS", (3,))
    monkeypatch.setattr(cost, "EACH", 20)
    monkeypatch.setattr(cost, "ROUNDS", 2)
    figures = cost.measure(ROOT, ["logistic"])
    (row,) = figures["rows"]
    assert row["same_weights"]
    assert row["unseen_accuracy"] > 0.8
    assert min(row["learn"], row["learn_former"], row["predict"]) > 0
    assert "| logistic | 3 |" in cost.text(figures)


def test_the_page_says_what_learning_costs():
    page = labels.PAGE.read_text(encoding="utf-8")
    assert render(page, "labels-cost", cost.text(read(RESULTS / "labels-cost.json"))) == page
