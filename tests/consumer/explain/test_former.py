"""What was known of a user at a time, held against a replay that ends there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.explain.explain import explain
from consumer.explain.facts import Explanation
from consumer.explain.former import Events, counted, profile_at
from consumer.explain.page import page
from consumer.explain.render import render
from consumer.explain.sources import from_folder
from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.state.lookup import find_in_file
from models.profiles.rows import hash_event_id, unit_rows
from schemas.arrays import decode_array, encode_array
from schemas.profiles import ProfileRecord
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, a_model, event

# Each event by itself, so that what has counted by a time follows from the times of events.
SETTINGS = Settings(assignment={"dwell_events": 2}, batch={"max_records": 1})
HOPS, QUBIT = TOPICS


def events() -> list[dict[str, Any]]:
    """Ann's interest changes; she repeats herself, and once tells late what was long before."""
    made = []
    for number in range(30):
        words = (HOPS if number < 12 else QUBIT).split()
        text = f"{words[number % 4]} {words[(number + 1) % 4]} {words[0]}"
        made.append(event("ann", 7 * number, text, event_id=f"a{number}"))
        made.append(event("bob", 7 * number, HOPS, event_id=f"b{number}", type="comment"))
    made.sort(key=lambda each: each["occurred_at"])
    again = next(each for each in made if each["event_id"] == "a3")
    late = event("ann", 8, QUBIT, event_id="late")
    return [*made[:40], again, *made[40:50], late, *made[50:]]


