"""`segmenter evaluate`: what is noted along the stream, the figures, the tables, the pictures."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.console import Console

from consumer.contract.errors import UsageError
from consumer.offline.evaluate import observe
from consumer.offline.evaluate import run as run_module
from consumer.offline.evaluate import supervised as supervised_module
from consumer.offline.evaluate.contents import MINI_BATCH, OFFLINE, PRODUCT, Evaluation, Group
from consumer.offline.evaluate.observe import Observer
from consumer.offline.evaluate.plots import (
    draw_confusion,
    draw_flapping,
    draw_stream,
    pictures,
)
from consumer.offline.evaluate.report import render
from consumer.offline.evaluate.run import evaluate_file
from consumer.offline.evaluate.supervised import (
    FINAL,
    FOREST,
    MAJORITY,
    PROGRESSIVE,
    SVM,
    UNSEEN,
    UNSEEN_FINAL,
    LabelGroup,
)
from consumer.offline.evaluate.tracks import STEADY_EVENTS, Track, label_of
from consumer.offline.replay import Replay, replay_file
from consumer.settings import Settings
from models.labels import offline
from models.measures.agreement import agreement
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, a_model, event, records

SETTINGS = Settings(
    training={"segments": 2, "warmup_users": 20, "sample_users": 60, "reseed_every": 50},
    batch={"max_records": 32},
)


def stream(users: int = 40, events: int = 400) -> list[dict]:
    """Users of two interests; every fifth changes it in the middle, and the label with it."""
    draw = np.random.default_rng(5)
    lines = []
    for n in range(events):
        user = int(draw.integers(users))
        interest = (user + (n > events // 2 and user % 5 == 0)) % 2
        words = draw.choice(TOPICS[interest].split(), 3, replace=False)
        about = {"topic": ["beer", "physics"][interest]}
        if n % 9 == 0:
            about = {}
        text = " ".join(words)
        lines.append(event(f"user-{user}", n % 150, text, event_id=str(n), about=about))
    return lines


def row_of(group: Group | LabelGroup, name: str) -> Any:
    """The first row of that name."""
    return next(row for row in group.rows if row.name == name)


def written(path: Path, lines: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def evaluate(path: Path, label: str | None = "about.topic", **options) -> Evaluation:
    settings = options.pop("settings", SETTINGS)
    return evaluate_file(path, settings, EMBEDDER, label=label, now=NOW, **options)


@pytest.fixture(scope="module", autouse=True)
def few_seeds():
    """Peers take most of the time of an evaluation of so few users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised_module, "SEEDS", 2)
        patch.setattr(run_module, "SEEDS", 3)
        patch.setattr(offline, "TREES", 10)
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    lines = stream()
    # Repeats, and lines that are refused.
    lines[300:300] = [*lines[100:107], {"user_id": "x"}]
    return written(tmp_path_factory.mktemp("events") / "events.jsonl", lines)


@pytest.fixture(scope="module")
def evaluation(file) -> Evaluation:
    return evaluate(file)


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "path", "label"),
    [
        ({"a": "beer"}, "a", "beer"),
        ({"a": {"b": " tea "}}, "a.b", "tea"),
        ({"a.b": 3}, "a.b", "3"),
        ({"a": True}, "a", "True"),
        ({"a": ""}, "a", None),
        ({"a": None}, "a", None),
        ({"a": ["x"]}, "a", None),
        ({"a": {"b": 1}}, "a", None),
        ({}, "a", None),
        ([], "a", None),
    ],
)
def test_a_label_is_a_plain_value_at_a_dotted_path(source, path, label):
    assert label_of(json.dumps(source).encode(), path) == label


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff"])
def test_what_is_no_json_has_no_label(value):
    assert label_of(value, "a") is None


def test_a_label_that_no_record_has_is_refused_before_the_replay(file):
    with pytest.raises(UsageError, match=r"--label is 'abuot\.topic'"):
        evaluate(file, "abuot.topic")


# --- one user -------------------------------------------------------------------------------------


def naive_lags(labels, places, meaning):
    """Event by event: where the user was, and what that stands for."""
    where, here = [], None
    for number in range(1, len(labels) + 1):
        for at, segment in places:
            if at == number:
                here = segment
        where.append(here)
    runs, lags = [], []
    for number, label in enumerate(labels, start=1):
        if runs and runs[-1][0] == label:
            runs[-1][1].append(number)
        else:
            runs.append((label, [number]))
    for before, after in pairwise(runs):
        if min(len(before[1]), len(after[1])) < STEADY_EVENTS:
            continue
        right = [n for n in after[1] if meaning.get(where[n - 1]) == after[0]]
        lags.append(right[0] - after[1][0] + 1 if right else None)
    return lags


