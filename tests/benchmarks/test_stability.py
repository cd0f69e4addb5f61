"""The benchmark of flapping: simulated users, and the stream as the product sees it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import stability
from benchmarks.flapping import builds, report, simulation, stream
from benchmarks.flapping.simulation import Scenario
from benchmarks.flapping.texts import MadeUpTexts, Noise, RealTexts, measure_noise, read_posts
from benchmarks.interests.plan import Shape
from benchmarks.markdown import render
from benchmarks.pipeline.checkouts import ROOT
from benchmarks.shared import RESULTS, read, write, write_page
from consumer.offline.files import read_records
from consumer.offline.replay import Replay
from consumer.settings import Settings
from models.segments.policy import AssignmentPolicy
from schemas.changes import SegmentChange
from tests.consumer.stages.stage_data import NOW, TOPICS, event
from tests.stubs import HashingEmbedder

# Means and noise have the length 1 together, so scaling changes little: 0.3 + 70 * 0.01.
CLEAR = Noise(dots=[[0.3, 0, 0], [0, 0.3, 0], [0, 0, 0.3]], along=0.01, dimensions=70)
FEW = Scenario(users=60)
SETTINGS = Settings(
    training={"segments": 2, "warmup_users": 20, "sample_users": 60, "reseed_every": 50},
    batch={"max_records": 32},
)


class Rounded(HashingEmbedder):
    """Gives the vectors that come back from the file of half-precision ones."""

    def embed(self, texts):
        vectors = super().embed(texts).astype(np.float16).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty users of two interests with texts in other words each; some change theirs."""
    draw = np.random.default_rng(5)
    lines = []
    for n in range(600):
        user = int(draw.integers(40))
        interest = (user + (n > 300 and user % 5 == 0)) % 2
        words = [*draw.choice(TOPICS[interest].split(), 2, replace=False), f"word{n % 9}"]
        fields = {"event_id": str(n), "label": str(user % 2)}
        lines.append(json.dumps(event(f"user-{user}", n % 150, " ".join(words), **fields)))
    lines.insert(50, json.dumps(event("silent", 1, None, label="0")))
    path = tmp_path_factory.mktemp("posts") / "events.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def posts(data):
    return read_posts(data, data.with_suffix(".npz"), lambda: HashingEmbedder(16))


@pytest.fixture(scope="module")
def course():
    return simulation.simulate(FEW, MadeUpTexts(CLEAR))


def test_vectors_are_made_once_and_then_read(data, posts):
    again = read_posts(data, data.with_suffix(".npz"), pytest.fail)
    np.testing.assert_array_equal(again.vectors, posts.vectors)
    assert len(posts.users) == 600
    np.testing.assert_allclose(np.linalg.norm(posts.vectors, axis=1), 1, atol=1e-6)


def test_real_texts_are_drawn_from_their_topic(posts):
    texts = RealTexts(posts)
    drawn = texts.draw(np.array([0, 1, 1]), np.random.default_rng(0))
    for topic, vector in zip([0, 1, 1], drawn, strict=True):
        assert (posts.vectors[posts.topics == topic] == vector).all(axis=1).any()


def test_made_up_texts_have_the_noise_that_they_are_told():
    topics = np.repeat(np.arange(3), 4000)
    vectors = MadeUpTexts(CLEAR).draw(topics, np.random.default_rng(0)).astype(float)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    line = vectors[topics == 1].mean(axis=0) - vectors[topics == 2].mean(axis=0)
    along = (vectors[topics == 0] @ (line / np.linalg.norm(line))).var()
    assert along == pytest.approx(0.01, rel=0.1)
    assert np.square(vectors[topics == 0].mean(axis=0)).sum() == pytest.approx(0.3, rel=0.1)


def test_measured_noise_is_that_of_the_texts(posts):
    noise = measure_noise(posts)
    assert np.array(noise.dots).shape == (2, 2)
    assert 0 < noise.along < 1
    assert 1 <= noise.dimensions <= 64


