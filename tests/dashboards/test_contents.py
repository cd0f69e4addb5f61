"""The dashboards and the rules as files: whole, told in words, and of metrics that exist."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import Any

import pytest
import yaml

from consumer.telemetry.table import METRICS
from deploy.grafana import boards
from tests.dashboards import promql
from tests.dashboards.contents import (
    DEPLOY,
    RULES_TEST,
    load_boards,
    load_rules,
    panels_of,
    queries_of,
    variables_of,
)
from tests.dashboards.judge import BUILT_IN
from tests.dashboards.scaling import CASES, evaluated, scaled_object

ROOT = DEPLOY.parent
BOARDS = load_boards()
# In the place of which a deployer puts where the pages are read.
DOCS = "https://docs.example.com/"
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Of Grafana's units those that are in use; a misspelt one would be shown behind the number.
UNITS = {"none", "short", "percentunit", "s", "eps", "cps", "ops", "bytes"}
# Prometheus makes the first itself, its client the others.
OWN = {
    "ALERTS",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
}
LEVEL = re.compile(r"[a-z_]+:segmenter_[a-z0-9_]+:[a-z0-9_]+")


@pytest.fixture(scope="module", params=sorted(BOARDS))
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    return BOARDS[request.param]


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    return load_rules()


@pytest.fixture(scope="module")
def known(rules: list[dict[str, Any]]) -> set[str]:
    """Names of all series that there can be."""
    told = {metric.full_name for metric in METRICS.values()}
    of_histograms = {
        f"{metric.full_name}_{suffix}"
        for metric in METRICS.values()
        if metric.type == "histogram"
        for suffix in ("bucket", "count", "sum")
    }
    return told | of_histograms | {rule["record"] for rule in rules if "record" in rule} | OWN


def data_panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in panels_of(board) if panel["type"] != "row"]


# --- the dashboards -----------------------------------------------------------------------------


@pytest.mark.parametrize("description", boards.descriptions(), ids=lambda path: path.stem)
def test_a_dashboard_is_what_its_description_makes(description):
    written = boards.target_of(description).read_text(encoding="utf-8")
    assert written == boards.text_of(description), "run `make docs`"


def test_each_dashboard_is_described_and_deployed():
    files = {path.name for path in boards.HERE.glob("*.json")}
    assert files == {boards.target_of(each).name for each in boards.descriptions()}
    component = yaml.safe_load((boards.HERE / "kustomization.yaml").read_text(encoding="utf-8"))
    deployed = [name for each in component["configMapGenerator"] for name in each["files"]]
    assert sorted(deployed) == sorted(files)


def test_a_description_with_a_word_that_means_nothing_is_refused():
    told = {"title": "Lag", "about": "Of records.", "unit": "s", "queries": ["a{@}"]}
    around = {"about": "It.", "range": "6h", "annotations": [], "rows": []}
    row = {"title": "A row", "panels": [told | {"stakced": True}]}
    with pytest.raises(ValueError, match=r"'Lag'.*stakced"):
        boards.board_of("x", around | {"rows": [row]})
    with pytest.raises(ValueError, match=r"'Lag'.*gauge"):
        boards.board_of(
            "x", around | {"rows": [{"title": "A row", "panels": [told | {"kind": "gauge"}]}]}
        )


def test_each_panel_says_what_it_shows_and_in_what_unit(board):
    for panel in data_panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]


def test_panels_have_ids_and_places_of_their_own(board):
    panels = list(panels_of(board))
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_titles_tell_panels_apart(board):
    titles = Counter(panel["title"] for panel in panels_of(board))
    assert titles == Counter(set(titles))
    for panel in data_panels(board):
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_the_data_source_is_chosen_in_the_dashboard_and_nowhere_fixed(board):
    asking = [
        *data_panels(board),
        *(target for panel in data_panels(board) for target in panel["targets"]),
        *board["annotations"]["list"],
        *(v for v in board["templating"]["list"] if v["type"] == "query"),
    ]
    assert all(each["datasource"] == DATA_SOURCE for each in asking)
    (source,) = (v for v in board["templating"]["list"] if v["type"] == "datasource")
    assert (source["name"], source["query"]) == ("datasource", "prometheus")


def test_each_query_keeps_to_the_chosen_group(board):
    for query in queries_of(board):
        for _, selector in promql.selectors(query.expr):
            assert 'namespace=~"$namespace"' in selector, query
            assert 'job=~"$job"' in selector, query


def test_queries_name_variables_that_there_are(board):
    names = {variable["name"] for variable in board["templating"]["list"]} | set(BUILT_IN)
    texts = [query.expr for query in queries_of(board)]
    texts += [panel["title"] for panel in panels_of(board)]
    texts += [query for _, query in variables_of(board)]
    assert {name for text in texts for name in promql.variables(text)} <= names
    repeats = {panel["repeat"] for panel in panels_of(board) if "repeat" in panel}
    assert repeats <= {name for name, _ in variables_of(board)}


def test_the_dashboard_is_one_that_grafana_takes_as_it_is(board):
    assert board["id"] is None
    assert BOARDS[board["uid"].removeprefix("segmenter-")] is board
    assert board["schemaVersion"] == 42


def test_metrics_of_the_dashboard_exist(board, known):
    asked = {query.place: promql.metric_names(query.expr) for query in queries_of(board)}
    for name, query in variables_of(board):
        asked[f"variable {name}"] = promql.metric_names(promql.label_values(query)[0])
    assert {place: names - known for place, names in asked.items() if names - known} == {}


# What nobody on call has to look at, and why.
_ON_NO_DASHBOARD = {
    "segmenter_drift_alarms_total": "each test's alarms are drawn as they are",
    "segmenter_event_languages_total": "what came in: the report has it, and advise",
    "segmenter_fields_left_out_total": "nothing rests on these fields",
    "segmenter_idle": "tests wait by it",
    "segmenter_label_model_version": "its quality is drawn, and who has which version follows soon",
    "segmenter_lost_position_timestamp_seconds": "of the alert on lost records, which are drawn",
    "segmenter_lost_positions": "the records that were lost by it are drawn",
    "segmenter_restore_records": "the share and the time to go are drawn",
    "segmenter_item_events_total": "the recommenders' records a second are drawn by role",
    "segmenter_items_latest_event_timestamp_seconds": "the recommenders' lag is drawn by role",
    "segmenter_items_let_go_total": "as it was set",
    "segmenter_user_recommendations_total": "follows the events, and most groups have none",
    "segmenter_rule_events_total": "records a second are drawn by role",
    "segmenter_rule_users": "those who fulfil a rule are drawn",
    "segmenter_sampled_users": "bounded by a setting; samples a second are drawn",
    "segmenter_segment_drift_alarm": "the statistic is drawn over its threshold",
    "segmenter_users_given_label": "users by published label are drawn",
    "segmenter_users_let_go_total": "as it was set; the users left are drawn",
    "segmenter_verify_changes_total": "changes are drawn as workers tell them",
    "segmenter_verify_users": "users are drawn as workers tell them",
}


def test_each_metric_is_on_a_dashboard_or_it_is_said_why_not(rules):
    reads = {
        rule["record"]: promql.metric_names(rule["expr"]) for rule in rules if "record" in rule
    }
    drawn: set[str] = set()
    queue = {
        name
        for board in BOARDS.values()
        for query in queries_of(board)
        for name in promql.metric_names(query.expr)
    }
    while queue:
        drawn |= queue
        queue = {name for each in queue for name in reads.get(each, ())} - drawn
    drawn = {re.sub("_(bucket|count|sum)$", "", name) for name in drawn}
    missing = {metric.full_name for metric in METRICS.values()} - drawn
    assert missing == _ON_NO_DASHBOARD.keys()


# --- the rules ----------------------------------------------------------------------------------


def test_metrics_of_the_rules_exist(rules, known):
    asked = {
        rule.get("record") or rule["alert"]: promql.metric_names(rule["expr"]) for rule in rules
    }
    assert {name: names - known for name, names in asked.items() if names - known} == {}


def test_the_page_of_alerts_lists_just_those_that_there_are(rules):
    page = (ROOT / "docs/dashboards.md").read_text()
    listed = re.findall(r"^\| `(Segmenter\w+)` \|", page, re.MULTILINE)
    assert listed == [rule["alert"] for rule in rules if "alert" in rule]


def test_rules_have_names_of_their_own_that_tell_their_labels(rules):
    names = Counter(rule.get("record") or rule["alert"] for rule in rules)
    assert names == Counter(set(names))
    for rule in rules:
        if "record" not in rule:
            continue
        assert LEVEL.fullmatch(rule["record"]), rule["record"]
        level = rule["record"].partition(":")[0].split("_")
        found = re.search(r"by \(([^)]*)\)", rule["expr"])
        if found and not rule["record"].endswith(":ratio"):
            labels = [label.strip() for label in found[1].split(",")]
            assert labels == ["namespace", *level], rule["record"]


def test_rules_read_only_what_is_recorded_above_them(rules):
    seen: set[str] = set()
    for rule in rules:
        recorded = {name for name in promql.metric_names(rule["expr"]) if ":" in name}
        assert recorded <= seen, rule
        seen |= {rule["record"]} if "record" in rule else set()


def alerts_of(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for rule in rules if "alert" in rule]


def test_each_alert_says_what_is_wrong_and_leads_to_its_own_section(rules):
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (Segmenter\w+)\n\n((?:(?!^#).*\n)+)", page, re.MULTILINE))
    assert sections.keys() == {alert["alert"] for alert in alerts_of(rules)}
    for alert in alerts_of(rules):
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        notes = alert["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"}
        assert notes["runbook_url"] == f"{DOCS}operations.md#{alert['alert'].lower()}"
        told = re.findall(r"^\* \*\*(.+):\*\* ", sections[alert["alert"]], re.MULTILINE)
        assert told == ["Means", "Look at", "Do"], alert["alert"]


def test_the_command_of_the_page_leads_each_alert_to_the_deployers_copy(rules):
    page = (ROOT / "docs/dashboards.md").read_text(encoding="utf-8")
    command = re.search(r"^```sh\n(sed .*?) > rules\.yaml\n```", page, re.MULTILINE | re.DOTALL)[1]
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    linked = [rule for group in yaml.safe_load(done.stdout)["groups"] for rule in group["rules"]]
    copy = "https://git.example.com/segmenter/blob/main/docs/"
    assert [alert["annotations"]["runbook_url"] for alert in alerts_of(linked)] == [
        alert["annotations"]["runbook_url"].replace(DOCS, copy) for alert in alerts_of(rules)
    ]


def test_each_alert_is_tested_firing_and_silent(rules):
    document = yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))
    told: dict[str, set[bool]] = {}
    for case in document["tests"]:
        for test in case.get("alert_rule_test", ()):
            told.setdefault(test["alertname"], set()).add(bool(test["exp_alerts"]))
    assert told == {alert["alert"]: {True, False} for alert in alerts_of(rules)}


# --- KEDA ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_there_are_as_many_workers_as_it_takes(case):
    spec = scaled_object()["spec"]
    formula = spec["advanced"]["scalingModifiers"]["formula"]
    assert evaluated(formula, {"rate": case.rate, "late": case.late}) == case.workers


def test_what_keda_asks_for_exists(known):
    for trigger in scaled_object()["spec"]["triggers"]:
        assert promql.metric_names(trigger["metadata"]["query"]) <= known
