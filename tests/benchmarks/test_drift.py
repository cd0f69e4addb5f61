"""The benchmark of drift: streams that stay as they are, and streams that change at one place."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from benchmarks import drift
from benchmarks.drifting import detectors, report, streams
from benchmarks.flapping.texts import Posts
from benchmarks.markdown import render
from benchmarks.shared import RESULTS, write_page
from consumer.settings import Settings
from models.drift.check import TESTS
from tests.models.drift.test_statistics import texts

TOPICS = 4
SETTINGS = Settings(
    training={"segments": 3, "warmup_users": 30, "sample_users": 400},
    drift={"users": 60, "min_users": 40, "every": 40, "segment_users": 15},
)


@pytest.fixture(scope="module")
def posts() -> Posts:
    """Two hundred users of four topics with some posts each."""
    random = np.random.default_rng(0)
    users = np.sort(random.integers(200, size=900))
    users = np.unique(users, return_inverse=True)[1]
    topics = users % TOPICS
    vectors = np.concatenate([texts(1, topic, seed, 24) for seed, topic in enumerate(topics)])
    count = len(users)
    times = np.arange(count, dtype=np.int64) * 3_600_000_000
    names = [f"site{user % TOPICS}-{user}" for user in range(users.max() + 1)]
    return Posts(
        vectors.astype(np.float32), users, topics, times, np.ones(count), np.arange(count), names
    )


def topics_of(stream: streams.Stream, posts: Posts) -> np.ndarray:
    """Topic of each event, by the post that its vector is of."""
    known = {
        vector.tobytes(): topic for vector, topic in zip(posts.vectors, posts.topics, strict=True)
    }
    return np.array([known[vector.tobytes()] for vector in stream.vectors])


def test_shuffling_leaves_every_post_with_its_author(posts):
    stream = streams.shuffled(posts, 3)
    assert (stream.users % TOPICS == topics_of(stream, posts)).all()
    assert Counter(stream.users.tolist()) == Counter(posts.users.tolist())
    assert stream.names[5] == "3-" + posts.names[5]
    assert stream.shift is None


def test_made_up_users_keep_to_a_topic_where_nothing_changes(posts):
    stream = streams.made_up(posts, streams.none(TOPICS), 1500, None, 1)
    topics = topics_of(stream, posts)
    assert len(stream.users) == 1500
    assert all(len(set(topics[stream.users == user])) == 1 for user in set(stream.users.tolist()))
    assert np.bincount(topics) / 1500 == pytest.approx(np.full(TOPICS, 0.25), abs=0.08)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (streams.new_topic(4, 2), (1 / 3, 1 / 3, 0, 1 / 3), (0.3, 0.3, 0.1, 0.3)),
        (streams.new_topic(4, 2, 0.5), (1 / 3, 1 / 3, 0, 1 / 3), (1 / 6, 1 / 6, 0.5, 1 / 6)),
        (streams.swapped(4, 0, 1), (0.1, 0, 0.45, 0.45), (0, 0.1, 0.45, 0.45)),
        (streams.moved(4, 3, 0), (0.25, 0.25, 0.25, 0.25), (0.35, 0.25, 0.25, 0.15)),
    ],
)
def test_a_change_moves_the_share_of_the_events_that_it_says(posts, change, before, after):
    assert change.before == pytest.approx(before)
    assert change.after == pytest.approx(after)
    stream = streams.made_up(posts, change, 4000, 2000, 5)
    topics = topics_of(stream, posts)
    for part, shares in ((topics[:2000], before), (topics[2000:], after)):
        found = np.bincount(part, minlength=TOPICS) / 2000
        assert found == pytest.approx(np.array(shares), abs=0.08)
        assert (found[np.array(shares) == 0] == 0).all()


def test_the_same_seed_makes_the_same_stream(posts):
    first, second, other = (
        streams.made_up(posts, streams.none(TOPICS), 500, None, seed) for seed in (1, 1, 2)
    )
    assert first.vectors.tobytes() == second.vectors.tobytes()
    assert first.vectors.tobytes() != other.vectors.tobytes()


def test_a_stream_that_changes_is_followed_until_that_is_found(posts):
    change = streams.new_topic(TOPICS, 3, 0.5)
    stream = streams.made_up(posts, change, 3000, 1500, 7)
    found, _ = drift.follow(stream, SETTINGS, until_found=True)
    assert found[-1].report.alarms
    assert found[-1].event > 1500
    assert not any(look.report.alarms for look in found[:-1] if look.event <= 1500)
    assert max(look.ratio("mmd") for look in found) > 1.0


def test_every_figure_is_told_and_drawn(posts, tmp_path, monkeypatch):
    names = [name for name in detectors.DETECTORS if "KSWIN" not in name]
    monkeypatch.setattr(detectors, "DETECTORS", {name: detectors.DETECTORS[name] for name in names})
    monkeypatch.setattr(drift, "PICTURED", {"users": 60, "min_users": 40, "every": 40})
    figures = drift.measure(posts, 1, 1, 1500, SETTINGS) | {"machine": {"cpu": "a CPU"}}
    figures = json.loads(json.dumps(figures))
    assert [row["runs"] for row in figures["stationary"].values()] == [1, 1]
    assert [row["runs"] for row in figures["shifts"].values()] == [TOPICS] * 4
    page = tmp_path / "page.md"
    page.write_text(
        "\n".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->" for name in report.PARTS),
        encoding="utf-8",
    )
    write_page(page, {name: part(figures) for name, part in report.PARTS.items()})
    text = page.read_text(encoding="utf-8")
    assert "on a CPU" in text
    assert all(f"`{test}`" in text for test in TESTS)
    assert names[0] in text
    report.draw(figures, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_the_results_say():
    figures = json.loads((RESULTS / "drift.json").read_text(encoding="utf-8"))
    text = drift.PAGE.read_text(encoding="utf-8")
    for name, part in report.PARTS.items():
        assert render(text, name, part(figures)) == text
    default = Settings().drift
    assert figures["settings"] == {name: getattr(default, name) for name in figures["settings"]}


def test_no_stationary_stream_had_an_alarm_and_every_change_of_a_tenth_was_found():
    figures = json.loads((RESULTS / "drift.json").read_text(encoding="utf-8"))
    for row in figures["stationary"].values():
        assert (row["runs"], row["alarms"]) == (20, 0)
    for row in figures["shifts"].values():
        assert row["found"] == row["runs"] > 0
        assert row["false_before"] == 0