@given(st.data())
def test_lags_are_those_of_a_naive_walk(data):
    labels = []
    for _ in range(data.draw(st.integers(1, 4))):
        label = data.draw(st.sampled_from("abc"))
        labels += [label] * data.draw(st.integers(1, 6))
    numbers = sorted(data.draw(st.sets(st.integers(1, len(labels)), max_size=5)))
    places = [(number, data.draw(st.sampled_from([0, 1, 2, None]))) for number in numbers]
    meaning = {0: "a", 1: "b", 2: "c"}
    track = Track()
    for number, label in enumerate(labels, start=1):
        track.see(label)
        for at, segment in places:
            if at == number:
                track.move(segment, "switched", "behaviour", "user")
    assert track.lags(meaning) == naive_lags(labels, places, meaning)


def test_a_track_counts_labels_and_changes():
    track = Track()
    for label in ("a", "b", None, "b", "a"):
        track.see(label)
    track.move(3, "entered", "behaviour", "user")
    assert (track.events, track.label, track.segment) == (5, "a", 3)
    assert track.changes == {("entered", "behaviour"): 1}
    assert track.causes == {("entered", "user"): 1}
    assert Track().label is None


def test_events_without_a_label_do_not_end_a_run():
    track = Track()
    for label in ("a", None, "a", "a", "b", "b", None, "b"):
        track.see(label)
    track.move(1, "switched", "behaviour", "user")
    assert track.lags({1: "b"}) == [4]


# --- the stream -----------------------------------------------------------------------------------


def test_an_event_is_compared_with_where_the_model_before_it_puts_the_user():
    """Two events of one user in one batch: each has the segment right after itself."""
    lines = [event("u", 1, TOPICS[0], label="a")] + [
        event("u", n, TOPICS[1], label="b") for n in range(2, 9)
    ]
    observer = Observer(SETTINGS.topics, "label")
    replay = Replay(SETTINGS, EMBEDDER, a_model(), NOW)
    replay.run(records(lines), observer.sink, watch=observer.watch)
    (track,) = observer.tracks.values()
    assert track.places[0] == (1, 0)
    moved, segment = track.places[1]
    assert (segment, len(track.places)) == (1, 2)
    assert 1 < moved < 8
    counts = dict(zip(observer.confusion.labels, observer.confusion.counts().tolist(), strict=True))
    assert counts == {"a": [1, 0], "b": [moved - 2, 8 - moved + 1]}


def test_what_is_learned_from_an_event_does_not_judge_it(file):
    """Before the trainer's first model no event is compared; all come out in the end."""
    observer = Observer(SETTINGS.topics, "about.topic")
    replay = Replay(SETTINGS, EMBEDDER, None, NOW)
    versions = []

    def watch(batch):
        observer.watch(batch)
        versions.append(replay.segmentation.model)
        if replay.segmentation.model is None:
            assert observer.confusion.agreement() is None

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    replay.run(records(lines), observer.sink, watch=watch)
    assert versions[0] is None
    assert versions[-1] is not None
    assert observer.without_segment > 0
    compared = observer.confusion.pairs
    assert compared + observer.without_segment + observer.without_label == observer.events == 400


def test_the_observer_knows_where_every_user_is_and_how_often_each_changed(file, tmp_path):
    settings = SETTINGS
    result = replay_file(file, tmp_path, settings, EMBEDDER, now=NOW)
    evaluation = evaluate(file)
    assert evaluation.figures.counts.users == result.users
    everybody = evaluation.figures.flapping[0]
    assert everybody.users == result.users
    assert sum(everybody.by_reason.values()) == result.changes
    assert sum(everybody.switches_a_user_by_cause.values()) == pytest.approx(
        everybody.switches_a_user
    )
    assert everybody.changes_a_user == pytest.approx(result.changes / result.users)
    memberships = [
        json.loads(line) for line in (tmp_path / "memberships.jsonl").read_text().splitlines()
    ]
    by_segment = {segment.id: segment.users for segment in evaluation.figures.segments}
    assert sum(by_segment.values()) == len(memberships)
    for segment, users in by_segment.items():
        assert users == sum(line["segment"]["id"] == segment for line in memberships)
    told = Counter(
        json.loads(line)["data"]["type"]
        for line in (tmp_path / "segment-lifecycle.jsonl").read_text().splitlines()
    )
    assert evaluation.figures.lifecycle == told


