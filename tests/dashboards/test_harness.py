"""The harness itself: what it takes for data, and what it says when it cannot run."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from consumer.tryout.demo.generate import StreamRecord
from tests.dashboards import promql, run, schema
from tests.dashboards.contents import load_boards, panels_of
from tests.dashboards.group import paced
from tests.dashboards.judge import Finding, StrayReasonError, judge, missing
from tests.dashboards.may_be_empty import MAY_BE_EMPTY
from tests.dashboards.picture import written
from tests.dashboards.server import with_numbers
from tests.dashboards.tools import ToolsError, find_tools


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5, "s", "0.5 s"),
        (28_563_051, "s", "331 days"),
        (7_300, "s", "2.03 h"),
        (0.42, "percentunit", "42%"),
        (0.0042, "percentunit", "0.42%"),
        (12 * 2**20, "bytes", "12 MiB"),
        (6.5, "cps", "6.5/s"),
        (1_234, "short", "1,234"),
        (math.nan, "s", "no data"),
    ],
)
def test_numbers_of_pictures_have_their_units(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("up", {"up"}),
        ('sum by (job) (rate(a_total{job="x", path="{b}"}[5m]))', {"a_total"}),
        ("max(a / b) by (le) and on (job, instance) c offset 5m > 0.5", {"a", "b", "c"}),
        ("a * on (i) group_left (role) group by (i, role) (info)", {"a", "info"}),
        ("histogram_quantile(0.95, sum by (le) (rate(h_bucket[$__rate_interval])))", {"h_bucket"}),
        ('job:a:sum unless job:b:rate5m{x!="by"} > 1e3', {"job:a:sum", "job:b:rate5m"}),
        ('label_replace(a, "by", "$1", "c", "(.*)")', {"a"}),
    ],
)
def test_the_metrics_of_a_query_are_found(expr: str, expected: set[str]) -> None:
    assert promql.metric_names(expr) == expected


def test_selectors_keep_their_labels() -> None:
    expr = 'sum(a{x="1"}) - min(a{x="2"}) > a'
    assert promql.selectors(expr) == [("a", 'a{x="1"}'), ("a", 'a{x="2"}'), ("a", "a")]


def test_variables_are_replaced_in_each_of_grafanas_ways_and_unknown_ones_refused() -> None:
    values = {"job": ".+", "__interval": "1s"}
    text = 'a{job=~"$job", b="${job}", c="${job:regex}", d="[[job]]"}[$__interval]'
    assert promql.substituted(text, values) == 'a{job=~".+", b=".+", c=".+", d=".+"}[1s]'
    with pytest.raises(promql.UnknownVariableError, match="jab"):
        promql.substituted("$jab", values)


def test_label_values_are_taken_apart() -> None:
    assert promql.label_values('label_values(a{b="c, d"}, e)') == ('a{b="c, d"}', "e")
    with pytest.raises(ValueError, match="label_values"):
        promql.label_values("query_result(a)")


def test_a_series_that_is_no_number_at_any_time_is_no_data() -> None:
    moment = [{"value": [0, "NaN"]}, {"value": [0, "0"]}, {"value": [0, "+Inf"]}]
    assert with_numbers(moment) == moment[1:]
    times = [{"values": [[0, "NaN"], [1, "2"]]}, {"values": [[0, "NaN"]]}]
    assert with_numbers(times) == times[:1]
    assert math.isnan(float("NaN"))


class Answers:
    """A Prometheus with one series for everything but what is named."""

    def __init__(self, *empty: str, health: str = "ok") -> None:
        self.empty = empty
        self.health = health

    def at_once(self, expr: str) -> list[dict[str, Any]]:
        empty = any(name in expr for name in self.empty) and "or vector(" not in expr
        return [] if empty else [{}]

    over_time = at_once

    def label_values(self, series: str, label: str) -> list[str]:
        return ["one", "two"] if self.at_once(f"{series} {label}") else []

    def rules(self) -> list[dict[str, Any]]:
        rule = {"health": self.health, "lastError": "", "query": 'b{x="1"} > 0'}
        return [
            {**rule, "name": "a:b:c", "type": "recording"},
            {**rule, "name": "Alarm", "type": "alerting"},
        ]


def wrong(prometheus: Answers) -> list[str]:
    findings = judge(prometheus, load_boards())
    return [finding.place for finding in missing(findings, MAY_BE_EMPTY)]


def test_all_is_well_when_everything_has_data_but_what_may_be_empty() -> None:
    assert wrong(Answers("ALERTS", "namespace)")) == []


def test_a_query_without_data_is_wrong_whoever_asks_it() -> None:
    assert wrong(Answers("segmenter_drift_churn_ratio")) == ["drift: panel 'Churn' A"]
    assert wrong(Answers("a:b:c")) == ["rule a:b:c"]
    assert wrong(Answers('b{x="1"}')) == ['rule Alarm: b{x="1"}']
    assert wrong(Answers("segmenter_settled")) == ["operations: panel 'Taking up a version' A"]


def test_a_panel_is_asked_for_each_value_that_it_is_repeated_for() -> None:
    assert wrong(Answers('segmenter_drift_threshold{namespace=~".*", job=~".*", test="two"}')) == [
        "drift: panel 'Drift: $test' B for two"
    ]
    silent = Answers("segmenter_drift_statistic")
    assert {"drift: variable test", "drift: panel 'Drift: $test' A"} <= set(wrong(silent))


def test_a_rule_that_prometheus_cannot_evaluate_is_wrong() -> None:
    assert wrong(Answers(health="err")) == ["rule a:b:c", "rule Alarm"]


def test_each_panel_is_a_value_of_grafanas_types_in_what_the_schema_is_asked() -> None:
    boards = load_boards()
    text = schema.typescript(boards)
    panels = [panel for board in boards.values() for panel in panels_of(board)]
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert text.count(".Options> = ") == len(shown)
    assert all(f"// {panel['title']}\n" in text for panel in shown)
    assert text.count("Plain<Dashboard> = ") == len(boards)


def test_a_reason_for_a_query_that_is_gone_is_refused() -> None:
    with pytest.raises(StrayReasonError, match="gone"):
        missing([Finding("here", "a", 1)], {"gone": "once there was one"})


def test_an_error_is_wrong_even_where_no_data_would_do() -> None:
    failed = Finding("here", "a", 0, "parse error")
    assert missing([failed], {"here": "it may be empty"}) == [failed]


def test_the_report_names_what_has_no_data() -> None:
    findings = [Finding("panel 'A' A", "a", 2), Finding("panel 'B' A", "b", 0)]
    text = run.report(findings, findings[1:], ["x: refused"], ["SegmenterDrift"])
    assert "NO DATA: panel 'B' A: b\n" in text
    assert "NOT SCRAPED: x: refused\n" in text
    assert "alert that is pending or fires: SegmenterDrift\n" in text
    assert text.endswith("1 of 2 queries are wrong\n")


def test_a_paced_stream_is_the_same_stream_until_it_is_stopped() -> None:
    stopped = threading.Event()
    records = [StreamRecord(None, b"{}", number) for number in range(5)]
    assert list(paced(records, 1e6, stopped)) == records
    stopped.set()
    assert list(paced(records, 1e-6, stopped)) == []


# --- how Prometheus is had ----------------------------------------------------------------------


def program(folder: Path, name: str, script: str = "exit 0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A path with no program on it but a shell's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_programs_on_the_path_are_taken(bare: Path, tmp_path: Path) -> None:
    expected = [program(bare, name) for name in ("prometheus", "promtool")]
    tools = find_tools(cache=tmp_path / "cache")
    assert [tools.prometheus, tools.promtool] == expected
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_is_named_must_hold_them(tmp_path: Path) -> None:
    program(tmp_path, "prometheus")
    with pytest.raises(ToolsError, match="does not hold"):
        find_tools(tmp_path)
    program(tmp_path, "promtool")
    assert find_tools(tmp_path).promtool == tmp_path / "promtool"


def test_without_apt_it_is_said_what_to_do(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGMENTER_CACHE", str(tmp_path / "cache"))
    assert run.main(["--rules-only"]) == 2
    said = capsys.readouterr().err
    assert "no apt-get" in said
    assert "--prometheus" in said


def test_the_package_is_fetched_once_and_only_its_programs_are_kept(
    bare: Path, tmp_path: Path
) -> None:
    system = os.defpath
    download = f"PATH={system}; echo $* >> {tmp_path}/calls; touch prometheus_2_amd64.deb"
    program(bare, "apt-get", download)
    unpack = (
        f"PATH={system}; mkdir -p $3/usr/bin $3/etc; cd $3/usr/bin; "
        "touch prometheus promtool; chmod +x *"
    )
    program(bare, "dpkg", unpack)
    cache = tmp_path / "cache"
    for _ in range(2):
        tools = find_tools(cache=cache)
        assert tools.prometheus == cache / "prometheus" / "prometheus"
    assert sorted(path.name for path in (cache / "prometheus").iterdir()) == [
        "prometheus",
        "promtool",
    ]
    assert [path.name for path in cache.iterdir()] == ["prometheus"]
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.endswith("download prometheus")


def test_what_apt_says_is_told(bare: Path, tmp_path: Path) -> None:
    program(bare, "apt-get", "echo 'E: Unable to locate package prometheus' >&2; exit 100")
    program(bare, "dpkg")
    with pytest.raises(ToolsError, match=r"Unable to locate.*apt-get update"):
        find_tools(cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_rules_that_promtool_refuses_end_with_1(tmp_path: Path) -> None:
    program(tmp_path, "prometheus")
    program(tmp_path, "promtool", "exit 1")
    assert run.main(["--rules-only", "--prometheus", str(tmp_path)]) == 1
    program(tmp_path, "promtool")
    assert run.main(["--rules-only", "--prometheus", str(tmp_path)]) == 0
