"""The benchmark of the segments' quality: users, profiles, and vectors that are kept."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import embed_quality
from benchmarks.embedding import report, sample
from benchmarks.embedding.rounds import Contender
from models.embedding.manifest import Manifest

TEXTS = ["great coffee .", "the phone broke again !", "a"]


def test_users_with_enough_events_get_the_label_of_most_of_them(events):
    users = embed_quality.read_users(events, 5)
    assert len(users.labels) == 12
    assert users.labels["user-3"] == "label-1"
    assert len(users.lines) == 60
    assert len(embed_quality.read_users(events, 5, most_users=4).labels) == 4
    assert not embed_quality.read_users(events, 6).labels


def test_profiles_of_vectors_that_are_looked_up_tell_the_labels_apart(events):
    users = embed_quality.read_users(events, 5)
    collector = embed_quality.Collector(3)
    embed_quality.profiles(users, collector)
    label = {}
    for line in users.lines:
        event = json.loads(line)
        label[event["text"]] = int(event["label"][-1])
    vectors = np.eye(3, dtype=np.float32)[[label[text] for text in collector.texts]]
    names, rows = embed_quality.profiles(users, embed_quality.Lookup(collector.texts, vectors))
    truth = [users.labels[name] for name in names]
    assert embed_quality.v_measures(rows, truth, 2, range(2)) == [1.0, 1.0]


def test_vectors_are_embedded_once_and_then_taken_from_the_cache(model, tmp_path, monkeypatch):
    texts = tmp_path / sample.TEXTS_FILE
    texts.write_text(json.dumps(TEXTS))
    own = Contender("own", "", "benchmarks.embedding.engines:Ours", {"folder": str(model)}, "fp32")
    first = embed_quality.embed(own, texts, tmp_path, 1)
    monkeypatch.setattr(embed_quality, "Child", None)
    np.testing.assert_array_equal(embed_quality.embed(own, texts, tmp_path, 1), first)
    assert first.shape == (len(TEXTS), Manifest.read(model).dimensions)


def test_quality_is_told_with_how_far_precisions_are_apart():
    each = {"label": "A way", "v_measure": 0.91234, "least": 0.9, "most": 0.93}
    figures = {"users": 3, "events": 40, "segments": 6, "seeds": 10, "apart": 0.004, "goal": 0.01}
    written = report.quality_text({**figures, "precisions": {"int8": each}})
    assert "at most 0.0040 apart; the goal is 0.01" in written
    assert "| int8 | A way | 0.9123 | 0.9000 to 0.9300 |" in written
