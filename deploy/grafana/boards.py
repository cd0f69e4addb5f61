"""The dashboards for Grafana, written from their descriptions: `make docs` runs it.

A description is a TOML file beside this one: what is asked, in words and in PromQL, under which
headings, and in which unit. How a panel looks is said here, once for each kind. In a query `@`
stands for the labels by which the group is chosen at the top of the dashboard.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

HERE = Path(__file__).parent
_CHOSEN = 'namespace=~"$namespace", job=~"$job"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
# From this width on there is room for a legend at the right.
_WIDE = 12
_LATEST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_DEFAULT_SIZES = {"stat": (3, 4)}
_DEFAULT_SIZE = (12, 8)

Json = dict[str, Any]


def descriptions() -> list[Path]:
    """Give the files that describe a dashboard."""
    return sorted(HERE.glob("*.toml"))


def target_of(description: Path) -> Path:
    """Give the file that is made of a description."""
    return HERE / f"segmenter-{description.stem}.json"


def text_of(description: Path) -> str:
    """Give what is to be in that file."""
    told = tomllib.loads(description.read_text(encoding="utf-8"))
    return json.dumps(board_of(description.stem, told), indent=1, ensure_ascii=False) + "\n"


def board_of(name: str, told: Mapping[str, Any]) -> Json:
    """Make a dashboard of its description.

    Raises
    ------
    ValueError
        If a panel is of no known kind, or says what nothing is made of.
    """
    return {
        "uid": f"segmenter-{name}",
        "title": f"Segmenter: {name}",
        "description": told["about"],
        "tags": ["segmenter", name],
        "schemaVersion": 42,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": f"now-{told['range']}", "to": "now"},
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "preload": False,
        "links": [_LINK],
        "annotations": {"list": [_annotation(each) for each in told["annotations"]]},
        "templating": {"list": [*_VARIABLES, *map(_variable, told.get("variables", ()))]},
        "panels": list(_panels(told["rows"])),
    }


def _query(text: str) -> str:
    return text.replace("@", _CHOSEN)


# --- around the panels --------------------------------------------------------------------------

_LINK = {
    "type": "dashboards",
    "title": "Segmenter",
    "tags": ["segmenter"],
    "asDropdown": True,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
    "icon": "external link",
    "tooltip": "",
    "url": "",
}


def _annotation(told: Mapping[str, Any]) -> Json:
    return {
        "name": told["name"],
        "datasource": _SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": told["color"],
        "expr": _query(told["query"]),
        "step": "60s",
        "titleFormat": told["title"],
        "textFormat": told["text"],
        "useValueForTime": False,
    }


def _variable(told: Mapping[str, Any]) -> Json:
    query = _query(told["query"])
    found = {
        "type": "query",
        "name": told["name"],
        "label": told["label"],
        "description": told["about"],
        "datasource": _SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": f"variable-{told['name']}"},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "hide": 0,
        "regex": "",
        "skipUrlSync": False,
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
    }
    return found | ({"allValue": told["all"]} if "all" in told else {})


_VARIABLES: Sequence[Json] = (
    {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "refresh": 1,
        "includeAll": False,
        "multi": False,
        "skipUrlSync": False,
        "current": {"text": "", "value": ""},
        "options": [],
    },
    _variable(
        {
            "name": "namespace",
            "label": "Namespace",
            "about": "Where targets have one, as on Kubernetes.",
            "query": "label_values(segmenter_process_info, namespace)",
            "all": ".*",
        }
    ),
    _variable(
        {
            "name": "job",
            "label": "Job",
            "about": "Of workers and trainers of the same group.",
            "query": 'label_values(segmenter_process_info{namespace=~"$namespace"}, job)',
            # Some alerts are of a group, whatever its jobs.
            "all": ".*",
        }
    ),
)


# --- the panels ---------------------------------------------------------------------------------


def _panels(rows: Sequence[Mapping[str, Any]]) -> Iterator[Json]:
    """Give all panels with their places: from left to right, and down where one is full."""
    number = y = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        y += 1
        x = height = 0
        for told in row["panels"]:
            number += 1
            kind = told.get("kind", "timeseries")
            width, high = told.get("size", _DEFAULT_SIZES.get(kind, _DEFAULT_SIZE))
            # A repeated one has all of its line.
            if x + width > _WIDTH or (x and "repeat" in told):
                x, y, height = 0, y + height, 0
            place = {"h": high, "w": width, "x": x, "y": y}
            x, height = _WIDTH if "repeat" in told else x + width, max(height, high)
            yield _panel(number, kind, told, place)
        y += height


def _panel(number: int, kind: str, told: Mapping[str, Any], place: Json) -> Json:
    if kind not in _LOOKS:
        raise ValueError(f"panel {told['title']!r} is of kind {kind!r}, none of {[*_LOOKS]}")
    if unknown := told.keys() - _WORDS - _WORDS_OF.get(kind, set()):
        raise ValueError(f"panel {told['title']!r} has {sorted(unknown)}, which means nothing")
    defaults, overrides, options = _LOOKS[kind](told, place["w"])
    panel: Json = {
        "id": number,
        "type": kind,
        "title": told["title"],
        "description": told["about"],
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _common(told) | defaults, "overrides": overrides},
        "options": options,
        "targets": _targets(kind, told["queries"]),
    }
    if "matrix" in told:
        rows, columns = told["matrix"]
        matrix = {"rowField": rows, "columnField": columns, "valueField": "Value"}
        panel["transformations"] = [
            {"id": "groupingToMatrix", "options": matrix | {"emptyValue": "null"}}
        ]
    if "repeat" in told:
        panel |= {"repeat": told["repeat"], "repeatDirection": "h", "maxPerRow": 3}
    return panel


def _targets(kind: str, queries: Sequence[str | Sequence[str]]) -> list[Json]:
    found = []
    over_time = kind in ("timeseries", "state-timeline")
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        expr, legend = (query, None) if isinstance(query, str) else query
        target = {
            "refId": letter,
            "datasource": _SOURCE,
            "editorMode": "code",
            "expr": _query(expr),
            "instant": not over_time,
            "range": over_time,
        }
        target |= {} if legend is None else {"legendFormat": legend}
        found.append(target | ({"format": "table"} if kind == "table" else {}))
    return found


def _common(told: Mapping[str, Any]) -> Json:
    found = {"unit": told["unit"]}
    found |= {name: told[name] for name in ("decimals", "max") if name in told}
    if "thresholds" in told:
        steps = [
            {"color": color, "value": value[0] if value else None}
            for color, *value in told["thresholds"]
        ]
        found["thresholds"] = {"mode": "absolute", "steps": steps}
    return found


_Look = tuple[Json, list[Json], Json]
"""Defaults of the fields, overrides, and options."""


def _stat(told: Mapping[str, Any], _width: int) -> _Look:
    blue = {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "value",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "reduceOptions": _LATEST,
    }
    return {} if "thresholds" in told else {"thresholds": blue}, [], options


def _timeseries(told: Mapping[str, Any], width: int) -> _Look:
    stacked, bars = told.get("stacked", False), told.get("bars", False)
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if bars else 25 if stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
    }
    custom |= {"thresholdsStyle": {"mode": "dashed"}} if "thresholds" in told else {}
    defaults = {"color": {"mode": "palette-classic"}, "custom": custom}
    defaults |= {} if told.get("below_zero") else {"min": 0}
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "right" if width >= _WIDE else "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return defaults, [_dashed(name) for name in told.get("dashed", ())], options


def _dashed(series: str) -> Json:
    return {
        "matcher": {"id": "byName", "options": series},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        ],
    }


def _state_timeline(told: Mapping[str, Any], _width: int) -> _Look:
    states = {
        value: {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(told["states"].items())
    }
    defaults = {
        "color": {"mode": "thresholds"},
        "mappings": [{"type": "value", "options": states}],
        "custom": {"fillOpacity": 70, "lineWidth": 0},
    }
    options = {
        "alignValue": "center",
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "legend": {
            "displayMode": "list",
            "placement": "bottom",
            "showLegend": True,
            "calcs": [],
        },
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return defaults, [], options


def _bargauge(_told: Mapping[str, Any], _width: int) -> _Look:
    options = {
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "color",
        "namePlacement": "auto",
        "sizing": "auto",
        "minVizHeight": 16,
        "minVizWidth": 8,
        "maxVizHeight": 300,
        "showUnfilled": True,
        "legend": {
            "displayMode": "list",
            "placement": "bottom",
            "showLegend": False,
            "calcs": [],
        },
        "reduceOptions": _LATEST,
    }
    return {"min": 0}, [], options


def _table(told: Mapping[str, Any], _width: int) -> _Look:
    plain = {"id": "custom.cellOptions", "value": {"type": "auto"}}
    rows, columns = told["matrix"]
    overrides = [
        {
            "matcher": {"id": "byName", "options": f"{rows}\\{columns}"},
            "properties": [{"id": "unit", "value": "none"}, plain],
        }
    ]
    cells = {"type": "color-background"}
    defaults: Json = {"custom": {"cellOptions": cells, "align": "right", "inspect": False}}
    if "thresholds" not in told:
        defaults["color"] = {"mode": "continuous-blues"}
    return defaults, overrides, {"showHeader": True, "cellHeight": "sm", "frameIndex": 0}


_LOOKS = {
    "stat": _stat,
    "timeseries": _timeseries,
    "state-timeline": _state_timeline,
    "bargauge": _bargauge,
    "table": _table,
}


# What a description may say of any panel, and what of one kind more.
_WORDS = {
    *("kind", "title", "about", "unit", "size", "decimals", "max", "thresholds", "queries"),
    "repeat",
}
_WORDS_OF = {
    "timeseries": {"stacked", "bars", "below_zero", "dashed"},
    "state-timeline": {"states"},
    "table": {"matrix"},
}


def main() -> None:
    """Write all dashboards anew."""
    for description in descriptions():
        target_of(description).write_text(text_of(description), encoding="utf-8")


if __name__ == "__main__":
    main()