def test_points_along_a_long_stream_are_thinned_out(monkeypatch):
    monkeypatch.setattr(observe, "MOST_POINTS", 8)
    observer = Observer(SETTINGS.topics, None)
    batch = Replay(SETTINGS, EMBEDDER, a_model(), NOW).segmentation.prepare([])
    for number in range(100):
        observer.watch(batch)
        observer.events = number + 1
        observer.mark(2)
    observer.end(2)
    events = [point.events for point in observer.points]
    assert 4 <= len(events) <= 8
    assert events[-1] == 100
    assert len(set(np.diff(events[:-1]).tolist())) == 1


# --- the figures ----------------------------------------------------------------------------------


def test_the_counts_are_the_replays(evaluation):
    counts = evaluation.figures.counts
    assert (counts.records, counts.accepted, counts.repeated, counts.refused) == (408, 400, 7, 1)
    assert (counts.users, len(evaluation.map.vectors)) == (40, 40)


def test_every_clustering_is_measured_on_the_same_users(evaluation):
    for group, least in zip(evaluation.figures.groups, (1, 5, 10), strict=True):
        assert group.least_events == least
        assert [(row.name, row.asked) for row in group.rows] == [
            (PRODUCT, 2),
            (OFFLINE, 2),
            (MINI_BATCH, 2),
        ]
        for row in group.rows:
            assert row.agreement.users == group.labelled <= group.users
            assert row.internal.segments == 2
    assert [group.users for group in evaluation.figures.groups] == sorted(
        (group.users for group in evaluation.figures.groups), reverse=True
    )


def test_the_final_agreement_is_that_of_the_users_segments(evaluation, file):
    labels, segments = {}, {}
    track = {}
    for line in map(json.loads, file.read_text().splitlines()):
        if "event_id" in line and line["about"]:
            track.setdefault(line["user_id"], {})[line["event_id"]] = line["about"]["topic"]
    for user, found in track.items():
        counted = list(found.values())
        labels[user] = max(dict.fromkeys(counted), key=counted.count)
    replay = Replay(SETTINGS, EMBEDDER, None, NOW)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    replay.run(records(lines), lambda _: None)
    table = replay.segmentation.tables[0]
    segments = dict(zip(table.users, table.gather(table.users).segments.tolist(), strict=True))
    users = sorted(labels)
    expected = agreement([labels[u] for u in users], [segments[u] for u in users])
    found = row_of(evaluation.figures.groups[0], PRODUCT).agreement
    assert found.v_measure == pytest.approx(expected.v_measure)
    assert found.users == expected.users == len(users)


def test_two_clear_interests_are_told_apart(evaluation):
    figures = evaluation.figures
    assert row_of(figures.groups[2], PRODUCT).agreement.v_measure > 0.7
    assert figures.prequential.agreement.v_measure > 0.3
    assert {segment.main_label for segment in figures.segments} == {"beer", "physics"}
    assert figures.users_by_label.labels == ("beer", "physics")
    assert np.sum(figures.users_by_label.counts) == 40
    assert figures.stream[-1].steady_users.users <= 40


def test_users_who_change_their_interest_have_a_lag(evaluation):
    lag = evaluation.figures.lag
    assert 0 < lag.followed <= lag.known
    assert lag.median >= 1


def test_a_label_is_never_learned_from(file, evaluation):
    without = evaluate(file, None)
    assert np.array_equal(without.map.vectors, evaluation.map.vectors)
    assert np.array_equal(without.map.segments, evaluation.map.segments)
    figures = without.figures
    assert figures.prequential is figures.lag is figures.users_by_label is None
    for group in figures.groups:
        assert [row.agreement for row in group.rows] == [None] * len(group.rows)
        assert group.rows[0].internal is not None


def test_the_same_file_gives_the_same_json(file, evaluation):
    assert evaluate(file).figures.to_json() == evaluation.figures.to_json()
    assert json.loads(evaluation.figures.to_json())["label"] == "about.topic"


