"""What docs/performance.md tells of all but the model: tables and a picture, from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import columns, table
from benchmarks.shared import DOCS, RESULTS, Figures, read, write, write_page

OUTPUT = RESULTS / "pipeline.json"
PAGE = DOCS / "performance.md"
PICTURE = DOCS / "pipeline.png"
NAMES = {
    "worker": "worker",
    "bare": "(a) bare loop",
    "quix": "(b) Quix Streams and River",
    "former": "(c) worker at 48f6e1e",
}
_TEXTS = {"short": "40 words", "full": "as they are"}
_STREAMS = {"million": "1 M users", "as-it-is": "2,959 users"}


def keep(path: Path | None, **parts: Any) -> Figures:
    """Put parts into a file of figures, beside what is there; None for no file."""
    if path is None:
        return parts
    figures = (read(path) if path.exists() else {}) | parts
    write(path, figures)
    return figures


def found(path: Path | None, name: str, default: Any) -> Any:
    """Give a part of a file of figures; the default where file or part is not there."""
    return read(path).get(name, default) if path is not None and path.exists() else default


def title_of(name: str) -> str:
    """Name a stream and its texts, as figures have them: `million, short`."""
    stream, _, texts = name.partition(", ")
    return f"{_STREAMS[stream]}, texts {_TEXTS[texts]}"


def name_of(arm: str) -> str:
    """Name an arm in a table."""
    first, comma, more = arm.partition(",")
    return NAMES[first] + comma + more


def comparison(figures: Mapping[str, Figures]) -> str:
    """Write the table of one stream."""
    own = figures.get("worker", {}).get("cpu_us")
    rows = []
    for arm, each in figures.items():
        rows.append(
            [
                name_of(arm),
                f"{each['cpu_us']:,.0f}",
                f"{each['cpu_us'] / own:.2f}" if own else "",
                f"{each['broker_cpu_us']:,.0f}",
                f"{each['events_a_second']:,.0f}",
                _of(each, "live_rate", "{:,.0f}"),
                _of(each, "p50_ms", "{:,.0f}"),
                _of(each, "p99_ms", "{:,.0f}"),
                f"{each['memory_mb']:,.0f}",
            ]
        )
    head = [
        *("", "CPU µs an event", "of the worker's", "broker's µs", "events/s"),
        *("live events/s", "p50 ms", "p99 ms", "MB"),
    ]
    return table(head, rows, texts=1)


def _of(row: Mapping[str, Any], name: str, form: str) -> str:
    return form.format(row[name]) if name in row else ""


def by_process(figures: Mapping[str, Mapping[str, Figures]]) -> str:
    """Write the table of processor time by process, of workers with processes that prepare."""
    rows = [
        [
            title_of(stream),
            name_of(arm),
            ", ".join(f"{name} {us:.0f}" for name, us in each["cpu_us_by_process"].items()),
        ]
        for stream, arms in figures.items()
        for arm, each in arms.items()
        if arm.startswith("worker")
    ]
    return table(["stream", "", "CPU µs an event by process"], rows, texts=3)


def stages(figures: Mapping[str, Figures]) -> str:
    """Write the table of the stage without Kafka, by turns with the former build."""
    rows = []
    for stream, each in figures.items():
        former, present = each["former"], each["this"]
        rows += [
            [
                title_of(stream),
                step,
                f"{former[step]['least']:.0f}",
                f"{present[step]['least']:.0f}",
                f"{each['ratio'][step]['least']:.2f}",
                f"{each['ratio'][step]['median']:.2f}",
            ]
            for step in ("prepare", "apply", "together")
        ]
    head = ["stream", "", "48f6e1e, µs", "now, µs", "of it", "median of rounds"]
    return table(head, rows, texts=2)


def budget(figures: Figures) -> str:
    """Write the table of what each step takes, of one build or two."""
    sides = figures["sides"]
    steps = list(list(sides.values())[-1])
    rows = [[step, *(f"{own[step]:.1f}" for own in sides.values())] for step in steps]
    return table(["CPU µs an event", *sides], rows, texts=1)


def _least(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.1f} ({row[f'{name}_median']:.1f})" if name in row else ""


def memory(rows: list[Figures]) -> str:
    """Write the table of bytes a user."""
    return columns(
        rows,
        {
            "sums": "{precision}",
            "events a user": "{events}",
            "references": lambda row: str(row.get("references") or 0),
            "users": "{users:,}",
            "bytes a user": "{bytes_a_user:,}",
            "apply, µs an event": lambda row: _least(row, "apply_us"),
            "with prepare": lambda row: _least(row, "event_us"),
        },
        texts=1,
    )


def newmodel(rows: list[Figures]) -> str:
    """Write the table of latencies under a new model."""
    return columns(
        rows,
        {
            "build": lambda row: row.get("build", ""),
            "users": "{users:,}",
            "who moves": "{moves}",
            "waits, ms": lambda row: str(row.get("max_wait_ms", 100)),
            "live events/s": "{live_rate:,}",
            "rounds": lambda row: str(row.get("rounds", 1)),
            "p50 / p99 without, ms": lambda row: "{p50_ms:.0f} / {p99_ms:.0f}".format(
                **row["without"]
            ),
            "under a new model, ms": lambda row: "{p50_ms:.0f} / {p99_ms:.0f}".format(
                **row["under"]
            ),
            "p99, times": "{ratio_p99:.2f}",
            "seconds until settled": "{seconds:.1f}",
        },
    )


def parts_of(figures: Figures) -> dict[str, str]:
    """Give what the page has of the figures, by its marks."""
    machine, made = figures["machine"], dict[str, str]()
    if compared := figures.get("compare"):
        where = (
            f"{machine['cpu']}, {machine['cores']} cores; Python {machine['python']}, librdkafka "
            f"{machine['librdkafka']}, Kafka {machine['kafka']}, the broker on the same cores."
        )
        streams = [f"{title_of(name)}:\n\n{comparison(arms)}" for name, arms in compared.items()]
        made["pipeline"] = "\n\n".join((where, *streams))
        made["pipeline-processes"] = by_process(compared)
    for name, told in (
        ("stage", stages),
        ("budget", budget),
        ("memory", memory),
        ("newmodel", newmodel),
    ):
        if name in figures:
            made[f"pipeline-{name}"] = told(figures[name])
    return made


def render_page(results: Path = OUTPUT, page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Write the page's tables and draw its picture."""
    figures = read(results)
    write_page(page, parts_of(figures))
    picture.write_bytes(drawn(figures["compare"]))


