"""What came of a soak: slopes of processes, latencies, what failed, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks.markdown import table
from benchmarks.pipeline.live import quantiles
from benchmarks.shared import Figures
from benchmarks.soaking.slopes import FLAT, Points, across, slope, told
from benchmarks.soaking.watching import MEASURES, Life

BROKER = "broker"
_ACROSS = "workers, life to life"
_TITLES = {"memory_mb": "memory, MB", "threads": "threads", "files": "open files"}
Latencies = Sequence[tuple[float, float]]
Spans = Sequence[tuple[float, float]]


def growth(
    lives: Sequence[Life], workers: Sequence[str], since: float, settle: float, share: float
) -> Figures:
    """Tell whether processes grow: within their lives, and the workers across theirs.

    Parameters
    ----------
    since, settle
        Earlier samples, and those of the first seconds of a life, have no part in it.
    share
        Of the mean: what a flat figure gains in an hour at most.

    Returns
    -------
    dict
        `processes`, by name and measure the slope that all lives share; `across`, by measure that
        of the workers' levels from life to life, empty where nobody was restarted; `lives`, each
        life's own. The first lives have no part in `across`: they had no state to read back, and a
        backlog to work off, so their level is another one.
    """
    names = list(dict.fromkeys(life.name for life in lives))
    by_name = {name: [life for life in lives if life.name == name] for name in names}

    def points(name: str, measure: str) -> list[Points]:
        return [life.points(measure, since, settle) for life in by_name[name]]

    restarted = any(len(by_name[name]) > 1 for name in workers)
    return {
        "processes": {
            name: {each: told(slope(points(name, each)), share) for each in MEASURES}
            for name in names
        },
        "across": {
            each: told(slope([across(points(name, each)[1:]) for name in workers]), share)
            for each in MEASURES
            if restarted
        },
        "lives": [
            {
                "name": life.name,
                "number": life.number,
                **{
                    each: told(slope([life.points(each, since, settle)]), share)
                    for each in MEASURES
                },
            }
            for life in lives
        ],
    }


def latency(latencies: Latencies, rolls: Spans) -> Figures:
    """Tell latencies of all events, and of those that were under way in a restart apart."""

    def restarting(at: float, took: float) -> bool:
        return any(at < end and at + took > begin for begin, end in rolls)

    amid = [took for at, took in latencies if restarting(at, took)]
    outside = [took for at, took in latencies if not restarting(at, took)]
    bounds = [float("-inf"), *(end for _, end in rolls), float("inf")]
    between = [
        [took for at, took in latencies if begin <= at < end and not restarting(at, took)]
        for begin, end in pairwise(bounds)
    ]
    return {
        "all": _quantiles([took for _, took in latencies]),
        "outside": _quantiles(outside),
        "restarting": _quantiles(amid),
        "between_restarts": [_quantiles(each) for each in between],
        "longest_ms": round(1000 * max((took for _, took in latencies), default=0.0)),
        "events": len(latencies),
    }


def _quantiles(latencies: Sequence[float]) -> Figures | None:
    """Give median and 99th percentile; of nothing there are none."""
    return dict(quantiles(latencies)) if latencies else None


def failures(result: Figures) -> list[str]:
    """Say what is not as it should be; empty where the soak has passed."""
    said = [f"{result[name]:,} {name}" for name in ("lost", "doubled") if result[name]]
    said += result["wrong"]
    grown: Mapping[str, Figures] = {
        **{name: each for name, each in result["processes"].items() if name != BROKER},
        _ACROSS: result["across"],
    }
    for name, measures in grown.items():
        for measure, each in measures.items():
            if each["verdict"] != FLAT:
                said.append(f"{name}: {_TITLES[measure]}: {each['verdict']}")
    return said


def report(result: Figures) -> str:
    """Render the figures for people."""
    options, latencies = result["options"], result["latency"]
    capacity = result["capacity"]
    of = f", {result['rate'] / capacity:.0%} of the capacity" if capacity else ""
    rows = [
        [name, _TITLES[measure], *_cells(each)]
        for name, measures in {**result["processes"], _ACROSS: result["across"]}.items()
        for measure, each in measures.items()
    ]
    lines = [
        f"{result['events']:,} events and {result['repeats']:,} repeats, {result['refused']:,} "
        f"refused records, at {result['rate']:g} a second{of}: "
        f"{result['lost']:,} lost, {result['doubled']:,} doubled, {result['changes']:,} changes.",
        "From produce to a reader of committed records, median and p99: "
        f"{_cell(latencies['outside'])}; of events under way in a restart "
        f"{_cell(latencies['restarting'])}; of all {_cell(latencies['all'])}.",
        f"{result['restarts']} rolling restarts of {options['workers']} workers, "
        f"{result['rebalances_of_others']:g} rebalances of others, longest pause of a partition "
        f"{result['longest_stall_seconds']:g} s.",
        "",
        table(["process", "figure", "mean", "an hour", "95 %", "verdict"], rows, texts=2),
        "",
        f"The broker is not judged. Flat: at most {options['share']:.0%} of the mean.",
    ]
    return "\n".join(lines)


def _cell(found: Figures | None) -> str:
    return f"{found['p50_ms']:,.0f} and {found['p99_ms']:,.0f} ms" if found else "none"


def _cells(each: Figures) -> list[str]:
    def cell(value: float | None, form: str) -> str:
        return "?" if value is None else format(value, form)

    low, high = (cell(each[name], "+.2f") for name in ("low", "high"))
    return [
        cell(each["mean"], ",.1f"),
        cell(each["per_hour"], "+.2f"),
        f"{low} to {high}",
        each["verdict"],
    ]
