"""`make bench-languages`: its sets of texts, its figures and its tables."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter

import numpy as np
import pytest

from benchmarks import languages, languages_picture
from benchmarks.shared import RESULTS, read, write

GROUPS = ("group 0", "group 1")


@pytest.fixture
def figures():
    def row(dimensions):
        return {
            "users": 40,
            "refused": 0,
            "v_measure": 0.75,
            "adjusted_rand": 0.5,
            "labels": 2,
            "offline_v_measure": 0.8,
            "offline_adjusted_rand": 0.6,
            "macro_f1": None,
            "dimensions": dimensions,
            "cost": {"texts": 9, "texts_per_second": 1234.5, "cpu_ms": 1.5, "memory_mb": 600.4},
        }

    models = dict(zip(languages.MODELS, map(row, (384, 384, 64, 448)), strict=True))
    said = {"encoder_of_both": "multilingual", "texts": 900, "characters": 31.6}
    events = {name: {**own, "events": 30} for name, own in models.items()}
    for own in events.values():
        del own["users"]
    return {
        "sets": {
            "chinese": {"title": "in Chinese", **said, "models": models},
            "cofacts": {"title": "events", **said, "models": events},
        }
    }


def test_the_tables_say_the_figures(figures):
    text = languages.quality(figures)
    assert "| in Chinese: 40 users, 2 labels, 900 texts of 32 characters | V | ARI | V, off" in text
    assert "| `both` (multilingual) | 0.750 | 0.500 | 0.800 | 0.600 |  | 0 |" in text
    assert "| events: 30 events, 2 labels, 900 texts of 32 characters | V, offline |" in text
    assert "| `words` | in Chinese | 1.50 | 667 | 600 MB | 64 | 256 |" in text
    assert "| `words` | 0.750 | 0.750 | 667 to 667 | 600 MB |" in languages.summary(figures)


def test_the_picture_takes_what_texts_alone_have_from_k_means(figures, tmp_path):
    row = figures["sets"]["chinese"]["models"]["words"]
    assert languages_picture.v_measure(row) == 0.75
    assert languages_picture.v_measure({**row, "v_measure": None}) == 0.8
    assert languages_picture.texts_a_second(row) == pytest.approx(666.7, abs=0.1)
    languages_picture.draw(figures, languages.MODELS, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("page", "written"),
    [(languages.EVALUATION, languages.quality), (languages.OPERATIONS, languages.summary)],
    ids=["evaluation", "operations"],
)
def test_the_pages_hold_the_results(page, written):
    figures = read(RESULTS / "languages.json")
    assert f"<!-- languages: begin -->\n{written(figures)}\n<!-- languages: end -->" in (
        page.read_text(encoding="utf-8")
    )
    assert list(figures["sets"]) == list(languages.SETS)


def a_line(user, number, text, label):
    event = {"user_id": user, "event_id": f"{user}-{number}", "text": text, "label": label}
    return json.dumps({**event, "occurred_at": f"2024-05-{number + 1:02}T10:00:00Z"})


def test_near_groups_write_about_the_same_in_other_shares():
    data = languages.near_groups(40)
    assert data.lines == languages.near_groups(40).lines != languages.near_groups(40, 1).lines
    events = [json.loads(line) for line in data.lines]
    assert [event["occurred_at"] for event in events] == sorted(e["occurred_at"] for e in events)
    assert Counter(event["user_id"] for event in events) == dict.fromkeys(data.users, 20)
    assert set(data.users.values()) == {"group 0", "group 1"}
    said = Counter(
        (data.users[event["user_id"]], "咖啡" in event["text"] or "豆" in event["text"])
        for event in events
    )
    shares = [said[group, True] / (said[group, True] + said[group, False]) for group in GROUPS]
    assert 0.02 < shares[1] < shares[0] / 1.5


def test_of_users_with_enough_events_the_latest_are_taken(tmp_path):
    path = tmp_path / "events.jsonl"
    counts = {"a": 12, "b": 9, "c": 10}
    lines = [
        a_line(user, number, f"{user} says {number}", "ai" if number else None)
        for user, count in counts.items()
        for number in range(count + 1)
    ]
    path.write_text("\n".join(lines))
    data = languages.stackexchange(path)
    assert data.users == {"a": "ai", "c": "ai"}
    taken = [json.loads(line) for line in data.lines]
    assert [event["occurred_at"] for event in taken] == sorted(e["occurred_at"] for e in taken)
    assert sorted(event["event_id"] for event in taken) == sorted(
        [f"a-{number}" for number in range(3, 13)] + [f"c-{number}" for number in range(1, 11)]
    )


def test_different_texts_of_each_label_that_names_a_topic_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(languages, "TEXTS_OF_A_LABEL", 4)
    path = tmp_path / "events.jsonl"
    labels = {"health": 9, "rare": 1, languages.NO_TOPICS[0]: 9}
    lines = [
        a_line("u", number, text, label)
        for label, count in labels.items()
        for number in range(count)
        for text in (f"{label} text {number}", "12", f"<b>{label}</b> text {number}", None)
    ]
    path.write_text("\n".join(lines))
    data = languages.cofacts(path)
    assert (len(data.lines), data.events, data.users) == (4, ["health"] * 4, {})
    assert len({json.loads(line)["text"].replace("<b>", "") for line in data.lines}) == 4


def test_a_run_measures_what_is_asked_for_and_keeps_the_rest(tmp_path, monkeypatch, figures):
    monkeypatch.setattr(languages, "MODELS", ("words",))
    output = tmp_path / "languages.json"
    write(output, figures)
    options = Namespace(output=output, only=["chinese"], users=40)
    measured = languages.measure(options, tmp_path)
    assert list(measured["sets"]) == ["chinese", "cofacts"]
    assert measured["sets"]["cofacts"] == figures["sets"]["cofacts"]
    [row] = measured["sets"]["chinese"]["models"].values()
    assert (row["users"], row["labels"], row["dimensions"]) == (40, 6, 64)
    assert row["v_measure"] > 0.6
    assert row["macro_f1"] > 0.8
    assert row["cost"]["texts"] == measured["sets"]["chinese"]["texts"]
    assert row["cost"]["memory_mb"] > 30


def test_events_without_a_vector_count_and_refused_ones_do_not():
    texts = [f"{topic} text {number}" for topic in ("beer", "shoes") for number in range(10)]
    lines = [a_line("u", number, text, None).encode() for number, text in enumerate(texts)]
    labels = [text.split()[0] for text in texts]
    data = languages.Labelled("", "default", lines, {}, labels)
    vectors = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)[1:]
    vectors[0] = np.nan
    found = languages.judge_events(data, texts[1:], vectors)
    assert (found["events"], found["refused"], found["labels"]) == (19, 1, 2)
    assert 0.6 < found["v_measure"] <= 1
    assert found["macro_f1"] > 0.9


def test_a_vector_of_both_is_that_of_either_with_its_weight(tmp_path, monkeypatch):
    cost = languages.Cost(2, 1.0, 1.0, 1.0)
    monkeypatch.setattr(languages, "embed", lambda *_: (np.empty((0, 3)), cost))
    known = {
        "default": np.array([[1, 0], [0, 1]], np.float32),
        "words": np.array([[1], [np.nan]], np.float32),
    }
    data = languages.Labelled("", "default", [], {}, [])
    found, _ = languages.vectors_of("both", data, ["a", "b"], known, tmp_path)
    half = 0.5**0.5
    np.testing.assert_allclose(found, [[half, 0, half], [0, 1, 0]], rtol=1e-6)
