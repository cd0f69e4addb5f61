"""What is in deploy/: the dashboards' queries and Prometheus' rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
GRAFANA = DEPLOY / "grafana"
RULES = DEPLOY / "prometheus" / "rules.yaml"
RULES_TEST = DEPLOY / "prometheus" / "rules_test.yaml"

Board = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a dashboard, its variables not yet replaced."""

    place: str
    """Where it stands, in words."""
    expr: str
    over_time: bool
    """Whether it is drawn over time, or asked for the present moment."""
    repeat: str | None = None
    """The variable that its panel is repeated for."""


def load_boards() -> dict[str, Board]:
    """Read all dashboards, by name."""
    return {
        path.stem.removeprefix("segmenter-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(GRAFANA.glob("segmenter-*.json"))
    }


def load_rules(path: Path = RULES) -> list[dict[str, Any]]:
    """Read all rules, recording rules and alerts, in their order."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels_of(board: Board) -> Iterator[dict[str, Any]]:
    """Give all panels, also those inside of rows that are collapsed."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def queries_of(board: Board) -> Iterator[Query]:
    """Give the queries of panels and annotations."""
    for panel in panels_of(board):
        for target in panel.get("targets", ()):
            place = f"panel {panel['title']!r} {target['refId']}"
            yield Query(place, target["expr"], target["range"], panel.get("repeat"))
    for annotation in board["annotations"]["list"]:
        yield Query(f"annotation {annotation['name']!r}", annotation["expr"], over_time=True)


def variables_of(board: Board) -> Iterator[tuple[str, str]]:
    """Give the variables that Prometheus is asked for, each with its query."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
