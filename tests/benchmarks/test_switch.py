"""Another model for a group at work: the settings of its steps, the table, and what fails a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import switch
from benchmarks.shared import RESULTS, read, write_page
from benchmarks.soaking.watching import Sample, Watcher
from benchmarks.switch import (
    CHANGES,
    PAGE,
    Options,
    failures,
    main,
    most,
    parse,
    settings_for,
    text,
)


@pytest.mark.parametrize("name", CHANGES)
def test_a_group_has_one_model_then_both_then_the_other(name: str) -> None:
    before, both, after = settings_for("localhost:9092", name, Options())
    assert before.embedding.former.model is after.embedding.former.model is None
    for own, other in ((both.embedding.of_former(), before), (both.embedding, after)):
        assert (own.model, own.engine) == (other.embedding.model, other.embedding.engine)
    assert before.topics == both.topics == after.topics
    assert before.kafka.group_id == after.kafka.group_id


def test_memory_is_that_of_whoever_runs_now_since_the_step_began() -> None:
    watcher, now = Watcher(60), time.monotonic()
    for worker, samples in (("w0", (400.0, 90.0)), ("w0", (80.0, 120.0)), ("w1", (110.0,))):
        life = watcher.begin(worker, 1)
        life.samples += [Sample(now + at, mb, 1, 1) for at, mb in enumerate(samples)]
    assert most(watcher, ["w0", "w1"], now) == 120.0
    assert most(watcher, ["w0", "w1"], now + 2) == most(watcher, ["command"], now) == 0.0


def result(**changes: Any) -> dict[str, Any]:
    step = {"title": "gone over", "seconds": 61.4, "longest_pause_seconds": 2.26}
    memory = {"worker_mb": 512.0, "command_mb": 0.0}
    group = {
        "title": "one to the other",
        "steps": [{**step, **memory}, {**step, **memory, "command_mb": 1300.0}],
        "events": 1234,
        "lost": 0,
        "doubled": 0,
        "wrong": [],
    }
    options = {"rate": 10.0, "users": 100, "partitions": 6, "workers": 2, "events": 5}
    return {"options": options, "groups": [group | changes]}


def test_the_table_has_each_step() -> None:
    lines = text(result()).splitlines()
    assert lines[2] == "| one to the other | gone over | 61 | 2.3 | 512 |  | 0 | 0 |"
    assert lines[3] == "| one to the other | gone over | 61 | 2.3 | 512 | 1,300 | 0 | 0 |"
    assert "1,234 events of 100 users in 1 groups of 2 workers" in lines[-1]


def test_a_run_fails_by_what_is_lost() -> None:
    assert failures(result()) == []
    said = failures(result(doubled=2, wrong=["worker-1-2 ended with exit code 3"]))
    assert said == [
        "one to the other: 2 doubled",
        "one to the other: worker-1-2 ended with exit code 3",
    ]


def test_the_page_has_the_table_of_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(page, {"switch": text(read(RESULTS / "switch.json"))})
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_a_trial_does_not_take_the_place_of_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "switch.json"
    monkeypatch.setattr(switch, "OUTPUT", output)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(switch, "measure", lambda *_: result())
    assert main(["--only", "engine", "--output", str(output)]) == 0
    assert not output.exists()
    assert main(["--output", str(output)]) == 0
    assert output.exists()
    monkeypatch.setattr(switch, "measure", lambda *_: result(lost=1))
    assert main(["--output", str(tmp_path / "other.json")]) == 1
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--rate", "0"], "--rate is 0.0: must be above 0"),
        (["--partitions", "5"], "--partitions is 5: no multiple of 2 workers"),
        (["--only", "both"], "invalid choice: 'both'"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
