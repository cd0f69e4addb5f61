"""As much of PromQL as is needed to say what a query asks for; Prometheus judges the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end"})
_STRING = r'"(?:\\.|[^"\\])*"'
_TOKENS = re.compile(
    rf"""
      (?P<string>{_STRING})
    | (?P<clause>\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\))
    | (?P<range>\[[^\]]*\])
    | (?P<number>\d[\w.]*)
    | (?P<name>[a-zA-Z_:][\w:]*)(?P<labels>\s*\{{(?:[^{{}}"]|{_STRING})*\}})?
    """,
    re.VERBOSE,
)
_CALL = re.compile(r"\s*(?:(?:by|without)\s*\([^()]*\)\s*)?\(")
_LABEL_VALUES = re.compile(r"label_values\((?P<series>.+),\s*(?P<label>\w+)\)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]")


class UnknownVariableError(Exception):
    """A query names a variable that the dashboard does not have."""


def selectors(expr: str) -> list[tuple[str, str]]:
    """Give the metrics that an expression reads, each with the whole selector, ranges left out."""
    found = []
    for token in _TOKENS.finditer(expr):
        name = token["name"]
        if name is None or name.lower() in _KEYWORDS:
            continue
        if token["labels"] is None and _CALL.match(expr, token.end()):
            continue  # a function, or an aggregation
        found.append((name, name + (token["labels"] or "").strip()))
    return found


def metric_names(expr: str) -> set[str]:
    """Give the names of the metrics that an expression reads."""
    return {name for name, _ in selectors(expr)}


def label_values(query: str) -> tuple[str, str]:
    """Take `label_values(series, label)` apart."""
    found = _LABEL_VALUES.fullmatch(query)
    if found is None:
        raise ValueError(f"{query!r} is no label_values(series, label)")
    return found["series"], found["label"]


def variables(text: str) -> set[str]:
    """Give the dashboard's variables that a text names."""
    return {next(filter(None, found.groups())) for found in _VARIABLE.finditer(text)}


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Put values in for the variables, as Grafana does.

    Raises
    ------
    UnknownVariableError
        If there is no value for one of them.
    """

    def value(found: re.Match[str]) -> str:
        name = next(filter(None, found.groups()))
        if name not in values:
            raise UnknownVariableError(f"{text!r} names ${name}, which the dashboard does not have")
        return values[name]

    return _VARIABLE.sub(value, text)