def written(folder: Path, lines: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "events.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    replay_file(file, folder / "out", SETTINGS, EMBEDDER, model=a_model(), now=NOW)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("former"), events())


def time_of(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["occurred_at"])


def told(folder: Path, at: datetime, file: Path | None = None, **more: Any) -> Explanation:
    evidence = from_folder(SETTINGS, folder / "out", file or folder / "events.jsonl", "ann", at)
    return explain(evidence, "ann", SETTINGS, lambda: EMBEDDER, at=at, **more)


def former(folder: Path, at: datetime) -> tuple[ProfileRecord, str]:
    evidence = from_folder(SETTINGS, folder / "out", folder / "events.jsonl", "ann", at)
    return profile_at(evidence, at, SETTINGS, lambda: EMBEDDER)


# Before and after the repeat, the late event, the change of interest.
@pytest.mark.parametrize("lines", [3, 20, 30, 39, 41, 49, 52, 56, 61])
def test_the_profile_is_the_one_that_a_replay_up_to_then_ends_with(folder, tmp_path, lines):
    beginning = events()[:lines]
    at = max(map(time_of, beginning))
    wanted = find_in_file(written(tmp_path / "short", beginning) / "out", "ann").record
    found, sentence = former(folder, at)
    assert "has the weight" in sentence or "no change tells" in sentence
    assert (found.events, found.segment) == (wanted.events, wanted.segment)
    assert (found.sequence, found.segment_since_event) == (
        wanted.sequence,
        wanted.segment_since_event,
    )
    ours, theirs = (unit_rows(decode_array(each.vector, "<f4")[None]) for each in (found, wanted))
    assert np.abs(ours - theirs).max() < 1e-4
    # The latest event is known where a reference or a change names it; else both are of another
    # time, and the weights differ by what has faded in between.
    if found.reference_time == wanted.reference_time:
        assert found.weight == pytest.approx(wanted.weight, rel=1e-4)


def test_what_is_told_of_a_time_is_what_explain_would_have_told_then(folder, tmp_path):
    beginning = events()[:30]
    at = max(map(time_of, beginning))
    short = written(tmp_path / "short", beginning)
    evidence = from_folder(SETTINGS, short / "out", short / "events.jsonl", "ann")
    then = explain(evidence, "ann", SETTINGS, lambda: EMBEDDER)
    now = told(folder, at)
    assert now.at == at
    assert (now.segment, now.since, now.changes) == (then.segment, then.since, then.changes)
    assert [near.segment for near in now.nearest] == [near.segment for near in then.nearest]
    for ours, theirs in zip(now.nearest, then.nearest, strict=True):
        assert ours.distance == pytest.approx(theirs.distance, abs=1e-4)
    assert now.margin is not None
    assert then.margin is not None
    assert now.margin.margin == pytest.approx(then.margin.margin, abs=1e-4)
    # Shares of the events that are known now, to what they were; all add up.
    shares = {each.event_id: each.share for each in then.known}
    for each in now.known:
        assert each.occurred_at <= at
        if each.event_id in shares:
            assert each.share == pytest.approx(shares[each.event_id], abs=1e-3)
    total = now.margin.events + now.margin.centres + now.margin.others + now.margin.rounding
    assert total == pytest.approx(now.margin.margin, abs=1e-6)
    assert now.counterfactuals is not None
    assert "ann was in 0" in render(now)
    assert "less the" in " ".join(now.notes)


def test_without_the_input_the_profile_of_then_is_not_told(folder):
    at = time_of(events()[30])
    evidence = from_folder(SETTINGS, folder / "out", None, "ann", at)
    found = explain(evidence, "ann", SETTINGS, lambda: EMBEDDER, at=at)
    assert (found.margin, found.known, found.counterfactuals) == (None, [], None)
    assert found.segment is not None
    assert any("--input" in note for note in found.notes)
    assert any("distances are those that the latest change" in note for note in found.notes)


@pytest.mark.parametrize("fault", ["one lacks", "another text", "all others'"])
def test_an_input_that_is_not_what_was_counted_is_not_taken_for_it(folder, tmp_path, fault):
    """What does not fit the changes is not told, and that is."""
    lines = events()
    at = time_of(lines[10])
    if fault == "one lacks":
        lines = [each for each in lines if each["event_id"] != "a15"]
    elif fault == "another text":
        lines = [{**each, "text": HOPS, "type": "view"} for each in lines]
    else:
        lines = [{**each, "event_id": f"x{n}"} for n, each in enumerate(lines)]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    found = told(folder, at, other)
    assert found.margin is None
    assert any("the profile of then is not told" in note for note in found.notes), found.notes


def test_without_the_version_of_then_events_are_told_and_no_distances_of_now(folder):
    at = time_of(events()[30])
    evidence = from_folder(SETTINGS, folder / "out", folder / "events.jsonl", "ann", at)
    found = explain(replace(evidence, model=None), "ann", SETTINGS, lambda: EMBEDDER, at=at)
    whole = told(folder, at)
    assert (found.margin, found.counterfactuals) == (None, None)
    assert (found.events, found.weight) == (whole.events, whole.weight)
    assert {each.event_id for each in found.known} == {each.event_id for each in whole.known}
    assert {each.share for each in found.known} == {None}
    assert any("the version of the segments" in note for note in found.notes)
    assert any("less the" in note for note in found.notes)
    for shown in (render(found, 200), page(found)):
        assert all(event.text in shown for event in found.known if event.text)


def test_a_version_is_of_a_time_only_if_somebody_had_been_decided_on_by_it(folder):
    first = min(map(time_of, events()))
    early = from_folder(SETTINGS, folder / "out", None, "ann", first - timedelta(days=1))
    assert early.model is None
    later = from_folder(SETTINGS, folder / "out", None, "ann", max(map(time_of, events())))
    assert later.model is not None


# --- which events have counted --------------------------------------------------------------------


def a_profile(ids: Sequence[str], events: int) -> ProfileRecord:
    hashes = np.array([hash_event_id(each) for each in ids], np.uint64)
    return ProfileRecord(
        user_id="u",
        embedding="0" * 64,
        vector="",
        weight=1.0,
        reference_time=NOW,
        events=events,
        repeats=0,
        recent_events=encode_array(hashes, "<u8"),
        terms={},
        segment=None,
        segment_label=None,
        segment_since_event=0,
        sequence=0,
    )


def some(ids: Sequence[str]) -> Events:
    n = len(ids)
    hashes = np.array([hash_event_id(each) for each in ids], np.uint64)
    numbers = np.arange(n)
    return Events(numbers, numbers, hashes, np.ones(n), np.zeros((n, 1)), [*ids])


@pytest.mark.parametrize(
    ("recent", "counts", "came", "wanted"),
    [
        ("abcd", 4, "cd", "cd"),
        ("abcd", 4, "", ""),
        ("abcd", 4, "cdef", "cd"),  # the worker has not come to the last two
        ("abcd", 4, "cbd", "cd"),  # b came again
        ("abcd", 4, "ef", ""),
        ("abcd", 4, "abcd", "abcd"),
        ("bcd", 9, "xyabcd", "xyabcd"),  # beyond the memory all count
        ("abcd", 4, "xabcd", "abcd"),  # x was refused when it came
        ("abcd", 4, "bd", "d?"),  # c is missing, or b came again
    ],
)
def test_those_that_counted_are_told_by_the_ids_that_are_remembered(recent, counts, came, wanted):
    found, sure = counted(a_profile([*recent], counts), some([*came]))
    assert (found.ids, sure) == ([*wanted.removesuffix("?")], not wanted.endswith("?"))
