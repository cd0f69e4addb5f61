"""The arithmetic of the soak: slopes and what they say, the account, latencies, the report."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from benchmarks import soak
from benchmarks.shared import RESULTS, read, write_page
from benchmarks.soak import PAGE, Options, due_times, keep, main, parse
from benchmarks.soaking.group import Group
from benchmarks.soaking.load import NOBODY, Stream, account
from benchmarks.soaking.slopes import FLAT, GROWS, UNCLEAR, Slope, across, slope, told
from benchmarks.soaking.verdict import failures, growth, latency, report
from benchmarks.soaking.watching import MEASURES, Life, Sample, Watcher, sample
from consumer.settings import Settings

SHARE = 0.1
LEVEL = 400.0


def restless(seed: int, length: int = 240, *, alike: float = 0.0) -> np.ndarray:
    """Make noise of one MB, of which neighbours are alike to a degree."""
    draw = np.random.default_rng(seed)
    noise = np.empty(length)
    noise[0] = draw.normal()
    for place in range(1, length):
        noise[place] = alike * noise[place - 1] + np.sqrt(1 - alike**2) * draw.normal()
    return noise


def life(values: Any, start: float = 0.0, every: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, float)
    return start + every * np.arange(len(values)), values


# --- slopes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_one_life_without_memory_is_the_ordinary_regression(seed: int) -> None:
    at, values = life(restless(seed, 60) + 0.01 * np.arange(60))
    found = slope([(at, values)])
    plain = statistics.linear_regression(at, values)
    assert found.per_hour == pytest.approx(3600 * plain.slope)
    assert found.mean == pytest.approx(values.mean())
    residuals = values - plain.slope * at - plain.intercept
    r = max(0.0, float(residuals[:-1] @ residuals[1:] / (residuals @ residuals)))
    counted = 60 * (1 - r) / (1 + r)
    # scipy's error is of n - 2 degrees of freedom.
    error = linregress(at, values).stderr * np.sqrt(58 / (counted - 2))
    wide = 3600 * error * student.ppf(0.975, counted - 2)
    assert (found.low, found.high) == pytest.approx(
        (found.per_hour - wide, found.per_hour + wide), rel=1e-9
    )


def test_several_lives_share_a_slope_and_have_levels_of_their_own() -> None:
    lives = [
        life(level + 0.02 * np.arange(50) + restless(seed, 50), start)
        for seed, (level, start) in enumerate([(400, 0), (300, 200), (500, 400)])
    ]
    # The naive way: a column for the time and one for each life.
    columns = np.zeros((150, 4))
    columns[:, 0] = np.concatenate([at for at, _ in lives])
    for number in range(3):
        columns[50 * number : 50 * (number + 1), 1 + number] = 1
    values = np.concatenate([each for _, each in lives])
    wanted, *_ = np.linalg.lstsq(columns, values, rcond=None)
    found = slope(lives)
    assert found.per_hour == pytest.approx(3600 * wanted[0])
    assert found.points == 150
    left = values - columns @ wanted
    parts = [left[50 * n : 50 * (n + 1)] for n in range(3)]
    r = max(0.0, sum(each[:-1] @ each[1:] for each in parts) / (left @ left))
    free = 150 * (1 - r) / (1 + r) - 4
    covariance = np.linalg.inv(columns.T @ columns) * (left @ left) / free
    wide = 3600 * np.sqrt(covariance[0, 0]) * student.ppf(0.975, free)
    assert found.high - found.per_hour == pytest.approx(wide, rel=1e-6)


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_the_interval_holds_the_true_slope_about_as_often_as_it_says(alike: float) -> None:
    true = 6.0
    steps = true / 3600 * 2 * np.arange(240)
    found = [slope([life(LEVEL + steps + restless(n, alike=alike))]) for n in range(200)]
    hits = sum(each.low <= true <= each.high for each in found) / len(found)
    # Binomially 0.95 give or take 0.05; an r that is estimated comes out a little small.
    assert hits >= (0.85 if alike > 0.8 else 0.9)


def test_without_regard_to_neighbours_the_interval_would_be_too_narrow() -> None:
    found = [life(LEVEL + restless(n, alike=0.9)) for n in range(100)]
    held = {"ours": 0, "plain": 0}
    for each in found:
        ours, plain = slope([each]), linregress(*each)
        held["ours"] += ours.low <= 0 <= ours.high
        held["plain"] += abs(plain.slope) <= plain.stderr * student.ppf(0.975, 238)
    assert held["plain"] < 60 < 80 < held["ours"]


def test_a_count_that_never_moves_is_flat_and_one_step_is_not_hidden() -> None:
    still = slope([life([31.0] * 50), life([30.0] * 50, 200)])
    assert (still.low, still.high) == (0, 0)
    assert still.verdict(SHARE) == FLAT
    # A descriptor in each half minute: 120 in an hour.
    leak = slope([life(31 + np.arange(100) // 15)])
    assert leak.verdict(SHARE) == GROWS


@pytest.mark.parametrize("lives", [[], [life([])], [life([1.0])], [life([1.0, 2.0])]])
def test_what_is_too_short_says_nothing(lives: list[tuple[np.ndarray, np.ndarray]]) -> None:
    found = slope(lives)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.verdict(SHARE) == UNCLEAR
    assert json.loads(json.dumps(told(found, SHARE)))["high"] is None


def test_verdicts() -> None:
    def of(low: float, high: float) -> str:
        return Slope(LEVEL, (low + high) / 2, low, high, 100).verdict(SHARE)

    assert of(-500, -300) == FLAT  # it shrinks: no leak
    assert of(-10, 40) == FLAT  # 40 is a tenth of 400
    assert of(5, 40) == FLAT  # it grows, and by less than matters
    assert of(5, 41) == GROWS
    assert of(-1, 41) == UNCLEAR


# --- lives of processes ---------------------------------------------------------------------


def lived(name: str, number: int, began: float, values: Any, **others: Any) -> Life:
    fields = {"threads": 30, "files": 60, **others}
    at, memory = life(values, began)
    counts = {each: np.broadcast_to(value, len(at)) for each, value in fields.items()}
    made = Life(name, number, 1, began)
    made.samples = [
        Sample(float(at[n]), float(memory[n]), int(counts["threads"][n]), int(counts["files"][n]))
        for n in range(len(at))
    ]
    return made


def hour(leak: float = 0.0, left_over: float = 0.0, **others: Any) -> list[Life]:
    """Six lives of three workers, one of a trainer; MB an hour, and MB from life to life."""
    steps = np.arange(300) * 2 / 3600
    lives = [
        lived(
            f"worker-{worker}",
            number + 1,
            600.0 * number,
            LEVEL
            + leak * steps
            + left_over * number
            + restless(10 * worker + number, 300, alike=0.7),
            **others,
        )
        for worker in range(3)
        for number in range(6)
    ]
    steady = 300 + restless(99, 1800, alike=0.7)
    return [lived("trainer", 1, 0.0, steady), *lives]


WORKERS = [f"worker-{number}" for number in range(3)]


def verdicts(lives: list[Life], measure: str = "memory_mb") -> dict[str, str]:
    result = growth(lives, WORKERS, since=0.0, settle=120.0, share=SHARE)
    named = {**result["processes"], "across": result["across"]}
    return {name: each[measure]["verdict"] for name, each in named.items() if each}


def test_an_hour_of_noise_is_flat() -> None:
    for measure in MEASURES:
        assert set(verdicts(hour(), measure).values()) == {FLAT}


def test_a_leak_is_found_though_restarts_hide_it() -> None:
    # 60 MB an hour are 10 in a life; then it begins anew.
    found = verdicts(hour(leak=60))
    assert {found[name] for name in WORKERS} == {GROWS}
    assert found["trainer"] == found["across"] == FLAT


def test_what_each_life_leaves_to_the_next_is_found_though_lives_are_flat() -> None:
    found = verdicts(hour(left_over=10))
    assert {found[name] for name in (*WORKERS, "trainer")} == {FLAT}
    assert found["across"] == GROWS


def test_the_first_lives_are_not_compared_with_the_others() -> None:
    lives = hour(left_over=10)
    for each in lives:
        if each.number == 1 and each.name != "trainer":
            each.samples = [now._replace(memory_mb=now.memory_mb + 200) for now in each.samples]
    assert verdicts(lives)["across"] == GROWS
    # One life to compare is none: it must not pass for flat.
    assert verdicts([each for each in lives if each.number <= 2])["across"] == UNCLEAR


def test_a_leak_of_descriptors_is_found() -> None:
    found = verdicts(hour(files=60 + np.arange(300) // 100), "files")
    assert {found[name] for name in WORKERS} == {GROWS}


def test_the_start_of_a_life_has_no_part_in_it() -> None:
    starting = np.concatenate([np.linspace(50, LEVEL, 60), np.full(240, LEVEL)])
    lives = [lived(name, 1, 0.0, starting) for name in WORKERS]
    assert {verdicts(lives)[name] for name in WORKERS} == {FLAT}
    assert growth(lives, WORKERS, 0.0, 120.0, SHARE)["across"] == {}
    early = growth(lives, WORKERS, since=0.0, settle=0.0, share=SHARE)["processes"]
    assert early["worker-0"]["memory_mb"]["verdict"] != FLAT


def test_across_takes_the_middle_and_the_mean_of_each_life() -> None:
    assert across([([0, 2, 4], [1, 2, 3]), ([], []), ([10, 20], [5, 7])]) == ([2, 15], [2, 6])


GROWING = """
import threading
print(flush=True)
input()
files = [open("/dev/null") for _ in range(5)]
threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
print(flush=True)
input()
"""


def test_a_process_is_seen_with_its_threads_and_files() -> None:
    """One of its own: clients that other tests have closed let go of sockets a little later."""
    seen = []
    command = [sys.executable, "-c", GROWING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
            seen.append(sample(process.pid))
            process.stdin.write(b"\n")
            process.stdin.flush()
    before, after = seen
    assert before is not None
    assert after is not None
    assert after.threads - before.threads == 3
    assert after.files - before.files == 5
    assert after.memory_mb > 1
    assert sample(2**22 + 1) is None


def test_the_watcher_tells_lives_of_a_name_apart() -> None:
    with Watcher(0.01) as watcher:
        first = watcher.begin("w", os.getpid())
        deadline = threading.Event()
        while not first.samples and not deadline.wait(0.01):
            pass
        watcher.end("w")
        seen = len(first.samples)
        second = watcher.begin("w", os.getpid())
        while not second.samples and not deadline.wait(0.01):
            pass
    assert len(first.samples) == seen
    assert [each.number for each in watcher.of("w")] == [1, 2]


# --- the load and its account ---------------------------------------------------------------


def produced() -> tuple[Stream, list[tuple[bytes, bytes]]]:
    stream = Stream(20)
    return stream, [*stream.each_user(2), *islice(stream, 5000)]


def test_the_stream_knows_what_it_gave() -> None:
    stream, pairs = produced()
    events = [json.loads(value) for key, value in pairs if key != NOBODY]
    ids = [event["event_id"] for event in events]
    assert len(pairs) == stream.records
    assert len(set(ids)) == stream.events.total()
    assert len(ids) - len(set(ids)) == stream.repeats.total() > 0
    assert len(pairs) - len(events) == stream.refused > 0
    assert {event["user_id"] for event in events[:20]} == {f"user-{n}" for n in range(20)}
    assert len({event["text"] for event in events}) > 0.9 * len(set(ids))


def test_the_account_finds_what_is_lost_and_what_came_twice() -> None:
    stream, _ = produced()
    right = {user: (count, stream.repeats[user]) for user, count in stream.events.items()}
    good = account(stream, right, stream.refused)
    assert (good.lost, good.doubled) == (0, 0)
    events, repeats = right["user-3"]
    for profiles, letters, lost, doubled in (
        ({**right, "user-3": (events - 2, repeats)}, stream.refused, 2, 0),
        ({**right, "user-3": (events + 1, repeats)}, stream.refused, 0, 1),
        (
            {name: each for name, each in right.items() if name != "user-3"},
            stream.refused,
            events + repeats,
            0,
        ),
        ({**right, "stranger": (1, 0)}, stream.refused, 0, 1),
        (right, stream.refused - 1, 1, 0),
        (right, stream.refused + 2, 0, 2),
    ):
        found = account(stream, profiles, letters)
        assert (found.lost, found.doubled) == (lost, doubled)


# --- the processes --------------------------------------------------------------------------


class _Child:
    """A process as `Group` sees it; notes what is done, in order."""

    did: ClassVar[list[str]] = []
    codes: ClassVar[dict[str, int]] = {}
    rebalances: ClassVar[Counter[str]] = Counter()
    pid = 2**22 + 1

    def __init__(
        self, name: str, arguments: list[str], settings: Settings, folder: Path, module: str
    ) -> None:
        self.name, self.settings = name, settings
        self.did.append(f"{arguments[0]} {name} as {settings.kafka.instance_id}")

    def check(self) -> None: ...

    def ready(self) -> bool:
        return True

    def metrics(self) -> Counter[str]:
        return Counter({"segmenter_rebalances_total": self.rebalances[self.name]})

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.did.append(f"stop {self.name}")
        if self.name == "worker-1-1":
            self.rebalances["worker-0-1"] += 2
        return self.codes.get(self.name, 0)


def test_workers_are_restarted_one_by_one_the_last_first_under_their_own_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.soaking.group.Child", _Child)
    for kept in (_Child.did, _Child.codes, _Child.rebalances):
        kept.clear()
    _Child.codes["worker-0-1"] = 3
    watcher = Watcher(60)
    group = Group(Settings(), tmp_path, tmp_path, "module", watcher)
    group.start(2)
    assert _Child.did == [
        "trainer trainer-1 as trainer",
        "worker worker-0-1 as worker-0",
        "worker worker-1-1 as worker-1",
    ]
    _Child.did.clear()
    group.roll()
    assert _Child.did == [
        "stop worker-1-1",
        "worker worker-1-2 as worker-1",
        "stop worker-0-1",
        "worker worker-0-2 as worker-0",
    ]
    assert group.exits == ["worker-0-1 ended with exit code 3"]
    assert group.rebalances == 2
    assert [life.number for life in watcher.of("worker-0")] == [1, 2]
    folders = {child.settings.restore.checkpoint_dir for child in group.children.values()}
    assert len(folders) == 3
    _Child.did.clear()
    group.scale(4)
    assert _Child.did == ["worker worker-2-1 as worker-2", "worker worker-3-1 as worker-3"]
    _Child.did.clear()
    group.scale(1)
    assert sorted(_Child.did) == ["stop worker-1-2", "stop worker-2-1", "stop worker-3-1"]
    assert group.workers == ["worker-0"]
    assert set(group.children) == {"trainer", "worker-0"}
    group.close()
    assert group.children == {}


# --- the run's plan, and what is told of it -------------------------------------------------


def test_workers_are_restarted_between_and_not_at_the_end() -> None:
    due = due_times(Options(minutes=60, restart_minutes=10), 1000.0)
    assert [each.at - 1000 for each in due if each.restart] == [600, 1200, 1800, 2400, 3000]
    assert due[-1] == (1000 + 3600, False)
    assert not any(each.restart for each in due_times(Options(minutes=5, restart_minutes=5), 0.0))


def test_latencies_of_a_restart_are_told_apart() -> None:
    calm = [(float(at), 0.1) for at in range(100)]
    slow = [(49.5, 3.0), (50.5, 2.0), (52.5, 0.4)]  # before, amid, and from the end of it on
    found = latency([*calm, *slow], [(50.0, 53.0)])
    assert found["outside"] == {"p50_ms": 100, "p99_ms": 100}
    assert found["restarting"]["p99_ms"] > 2000
    assert found["longest_ms"] == 3000
    assert len(found["between_restarts"]) == 2
    assert latency([(0.0, 0.1)], [])["restarting"] is None


def result(**changes: Any) -> dict[str, Any]:
    grown = growth([lived("broker", 1, 0, np.arange(300.0)), *hour()], WORKERS, 0.0, 120.0, SHARE)
    return {
        "options": {"workers": 3, "share": SHARE},
        "capacity": 100.0,
        "rate": 50.0,
        "events": 1000,
        "repeats": 10,
        "refused": 2,
        "changes": 40,
        "lost": 0,
        "doubled": 0,
        "wrong": [],
        "latency": latency([(0.0, 0.1)], []),
        "restarts": 5,
        "rebalances_of_others": 0.0,
        "longest_stall_seconds": 4.0,
        **grown,
        **changes,
    }


def test_a_soak_fails_by_what_grows_and_by_what_is_lost_and_not_by_its_broker() -> None:
    assert result()["processes"]["broker"]["memory_mb"]["verdict"] == GROWS
    assert failures(result()) == []
    grown = growth(hour(leak=60), WORKERS, 0.0, 120.0, SHARE)
    assert failures(result(**grown))[0] == "worker-0: memory, MB: grows"
    said = failures(result(lost=3, doubled=1, wrong=["worker-1-2 ended with exit code 3"]))
    assert said == ["3 lost", "1 doubled", "worker-1-2 ended with exit code 3"]


def test_the_report_has_all_processes_and_survives_json() -> None:
    text = report(json.loads(json.dumps(result())))
    assert "at 50 a second, 50% of the capacity: 0 lost, 0 doubled" in text
    assert "100 and 100 ms; of events under way in a restart none" in text
    assert text.count("| memory, MB |") == 6
    assert "at 50 a second: 0 lost" in report(result(capacity=None))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--minutes", "0"], "--minutes is 0.0: must be above 0"),
        (["--restart-minutes", "inf"], "--restart-minutes is inf"),
        (["--rate", "-1"], "--rate is -1.0"),
        (["--users", "2"], "--users is 2: fewer than the 3 workers"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_trial_does_not_take_the_place_of_a_whole_soak(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "soak.json"
    monkeypatch.setattr(soak, "OUTPUT", output)
    keep(output, Options(minutes=6), {"lost": 0}, stand_in=False)
    keep(output, Options(), {"lost": 0}, stand_in=True)
    assert not output.exists()
    keep(tmp_path / "trial.json", Options(minutes=6), {"lost": 0}, stand_in=True)
    assert (tmp_path / "trial.json").exists()
    keep(output, Options(), {"lost": 0}, stand_in=False)
    assert output.exists()


def test_the_page_has_the_table_of_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    write_page(page, {"soak": report(read(RESULTS / "soak.json"))})
    assert page.read_text() == PAGE.read_text()


def test_rendering_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- soak: begin -->\n<!-- soak: end -->\n")
    monkeypatch.setattr(soak, "PAGE", page)
    monkeypatch.setattr(soak, "measure", None)
    assert main(["--render"]) == 0
    assert "0 lost, 0 doubled" in page.read_text()