def test_users_who_are_always_put_in_the_nearest_segment_end_in_the_right_one(course):
    outcome = simulation.follow(course, stability.FREE)
    assert outcome.changes >= 1
    assert 1 <= outcome.lag < FEW.after
    assert outcome.wrong < 0.1
    assert outcome.waiting == 0


def test_margin_and_dwell_mean_fewer_changes_and_more_lag(course):
    free, held = (
        simulation.follow(course, policy)
        for policy in (
            stability.FREE,
            AssignmentPolicy(margin_share=0.1, thin_margin_share=0, dwell_events=6),
        )
    )
    assert held.changes < free.changes
    assert held.lag > free.lag


def test_who_must_wait_for_events_is_in_no_segment_until_then(course):
    outcome = simulation.follow(course, AssignmentPolicy(min_events=3))
    assert outcome.waiting == pytest.approx(2 * FEW.users / course.changes_at.sum())


def test_the_same_seed_simulates_the_same_users():
    one, other, third = (
        simulation.simulate(replace(FEW, seed=seed), MadeUpTexts(CLEAR)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert not np.array_equal(one.vectors, third.vectors)


def test_topics_that_share_a_segment_are_refused():
    same = Noise(dots=[[0.3, 0.3], [0.3, 0.3]], along=0.01, dimensions=40)
    with pytest.raises(ValueError, match="two topics share a segment"):
        simulation.simulate(FEW, MadeUpTexts(same))


@pytest.mark.parametrize("policy", [{}, {"margin_share": 0.1, "dwell_events": 1, "min_events": 2}])
def test_the_stream_is_followed_as_a_replay_follows_it(data, posts, policy):
    settings = SETTINGS.model_copy(
        update={"assignment": SETTINGS.assignment.model_copy(update=policy)}
    )
    changes = []
    replay = Replay(settings, Rounded(16), now=NOW)
    topic = settings.topics.events
    replay.run(
        read_records(data, topic, settings.events.intake()),
        lambda output: changes.append(output) if output.topic == settings.topics.changes else None,
    )
    seen = [SegmentChange.model_validate_json(output.value) for output in changes]
    counts = Counter((change.status.value, change.reason.value) for change in seen)
    course = stream.run(posts, settings)
    outcome = stream.follow(course, settings.assignment)
    n = len(posts.names)
    assert round(outcome.own_moves * n) == counts["switched", "behaviour"] > 0
    assert round(outcome.model_moves * n) == counts["switched", "model_update"]
    assert outcome.entered == 1
    assert (outcome.covered == 1) == (settings.assignment.min_events == 1)
    assert course.steps[-1].model.centres.tobytes() == replay.segmentation.model.centres.tobytes()


def test_a_bin_holds_the_decisions_between_its_edges():
    sure, right = np.array([0.55, 0.55, 1.0, 0.2]), np.array([True, False, True, False])
    bins = stability.reliability(sure, right)
    assert [(each["from"], each["decisions"], each["right"]) for each in bins] == [
        (0.0, 1, 0.0),
        (0.5, 2, 0.5),
        (0.99, 1, 1.0),
    ]


def test_the_front_is_what_nothing_beats():
    rows = [{"lag": lag, "changes": changes} for lag, changes in [(2, 2), (1, 3), (2, 3), (3, 1)]]
    assert report.front(rows) == [rows[1], rows[0], rows[3]]


def test_every_figure_is_told_and_drawn(posts, tmp_path, monkeypatch):
    monkeypatch.setattr(stability, "HALF_LIVES", (180,))
    monkeypatch.setattr(stability, "MANY", (2,))
    monkeypatch.setattr(stability, "COSINES", (0.81,))
    monkeypatch.setattr(stability, "Shape", lambda: Shape(interests=2, users=60))
    monkeypatch.setattr(stability, "Settings", lambda: SETTINGS)
    default = SETTINGS.assignment
    monkeypatch.setattr(report, "SHOWN", ((0, 0, 0, 1, 0),))
    monkeypatch.setattr(stability, "policies", lambda: [stability.FREE, default])
    monkeypatch.setattr(
        stability,
        "scenarios",
        lambda *_: {
            name: (f"about {name}", FEW, MadeUpTexts(CLEAR)) for name in ("real", "steady")
        },
    )
    monkeypatch.setattr(stability, "RealTexts", lambda _: MadeUpTexts(CLEAR))
    figures = stability.measure(posts, 60)
    page = tmp_path / "page.md"
    page.write_text(
        "\n".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->" for name in report.PARTS),
        encoding="utf-8",
    )
    figures = json.loads(json.dumps(figures))
    write_page(page, {name: part(figures) for name, part in report.PARTS.items()})
    text = page.read_text(encoding="utf-8")
    assert f"**{default.margin_share:g}**" in text
    assert "about steady" in text
    report.draw(figures, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert render(text, "stability-front", report.front_text(figures)) == text


def test_the_page_says_what_the_results_say():
    figures = json.loads((RESULTS / "stability.json").read_text(encoding="utf-8"))
    text = stability.PAGE.read_text(encoding="utf-8")
    for name, part in report.PARTS.items():
        assert render(text, name, part(figures)) == text
    assert figures["default"] == stability.named(Settings().assignment)


def test_figures_are_written_with_a_row_a_line(tmp_path):
    figures = {"default": {"margin": 0.05}, "rows": [{"a": 1, "b": None}, {"a": 2}], "dots": [[1]]}
    path = tmp_path / "figures.json"
    write(path, figures)
    assert read(path) == figures
    assert '\n  {"a": 1, "b": null},\n  {"a": 2}\n ],\n' in path.read_text("utf-8")
    kept = RESULTS / "stability.json"
    write(path, read(kept))
    assert path.read_text("utf-8") == kept.read_text("utf-8")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """One stream as it comes and as a trickle, in this build for both."""
    few = builds.Stream("2 interests", "auto", *builds.made_up(Shape(interests=2, users=300)))
    slow = builds.trickling(few, count=15)
    folder = tmp_path_factory.mktemp("streams")
    return few, slow, builds.measure(ROOT, [few, slow], folder)


def test_both_builds_replay_the_same_streams(replayed, tmp_path):
    few, slow, figures = replayed
    usual, trickle = figures["rows"]
    assert usual["former"] == usual["this"]
    assert usual["this"]["events"] == len(few.events)
    assert usual["this"]["users"] == 300
    assert usual["this"]["versions"] > 0
    assert usual["this"]["v"] > 0.5
    assert trickle["events"] == 15 == len(slow.events) - slow.lead
    assert trickle["this"]["events"] == len(slow.events)
    assert 0 <= trickle["this"]["looks"] <= 15
    text = builds.text(json.loads(json.dumps(figures)))
    assert "| 2 interests, a trickle | auto |" in text
    builds.draw(figures, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_in_a_trickle_events_are_four_seconds_apart(replayed):
    _, slow, _ = replayed
    times = [datetime.fromisoformat(event["occurred_at"]) for event in slow.events[slow.lead :]]
    assert {(after - before).total_seconds() for before, after in pairwise(times)} == {4.0}
    assert slow.events[slow.lead - 1]["occurred_at"] < slow.events[slow.lead]["occurred_at"]


def test_what_is_left_of_switches_is_a_ratio_of_those_a_user():
    def told(switches: int) -> dict:
        return {"switches": {"user": 9, "model": switches}, "users": 50}

    assert builds.ratio({"former": told(20), "this": told(5)}) == 0.25
    assert builds.ratio({"former": told(0), "this": told(5)}) is None


def test_the_page_says_what_both_builds_did():
    page = stability.PAGE.read_text(encoding="utf-8")
    figures = read(RESULTS / stability.BUILDS)
    assert render(page, "stability-builds", builds.text(figures)) == page