def test_the_number_of_segments_can_be_found(file):
    training = SETTINGS.training.model_copy(update={"segments": "auto"})
    found = evaluate(file, settings=SETTINGS.model_copy(update={"training": training}))
    figures = found.figures
    assert figures.segments_found
    assert 2 <= len(figures.segments) <= 3
    assert figures.numbers[-1].segments == 2
    assert any(point.segments == len(figures.segments) for point in figures.numbers)
    assert dict(pictures(found))["numbers.png"].startswith(b"\x89PNG")
    assert "of what is asked" in printed(found)


@pytest.mark.parametrize(
    ("algorithm", "projection"),
    [("kmeans", "random"), ("dbstream", "none"), ("dbstream", "pca")],
)
def test_whatever_algorithm_is_set_is_the_one_that_is_evaluated(file, algorithm, projection):
    chosen = {"algorithm": algorithm, "projection": projection, "projection_dimensions": 8}
    training = SETTINGS.training.model_copy(update=chosen)
    figures = evaluate(file, settings=SETTINGS.model_copy(update={"training": training})).figures
    assert figures.settings["training"]["algorithm"] == algorithm
    assert figures.segments_found == (algorithm == "dbstream")
    assert figures.segments
    assert figures.lifecycle["created"] >= len(figures.segments)


def test_users_in_no_segment_count_as_a_group_of_their_own(file):
    settings = SETTINGS.model_copy(
        update={"assignment": SETTINGS.assignment.model_copy(update={"min_events": 10})}
    )
    group = evaluate(file, settings=settings).figures.groups[0]
    assert group.without_segment > 0
    assert group.rows[0].agreement.users == group.labelled
    assert group.rows[0].internal is not None


def test_with_a_model_given_nothing_is_learned(file):
    figures = evaluate(file, model=a_model(7)).figures
    assert (figures.model_version, figures.segments_found) == (7, False)
    assert figures.prequential.without_segment == 0


def test_too_few_users_for_a_model_have_no_segments(tmp_path):
    path = written(tmp_path / "events", [event("u", n, label="a") for n in range(3)])
    outcome = evaluate(path, "label")
    figures = outcome.figures
    assert (figures.model_version, figures.segments) == (None, ())
    assert figures.prequential.without_segment == 3
    assert list(pictures(outcome)) != []
    assert "too few users for a segment model: 4 are needed, there are 1" in printed(outcome)


def test_no_score_is_given_over_fewer_than_twenty_users(tmp_path):
    def figures_of(users: int) -> Evaluation:
        lines = [
            event(
                f"u{n % users}",
                n // users,
                TOPICS[n % users % 2],
                about={"topic": str(n % users % 2)},
            )
            for n in range(12 * users)
        ]
        return evaluate(written(tmp_path / f"{users}", lines), model=a_model())

    few, enough = figures_of(19), figures_of(20)
    for outcome, scored in ((few, False), (enough, True)):
        figures = outcome.figures
        assert [bool(group.rows) for group in figures.groups] == [scored] * 3
        assert [bool(group.rows) for group in figures.supervised.groups] == [scored] * 3
        assert (figures.prequential.agreement is not None) == scored
        assert (figures.stream[-1].steady_users is not None) == scored
        text = printed(outcome)
        assert ("No scores: there are 19 users, and scores need 20." in text) != scored
        assert (
            ("silhouette" in text) == ("V-measure" in text) == ("Labels learned" in text) == scored
        )
        assert list(pictures(outcome))


def test_a_group_of_few_beside_one_of_many_is_told_as_one(tmp_path):
    lines = [event(f"u{n}", n, TOPICS[n % 2]) for n in range(30)]
    lines += [event("u0", n, TOPICS[0]) for n in range(30, 40)]
    outcome = evaluate(written(tmp_path / "file", lines), None, model=a_model())
    text = " ".join(printed(outcome).split())
    assert "1 user with 10 events or more: too few for scores, which need 20" in text
    assert "No scores" not in text


def test_agreement_needs_twenty_users_whose_label_is_known(tmp_path):
    lines = [
        event(f"u{n % 30}", n, TOPICS[n % 2], **({"about": {"topic": "a"}} if n % 30 < 19 else {}))
        for n in range(90)
    ]
    figures = evaluate(written(tmp_path / "file", lines), model=a_model()).figures
    row = row_of(figures.groups[0], PRODUCT)
    assert (figures.groups[0].users, figures.groups[0].labelled) == (30, 19)
    assert row.agreement is figures.prequential.agreement is None
    assert row.internal is not None


