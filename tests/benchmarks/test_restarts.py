"""Restarts and scaling as a StatefulSet does them: a small run, and the count of rebalances."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from benchmarks import restarts
from benchmarks.restarts import (
    PAGE,
    Options,
    Plan,
    Step,
    broker_properties,
    failures,
    main,
    of_group,
    parse,
    plans,
    settings_for,
    text,
    told,
)
from benchmarks.shared import RESULTS, read, write_page
from benchmarks.soaking.generations import Generation, of_records, rebalances
from benchmarks.soaking.group import Group
from consumer.contract.records import Record
from consumer.tryout.broker import EmbeddedKafka


def noted(key: bytes | None, value: bytes | None, at: int = 1000) -> Record:
    return Record("__consumer_offsets", 0, 0, at, key, value)


def key(kind: int, group: str) -> bytes:
    return struct.pack(">hh", kind, len(group)) + group.encode()


def classic(number: int, version: int = 3) -> bytes:
    return struct.pack(">hh8si", version, 8, b"consumer", number) + b"\x00\x12range..."


def epoch(number: int) -> bytes:
    return struct.pack(">hi", 0, number) + b"\x00"


def test_the_numbers_of_a_group_are_found_among_all_that_coordinators_keep() -> None:
    found = of_records(
        [
            noted(None, b""),
            noted(key(2, "g"), classic(1), 1000),
            noted(key(2, "other"), classic(9), 1500),
            noted(key(1, "g"), classic(8), 1600),  # an offset
            noted(key(2, "g"), classic(2), 2500),
            noted(key(2, "g"), None, 3000),
            noted(key(3, "g"), epoch(7), 4000),
            noted(key(5, "g"), epoch(6), 5000),  # a member
        ],
        "g",
    )
    assert found == [Generation(1.0, 1), Generation(2.5, 2), Generation(4.0, 7)]
    assert [rebalances(found, 0, 1), rebalances(found, 1, 2), rebalances(found, 1, 9)] == [1, 0, 6]
    with pytest.raises(ValueError, match="version 4, which is new"):
        of_records([noted(key(2, "g"), classic(1, version=4))], "g")


def test_steps_count_what_follows_them_before_the_next_one() -> None:
    steps = [Step("a", 10.0, 12.0, 1.04), Step("b", 14.0, 15.0, 0.5)]
    found = [Generation(at, number) for number, at in enumerate((9, 11, 13, 14.5, 30), start=1)]
    assert told(steps, found) == [
        {"title": "a", "seconds": 2.0, "longest_pause_seconds": 1.0, "rebalances": 2},
        {"title": "b", "seconds": 1.0, "longest_pause_seconds": 0.5, "rebalances": 1},
    ]


def test_a_worker_that_comes_is_a_rebalance_and_one_that_is_restarted_is_none(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    options = Options(rate=100.0, users=60, partitions=2, session_seconds=60.0)
    settings = settings_for(broker.bootstrap_servers, options, "classic", 1)
    plan: Plan = [("1 to 2", lambda group: group.scale(2)), ("rolling restart", Group.roll)]
    found = of_group(settings, options, (1, plan), tmp_path, tmp_path / "logs", "benchmarks.worker")
    come, rolled = found["steps"]
    assert (found["lost"], found["doubled"], found["wrong"]) == (0, 0, [])
    assert come["rebalances"] > 0
    assert rolled["rebalances"] == found["rebalances_of_others"] == 0
    assert rolled["longest_pause_seconds"] > 0


def result(**changes: Any) -> dict[str, Any]:
    step = {"seconds": 12.0, "longest_pause_seconds": 3.25, "rebalances": 0}
    group = {
        "protocol": "classic",
        "workers": 3,
        "steps": [
            {"title": "rolling restart", **step},
            {"title": "rolling restart", **step, "seconds": 31.0},
            {"title": "2 to 4 workers", **step, "rebalances": 2},
        ],
        "events": 1234,
        "lost": 0,
        "doubled": 0,
        "wrong": [],
    }
    options = {"rate": 60.0, "users": 1000, "partitions": 12, "session_seconds": 45}
    return {"options": options, "groups": [group | changes]}


def test_the_table_has_each_kind_of_step_at_its_worst() -> None:
    lines = text(json.loads(json.dumps(result()))).splitlines()
    assert lines[2] == "| classic | rolling restart | 2 | 31 | 3.2 | 0 | 0 | 0 |"
    assert lines[3] == "| classic | 2 to 4 workers | 1 | 12 | 3.2 | 2 | 0 | 0 |"
    assert "1,234 events at 60 a second" in lines[-1]


def test_a_run_fails_by_what_is_lost_and_by_a_restart_that_rebalances() -> None:
    assert failures(result()) == []
    said = failures(result(lost=2, wrong=["worker-1-2 ended with exit code 3"]))
    assert said == [
        "classic, 3 workers: 2 lost",
        "classic, 3 workers: worker-1-2 ended with exit code 3",
    ]
    rolled = [{**each, "rebalances": 1} for each in result()["groups"][0]["steps"]]
    assert failures(result(steps=rolled)) == ["classic: 2 rebalances by rolling restarts"]


def test_the_page_has_the_table_of_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    write_page(page, {"restarts": text(read(RESULTS / "restarts.json"))})
    assert page.read_text() == PAGE.read_text()


def test_a_trial_does_not_take_the_place_of_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = tmp_path / "restarts.json"
    monkeypatch.setattr(restarts, "OUTPUT", output)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(restarts, "measure", lambda *_, **__: result())
    assert main(["--stand-in", "--output", str(output)]) == 0
    assert main(["--protocols", "classic", "--output", str(output)]) == 0
    assert not output.exists()
    assert main(["--output", str(output)]) == 0
    assert output.exists()
    monkeypatch.setattr(restarts, "measure", lambda *_, **__: result(lost=1))
    assert main(["--output", str(tmp_path / "other.json")]) == 1
    assert not (tmp_path / "other.json").exists()


def test_the_plan_and_the_session_are_those_of_the_deployment() -> None:
    options = Options()
    (rolled, rolls), (scaled, scales) = plans(options)
    assert (rolled, [title for title, _ in rolls]) == (3, ["rolling restart"] * 3)
    assert (scaled, [title for title, _ in scales]) == (2, ["2 to 4 workers", "4 to 2 workers"])
    assert options.session_seconds == 45
    assert broker_properties(options)["group.consumer.session.timeout.ms"] == "45000"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--rounds", "0"], "--rounds is 0: must be above 0"),
        (["--partitions", "8"], "--partitions is 8: no multiple of 3 workers"),
        (["--protocols", "eager"], "invalid choice: 'eager'"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
