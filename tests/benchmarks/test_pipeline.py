"""The streams and the arithmetic of the pipeline's benchmark."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from benchmarks.markdown import render
from benchmarks.pipeline import newmodel, page
from benchmarks.pipeline.anywhere import known
from benchmarks.pipeline.builds import FORMER, BuildError, former_build, former_missing
from benchmarks.pipeline.compare import Load, Look, between, placed
from benchmarks.pipeline.compare import summary_of as best_of
from benchmarks.pipeline.live import drive, quantiles
from benchmarks.pipeline.page import comparison, found, keep
from benchmarks.pipeline.stage import ratios_of, setting, summary_of
from benchmarks.pipeline.stream import Event, earlier, line_of, million, multiplied, read_events
from benchmarks.shared import read
from consumer.settings import Settings


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


def test_what_came_to_pass_between_two_looks_is_told_by_event_and_process() -> None:
    first = Look(at=10.0, offset=1000, cpu={"main": 2.0}, broker=5.0)
    last = Look(at=12.0, offset=3000, cpu={"main": 2.2, "child 0": 0.1}, broker=5.1)
    assert between(first, last) == {
        "events_a_second": 1000,
        "cpu_us": 150.0,
        "cpu_us_by_process": {"main": 100.0, "child 0": 50.0},
        "broker_cpu_us": 50.0,
    }


def figures(cpu: float, rate: float) -> dict[str, float]:
    return {"cpu_us": cpu, "events_a_second": rate, "broker_cpu_us": 20, "memory_mb": 100}


def test_of_several_rounds_the_cheapest_counts_and_all_are_kept() -> None:
    best = best_of([figures(100, 9000), figures(90, 8000)])
    assert (best["cpu_us"], best["events_a_second"]) == (90, 9000)
    assert best["cpu_us_of_rounds"] == [100, 90]


def test_the_table_tells_costs_as_shares_of_the_workers() -> None:
    made = comparison({"worker": figures(80, 9000), "quix": figures(1200, 700)})
    head, _, worker, quix = made.splitlines()
    assert head.startswith("|  | CPU µs an event | of the worker's |")
    assert worker.startswith("| worker | 80 | 1.00 |")
    assert quix.startswith("| (b) Quix Streams and River | 1,200 | 15.00 |")


def test_latencies_are_told_by_median_and_99th_percentile() -> None:
    assert quantiles([n / 1000 for n in range(101)]) == {"p50_ms": 50.0, "p99_ms": 99.0}


def test_a_former_build_gets_only_the_settings_that_it_knows() -> None:
    inner = SimpleNamespace(model_fields={"kept": SimpleNamespace(annotation=str)})
    fields = {"inner": inner, "plain": dict}
    section = SimpleNamespace(
        model_fields={name: SimpleNamespace(annotation=kind) for name, kind in fields.items()}
    )
    given = {"inner": {"kept": 1, "new": 2}, "plain": {"any": 3}, "new": 4}
    assert known(given, section) == {"inner": {"kept": 1}, "plain": {"any": 3}}


def test_where_the_former_commit_is_not_to_be_had_it_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.pipeline.builds.ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert FORMER in (former_missing(tmp_path) or "")
    with pytest.raises(BuildError, match="fetch its whole history"):
        former_build(tmp_path / "cache")
    (tmp_path / "cache" / f"build-{FORMER}").mkdir(parents=True)
    (tmp_path / "cache" / f"build-{FORMER}" / ".made").touch()
    assert former_build(tmp_path / "cache").name == f"build-{FORMER}"


def test_the_page_in_the_repository_says_what_the_results_say(tmp_path: Path) -> None:
    written = page.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "performance.md"
    text = written
    for name in page.parts_of(read(page.OUTPUT)):
        text = render(text, name, "")
    copy.write_text(text, encoding="utf-8")
    page.render_page(page=copy, picture=tmp_path / "pipeline.png")
    assert copy.read_text(encoding="utf-8") == written
    assert (tmp_path / "pipeline.png").read_bytes().startswith(b"\x89PNG")


def test_figures_of_one_question_leave_the_others_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    keep(path, memory=[1], stage={"a": 1})
    assert keep(path, memory=[2]) == {"memory": [2], "stage": {"a": 1}}
    assert keep(None, memory=[3]) == {"memory": [3]}
    assert read(path)["memory"] == [2]


def test_what_a_file_of_figures_has_not_is_the_default_and_so_it_is_without_a_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "figures.json"
    assert found(None, "newmodel", []) == found(path, "newmodel", []) == []
    keep(path, newmodel=[1])
    assert found(path, "newmodel", []) == [1]
    assert found(path, "compare", {}) == {}


def test_several_workers_are_timed_when_each_has_a_partition_and_not_before() -> None:
    one, two = (TopicPartition("events", number) for number in range(2))
    assert not placed([[one, two]], "events", 2)
    assert not placed([[one, two], []], "events", 2)
    assert not placed([[one], [TopicPartition("models", 0)]], "events", 2)
    assert placed([[one], [two]], "events", 2)


def test_a_round_tells_events_before_a_model_from_those_until_it_is_settled() -> None:
    latencies = [(at, 0.1 if at < 20 else 0.3) for at in range(100)]
    told = newmodel.round_of(latencies, 10, published=20, settled=30)
    assert told["without"] == {"p50_ms": 100, "p99_ms": 100}
    assert told["under"] == {"p50_ms": 300, "p99_ms": 300}
    assert (told["ratio_p99"], told["seconds"], told["events"]) == (3.0, 10, 11)
    slow = newmodel.round_of([(at, 0.2 * took) for at, took in latencies], 10, 20, 35)
    both = newmodel.summary_of([told, told, slow])
    assert (both["without"]["p99_ms"], both["seconds"]) == (100, 10)
    assert both["seconds_of_rounds"] == [10, 10, 15]


class Noted:
    """A client and a reader that note what they are given, and see it at once."""

    left = 0

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def expect(self, key: bytes) -> None:
        self.keys.append(key)

    def produce(self, *_: Any) -> None: ...

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        return 0


def test_events_are_driven_until_there_are_no_more_or_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: Any = Noted()
    monkeypatch.setattr("benchmarks.pipeline.live.Producer", lambda _: noted)
    monkeypatch.setattr("benchmarks.pipeline.live.time.sleep", lambda _: None)
    drive("", "events", [(b"%d" % number, b"") for number in range(5)], 1e6, noted)
    assert noted.keys == [b"0", b"1", b"2", b"3", b"4"]
    stopped = threading.Event()

    def endless() -> Any:
        for number in range(10):
            yield b"%d" % number, b""
        stopped.set()
        while True:
            yield b"more", b""

    drive("", "events", endless(), 1e5, noted, stopped)
    assert stopped.is_set()


def test_what_the_bare_loop_writes_is_sized_by_users_whose_profiles_are_filled() -> None:
    filling = [(b"ann", b"1"), (b"bob", b"2"), (b"cat", b"3"), (b"ann", b"4")]
    timed = [(b"new", b"5"), (b"ann", b"6"), (b"cat", b"7"), (b"bob", b"8")]
    load = Load(filling, timed, [], 1.0)
    assert load.some(2) == ([filling[0], filling[3]], timed[:2])
    assert load.some(9) == (filling, timed)


def test_the_other_side_of_a_measurement_may_be_another_value_of_a_setting() -> None:
    assert setting("profile.references=0") == {"profile": {"references": 0}}
    assert setting('profile.words="all"') == {"profile": {"words": "all"}}
    assert Settings(**setting("profile.references=0")).profile.references == 0
