"""Whether every query has data: those of the dashboards, their variables, every rule and alert."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tests.dashboards import promql
from tests.dashboards.contents import Query, queries_of, variables_of

# What Grafana puts in; its interval is never below four times the scrapes'.
BUILT_IN = {"__rate_interval": "10s", "__interval": "1s", "__range": "5m"}


class Asked(Protocol):
    """What is asked of Prometheus."""

    def at_once(self, expr: str) -> list[dict[str, Any]]:
        """Evaluate now."""
        ...

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        """Evaluate since the start."""
        ...

    def label_values(self, series: str, label: str) -> list[str]:
        """Give a label's values."""
        ...

    def rules(self) -> list[dict[str, Any]]:
        """Give all rules."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One query and how many series it gave."""

    place: str
    expr: str
    series: int
    error: str | None = None

    @property
    def has_data(self) -> bool:
        """Whether it is answered."""
        return self.error is None and self.series > 0


class StrayReasonError(Exception):
    """Something is allowed to be empty that does not exist."""


def missing(findings: list[Finding], may_be_empty: Mapping[str, str]) -> list[Finding]:
    """Give the findings that are wrong: no data without a reason, or an error in any case.

    Raises
    ------
    StrayReasonError
        If a reason is given for a query that does not exist.
    """
    if stray := set(may_be_empty) - {finding.place for finding in findings}:
        raise StrayReasonError(
            f"there is no such query as {sorted(stray)[0]}: take it out of may_be_empty.py"
        )
    return [
        finding
        for finding in findings
        if finding.error is not None or not (finding.has_data or finding.place in may_be_empty)
    ]


def judge(prometheus: Asked, boards: Mapping[str, dict[str, Any]]) -> list[Finding]:
    """Ask everything once."""
    found = [
        replace(finding, place=f"{name}: {finding.place}")
        for name, board in boards.items()
        for ask in (_variables, _dashboard)
        for finding in ask(prometheus, board)
    ]
    return [*found, *_rules(prometheus)]


def values_of(board: dict[str, Any]) -> dict[str, str]:
    """Give the variables as they are when the dashboard is opened: all of everything."""
    values = dict(BUILT_IN)
    for variable in board["templating"]["list"]:
        values[variable["name"]] = variable.get("allValue", ".*")
    return values


def _variables(prometheus: Asked, board: dict[str, Any]) -> Iterator[Finding]:
    values = values_of(board)
    for name, query in variables_of(board):
        series, label = promql.label_values(promql.substituted(query, values))
        yield Finding(f"variable {name}", query, len(prometheus.label_values(series, label)))


def _dashboard(prometheus: Asked, board: dict[str, Any]) -> Iterator[Finding]:
    values = values_of(board)
    sources = dict(variables_of(board))
    for query in queries_of(board):
        ask = prometheus.over_time if query.over_time else prometheus.at_once
        if query.repeat is None:
            yield _answer(query.place, promql.substituted(query.expr, values), ask)
            continue
        series, label = promql.label_values(promql.substituted(sources[query.repeat], values))
        yield from _repeated(query, values, prometheus.label_values(series, label), ask)


def _repeated(
    query: Query,
    values: Mapping[str, str],
    repeats: list[str],
    ask: Callable[[str], list[dict[str, Any]]],
) -> Iterator[Finding]:
    if not repeats:
        yield Finding(query.place, query.expr, 0)
    for repeat in repeats:
        expr = promql.substituted(query.expr, {**values, query.repeat or "": repeat})
        yield _answer(f"{query.place} for {repeat}", expr, ask)


def _rules(prometheus: Asked) -> Iterator[Finding]:
    for rule in prometheus.rules():
        place = f"rule {rule['name']}"
        if rule["health"] != "ok":
            yield Finding(place, rule["query"], 0, rule.get("lastError") or rule["health"])
        elif rule["type"] == "recording":
            yield _answer(place, rule["name"], prometheus.over_time)
        else:
            # An alert rightly is silent; what it looks at must be there all the same.
            for _, selector in dict.fromkeys(promql.selectors(rule["query"])):
                yield _answer(f"{place}: {selector}", selector, prometheus.over_time)


def _answer(place: str, expr: str, ask: Callable[[str], list[dict[str, Any]]]) -> Finding:
    return Finding(place, expr, len(ask(expr)))