def test_an_empty_file_is_no_failure(tmp_path):
    path = written(tmp_path / "events", [])
    figures = evaluate(path, "label").figures
    assert (figures.counts.users, figures.lag.known) == (0, 0)
    assert json.loads(figures.to_json())["segments"] == []


# --- tables and pictures --------------------------------------------------------------------------


def printed(evaluation: Evaluation) -> str:
    text = io.StringIO()
    render(Console(file=text, width=160), evaluation.figures)
    return text.getvalue()


def test_the_tables_say_the_figures(evaluation):
    text = printed(evaluation)
    agreement = row_of(evaluation.figures.groups[2], PRODUCT).agreement
    assert f"{agreement.v_measure:.3f}" in text
    for word in ("V-measure", "silhouette", "changes a user", OFFLINE, MINI_BATCH, "left out"):
        assert word in text


def test_in_80_columns_every_row_still_says_what_it_is(evaluation):
    text = io.StringIO()
    render(Console(file=text, width=80), evaluation.figures)
    lines = text.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in text.getvalue()
    figures_only = [line for line in lines if re.fullmatch(r" +[\d.,]+(  +[\d.,]+)+", line)]
    assert figures_only == []


def test_a_label_that_looks_like_markup_is_printed_as_it_is(evaluation):
    first = replace(evaluation.figures.segments[0], main_label="[red]$x")
    figures = replace(evaluation.figures, segments=(first,))
    assert "[red]$x" in printed(replace(evaluation, figures=figures))


def test_every_picture_is_a_png_and_the_same_each_time(evaluation):
    drawn = dict(pictures(evaluation))
    assert set(drawn) == {"users.png", "flapping.png", "stream.png", "confusion.png", "labels.png"}
    for content in drawn.values():
        assert imread(io.BytesIO(content)).ndim == 3
    assert dict(pictures(evaluation)) == drawn


def test_labels_in_any_script_can_be_drawn_and_none_is_read_as_mathematics(evaluation):
    table = evaluation.figures.users_by_label
    labels = ("政治、政黨", "$\\frac{1")
    figures = replace(evaluation.figures, users_by_label=replace(table, labels=labels))
    assert dict(pictures(replace(evaluation, figures=figures)))["confusion.png"]
    axes, *_ = draw_confusion(figures, figures.users_by_label).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()][1] == labels[1]
    assert [tick.get_text()[:1] for tick in axes.get_xticklabels()] == ["0", "1"]


def test_legends_lie_outside_of_the_curves_and_hold_names_whole(evaluation):
    label = "a label of many words, which goes on, and further on, and is never cut"
    segments = tuple(replace(each, label=label) for each in evaluation.figures.segments)
    figures = replace(evaluation.figures, segments=segments)
    labels = {each.id: label for each in segments}
    drawn = [replace(evaluation.map, labels=labels).draw()]
    drawn += [draw_flapping(figures), draw_stream(figures)]
    for figure in drawn:
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    names = [" ".join(text.get_text().split()) for text in drawn[0].legends[0].get_texts()]
    largest_first = sorted(segments, key=lambda each: (-each.users, each.id))
    assert names == [f"{each.id} {label} ({each.users})" for each in largest_first]


def test_names_beside_a_table_are_whole(evaluation):
    table = evaluation.figures.users_by_label
    labels = tuple(f"{name}, which is a label of some length" for name in table.labels)
    table = replace(table, labels=labels)
    axes, *_ = draw_confusion(evaluation.figures, table).axes
    assert [tick.get_text().replace("\n", " ") for tick in axes.get_yticklabels()] == list(labels)


# --- labels that are learned --------------------------------------------------------------------


def test_labels_are_learned_and_judged_before_and_after(evaluation):
    supervised = evaluation.figures.supervised
    assert set(supervised.labels) == {"beer", "physics"}
    group = supervised.groups[1]
    assert group.least_events == 5
    progressive, unseen = row_of(group, PROGRESSIVE), row_of(group, UNSEEN)
    assert progressive.macro_f1 > 0.8
    assert unseen.count == progressive.count > 100
    assert unseen.macro_f1 > 0.7
    assert row_of(group, FINAL).macro_f1 > row_of(group, MAJORITY).macro_f1
    assert {row.name for row in group.rows} >= {FOREST, SVM}
    assert (group.labels, group.left_out) == (2, 0)
    everybody = row_of(supervised.groups[0], PROGRESSIVE)
    assert sum(map(sum, supervised.confusion.counts)) == everybody.count
    assert supervised.examples == everybody.count + 1  # of the very first there was no prediction