def drawn(figures: Mapping[str, Mapping[str, Figures]]) -> bytes:
    """Draw the processor time an event of each arm, on a logarithmic scale, as PNG."""
    from consumer.report.colours import COLOURS  # noqa: PLC0415
    from consumer.report.pictures import LIGHT, blank, dress, png  # noqa: PLC0415 - slow

    figure = blank(8, 1.2 + 1.5 * len(figures))
    grid = figure.subplots(len(figures), 1, squeeze=False, sharex=True)
    for row, (stream, arms) in enumerate(figures.items()):
        axes = grid[row][0]
        last = row == len(figures) - 1
        dress(axes, title_of(stream), x="CPU µs an event, of all its processes" if last else "")
        axes.set_xscale("log")
        axes.set_xlim(5, 5_000)
        axes.set_xticks([10, 100, 1_000], ["10", "100", "1,000"])
        for place, (arm, each) in enumerate(arms.items()):
            colour = COLOURS[0] if arm.startswith("worker") else "#b0b7bf"
            axes.barh(place, each["cpu_us"], color=colour)
            axes.text(
                *(each["cpu_us"] * 1.05, place, f"{each['cpu_us']:,.0f}"),
                va="center",
                fontsize=8,
                color=LIGHT.ink,
            )
        axes.set_yticks(range(len(arms)), [name_of(arm) for arm in arms])
        axes.invert_yaxis()
    return png(figure)
