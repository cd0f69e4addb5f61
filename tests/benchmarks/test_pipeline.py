"""The streams and the arithmetic of the pipeline's benchmark."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.pipeline.stage import ratios_of, summary_of
from benchmarks.pipeline.stream import Event, earlier, line_of, million, multiplied, read_events


def event(number: int, user: str = "ann") -> Event:
    return {
        "event_id": f"e{number}",
        "user_id": user,
        "type": "comment",
        "text": f"one two three {number}",
        "occurred_at": f"2020-01-{number + 1:02}T00:00:00Z",
        "label": "tea",
    }


EVENTS = [event(number, "ann" if number % 3 else "bob") for number in range(20)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in EVENTS).encode()))
    return path


def test_multiplied_users_are_namesakes_with_events_of_their_own() -> None:
    made = list(islice(multiplied(EVENTS, users=20), 10 * len(EVENTS)))
    assert len({each["event_id"] for each in made}) == len(made)
    users = Counter(each["user_id"].split("-")[0] for each in made)
    assert users == Counter({"ann": 130, "bob": 70})
    assert len({each["user_id"] for each in made}) == 20
    times = [datetime.fromisoformat(each["occurred_at"]) for each in made]
    assert times == sorted(times)
    assert datetime.fromisoformat("2020-01-20T00:00:00Z") >= times[-1]


def test_users_of_a_window_have_earlier_events_but_for_the_share_who_are_new() -> None:
    window = list(islice(multiplied(EVENTS, users=4000), 2000))
    before = earlier(window, EVENTS)
    known, there = {each["user_id"] for each in before}, {each["user_id"] for each in window}
    assert known < there
    assert 1 - len(known) / len(there) == pytest.approx(2 / 20, abs=0.03)
    assert Counter(Counter(each["user_id"] for each in before).values()).keys() == {2}
    assert all(each["occurred_at"] < "2020-01-20" for each in before)


def test_a_producer_knows_no_label_and_short_texts_are_cut(data: Path) -> None:
    first, *_ = read_events(data, 2)
    assert first["text"] == "one two"
    key, value = line_of(first).rstrip(b"\n").split(b"\t")
    assert key == b"bob"
    assert "label" not in json.loads(value)


def test_a_file_holds_what_fills_the_profiles_and_then_what_is_timed(
    data: Path, tmp_path: Path
) -> None:
    stream = million(tmp_path, data, None, timed=64, users=1000)
    assert len(stream.path.read_bytes().splitlines()) == stream.events == stream.filling + 64
    assert stream.threshold == 1


def test_costs_are_told_by_event_and_compared_round_by_round() -> None:
    def run(prepare: float, apply: float) -> dict[str, object]:
        out = {"user-profiles": [50, 5000]}
        return {"prepare": prepare, "apply": apply, "events": 100, "missed": 0, "out": out}

    former = [run(0.04, 0.02), run(0.05, 0.01)]
    present = [run(0.01, 0.01), run(0.02, 0.01)]
    summary = summary_of(present)
    assert summary["prepare"] == {"least": 100, "median": 150}
    assert summary["together"] == {"least": 200, "median": 250}
    assert summary["out"] == {"user-profiles": {"records": 0.5, "bytes": 50}}
    ratio = ratios_of({"former": former, "this": present})["ratio"]
    assert ratio["prepare"] == {"least": 0.25, "median": 0.325}
    assert ratio["apply"] == {"least": 1.0, "median": 0.75}
    assert ratios_of({"this": present}) == {}