def test_all_ways_to_tell_labels_are_compared_on_the_same_users_and_labels(tmp_path):
    """One user alone has a label of its own: no row is judged by it, whoever could learn it."""
    lines = []
    for line in stream(users=41, events=600):
        rare = line["user_id"] == "user-40"
        lines.append(
            {**line, "about": {"topic": "tea" if rare else f"t{int(line['user_id'][5:]) % 2}"}}
        )
    outcome = evaluate(written(tmp_path / "file", lines))
    supervised = outcome.figures.supervised
    assert set(supervised.labels) == {"t0", "t1", "tea"}
    for group in supervised.groups:
        assert (group.labels, group.left_out) == (2, 1)
        at_end = [row for row in group.rows if row.name not in {PROGRESSIVE, UNSEEN}]
        assert {row.count for row in at_end} == {group.users}
        assert row_of(group, PROGRESSIVE).count == row_of(group, UNSEEN).count
        for row in group.rows:
            assert row.seeds == (2 if row.name in {FOREST, SVM} else 1)
            assert row.macro_f1s[0] <= row.macro_f1 <= row.macro_f1s[1]
    # With few errors; a third label without a hit would take a third away.
    assert row_of(supervised.groups[0], FINAL).macro_f1 > 0.7
    assert row_of(supervised.groups[0], UNSEEN_FINAL).macro_f1 > 0.7
    assert sum(supervised.confusion.counts[supervised.labels.index("tea")]) > 0
    assert "1 user whose label fewer than 5 users have" in printed(outcome)


def test_who_is_judged_as_never_learned_was_never_learned(evaluation, monkeypatch):
    watch = supervised_module.LabelWatch(SETTINGS.labels, "0" * 64, (1,), 0)
    learned = [Counter() for _ in watch._folds]
    for fold, learner in enumerate(watch._folds):
        monkeypatch.setattr(
            learner, "learn", lambda user, *_, own=learned[fold]: own.update([user])
        )
    for n in range(100):
        watch.see(f"u{n}", np.eye(3)[n % 3], f"{n % 3}", 1)
    assert [len(set(own)) for own in learned] == [
        100 - sum(supervised_module._fold(f"u{n}") == fold for n in range(100)) for fold in range(5)
    ]
    for fold, own in enumerate(learned):
        assert not any(supervised_module._fold(user) == fold for user in own)
        assert 5 <= 100 - len(own) <= 40


def test_peers_are_run_with_several_seeds_and_tell_between_what_they_lie(evaluation):
    for group in evaluation.figures.groups:
        own, *peers = group.rows
        assert own.seeds == 1
        for row in peers:
            assert row.seeds == 3
            least, most = row.v_measures
            assert least <= row.agreement.v_measure <= most
    text = printed(evaluation)
    row = row_of(evaluation.figures.groups[0], MINI_BATCH)
    assert f"{row.v_measures[0]:.3f} to {row.v_measures[1]:.3f}" in text


def test_what_labels_learn_does_not_touch_the_segments(file, evaluation):
    without = evaluate(file, None)
    assert without.figures.supervised is None
    assert (without.map.segments == evaluation.map.segments).all()


def test_the_supervised_report_has_its_tables_and_its_picture(evaluation):
    out = io.StringIO()
    render(Console(file=out, width=200), evaluation.figures)
    text = out.getvalue()
    assert "Labels learned (logistic)" in text
    assert "40 labelled users: means over 2 labels" in text
    assert "segmenter, users never learned" in text
    assert "linear SVM, offline" in text
    assert "given ↓ predicted →" in text
    assert "labels.png" in dict(pictures(evaluation))


def test_one_label_alone_has_no_peers_to_be_compared_with(tmp_path):
    lines = [event(f"user-{n % 24}", n, about={"topic": "beer"}) for n in range(120)]
    supervised = evaluate(written(tmp_path / "file", lines)).figures.supervised
    assert [row.name for row in supervised.groups[0].rows][-1] == MAJORITY
    assert row_of(supervised.groups[0], FINAL).macro_f1 == 1
