"""How good the segments are on real events, with six segments and with their number found.

    python -m benchmarks.evaluation stackexchange=FILE cofacts=FILE
    python -m benchmarks.evaluation --render

Runs `segmenter evaluate` on each file twice; each text is embedded once. What comes out goes to
`benchmarks/results/`, and from there into the tables of docs/evaluation.md. The pictures beside
that page are those of the runs in which the number was found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.markdown import Cell, columns, render
from benchmarks.shared import DOCS, RESULTS, Figures, read, write
from benchmarks.worker_stage import default_embedder, event_vectors, lookup_of
from consumer.offline.evaluate.contents import MINI_BATCH, OFFLINE, PRODUCT
from consumer.offline.evaluate.plots import pictures
from consumer.offline.evaluate.run import evaluate_file
from consumer.offline.files import read_records
from consumer.report.progress import counting
from consumer.settings import Settings

PAGE = DOCS / "evaluation.md"
RUNS = {"6": "6 given", "auto": "found"}
DATA = ("stackexchange", "cofacts")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# The labels of Cofacts are Chinese: most machines have no font to draw them with.
_SHOWN = {"stackexchange": ("stream", "confusion", "users", "flapping"), "cofacts": ()}


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", metavar="NAME=FILE", help=f"names: {', '.join(DATA)}")
    parser.add_argument(
        "--vectors", type=Path, help="folder that keeps vectors for the next run; none are without"
    )
    parser.add_argument("--render", action="store_true", help="only write the page's tables anew")
    options = parser.parse_args()
    if not options.render:
        if not options.data:
            parser.error("name the files, or give --render")
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for given in options.data:
                name, _, path = given.partition("=")
                if name not in DATA or not Path(path).is_file():
                    parser.error(f"{given}: give NAME=FILE, a name of {', '.join(DATA)}")
                measure(name, Path(path), (options.vectors or Path(folder)) / f"{name}.npz")
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")


def measure(name: str, path: Path, stored: Path) -> None:
    """Evaluate one file, each way; `stored` are the vectors of its texts, made if not there."""
    console = Console(stderr=True)
    accepted, vectors = event_vectors(path, stored)
    settings = Settings()
    records = list(read_records(path, settings.topics.events, settings.events.intake()))
    embedder = lookup_of(records, accepted.tolist(), vectors)
    embedder.identity = default_embedder().identity
    for run in RUNS:
        settings = Settings(training={"segments": run})
        with counting(console, f"{name}, segments {run}", "records") as progress:
            evaluation = evaluate_file(
                path, settings, embedder, label="label", now=NOW, progress=progress
            )
        figures = json.loads(evaluation.figures.to_json())
        del figures["stream"]  # the picture has it
        write(RESULTS / f"evaluation-{name}-{run}.json", figures)
        if run == "auto":
            for file, content in pictures(evaluation):
                if file.removesuffix(".png") in _SHOWN[name]:
                    (PAGE.parent / f"evaluation-{name}-{file}").write_bytes(content)


def rendered(text: str, results: Path) -> str:
    """Give the page's text with the tables of the results in a folder; the rest stays."""
    for name in DATA:
        found = {
            run: read(path)
            for run in RUNS
            if (path := results / f"evaluation-{name}-{run}.json").exists()
        }
        if found:
            text = render(text, name, tables(found))
    return text


def tables(runs: dict[str, Figures]) -> str:
    """Write a data set's tables in Markdown."""
    parts = [_agreement(runs), _without_labels(runs), _changes(runs)]
    return "\n\n".join(parts)


def ratio_to_offline(figures: Figures, least_events: int = 10) -> float:
    """Give the product's final V-measure as a share of offline KMeans', as many clusters each."""
    group = _group(figures, least_events)
    own, offline = _row(group, PRODUCT), _row(group, OFFLINE)
    return float(own["agreement"]["v_measure"] / offline["agreement"]["v_measure"])


def _group(figures: Figures, least_events: int) -> Figures:
    return next(each for each in figures["groups"] if each["least_events"] == least_events)


def _row(group: Figures, name: str) -> Figures:
    """Give a clustering; of the peers the one with as many clusters as the product."""
    return next(row for row in group["rows"] if row["name"] == name)


def _agreement(runs: dict[str, Figures]) -> str:
    cells: dict[str, Cell] = {
        "": "{name}, {who}",
        "clusters": "{asked}",
        "V-measure": "{agreement[v_measure]:.3f}",
        "ARI": "{agreement[adjusted_rand]:.3f}",
        "purity": "{agreement[purity]:.3f}",
        "V by seeds": lambda row: (
            "{} to {}".format(*(f"{each:.3f}" for each in row["v_measures"]))
            if row.get("seeds", 1) > 1
            else ""
        ),
    }
    parts = []
    for run, figures in runs.items():
        own = figures["prequential"]["agreement"]
        name = {"name": f"**{PRODUCT}**, prequential", "who": f"{own['users']:,} events"}
        rows = [{**name, "asked": len(figures["segments"]), "agreement": own}]
        for least in (10, 1):
            group = _group(figures, least)
            who = f"{group['labelled']:,} users" + (f" with ≥ {least} events" if least > 1 else "")
            for row in group["rows"]:
                title = f"**{PRODUCT}**, final" if row["name"] == PRODUCT else row["name"]
                rows.append({**row, "name": title, "who": who})
        parts.append(
            f"Segments {RUNS[run]}: {len(figures['segments'])}. The final V-measure of users with "
            f"≥ 10 events is {ratio_to_offline(figures):.2f} times that of offline KMeans with as "
            f"many clusters (the mean of its seeds).\n\n{columns(rows, cells, texts=1)}"
        )
    return "\n\n".join(parts)


def _without_labels(runs: dict[str, Figures]) -> str:
    def internal(part: str) -> Cell:
        return lambda row: "" if (found := row["internal"][part]) is None else f"{found:.3f}"

    cells: dict[str, Cell] = {
        "Users with ≥ 10 events": "{title}, segments {run}",
        "clusters": "{asked}",
        "silhouette": internal("silhouette"),
        "simplified": internal("simplified_silhouette"),
        "cohesion": internal("cohesion"),
        "separation": internal("separation"),
        "Davies-Bouldin": internal("davies_bouldin"),
    }
    rows = [
        {
            **_row(_group(figures, 10), name),
            "title": f"**{name}**" if name == PRODUCT else name,
            "run": RUNS[run],
        }
        for run, figures in runs.items()
        for name in (PRODUCT, OFFLINE, MINI_BATCH)
    ]
    return columns(rows, cells, texts=1)


def _changes(runs: dict[str, Figures]) -> str:
    cells: dict[str, Cell] = {
        "Changes": "segments {run}, {who}",
        "users": "{users:,}",
        "a user": "{changes_a_user:.2f}",
        "switches a user": "{switches_a_user:.2f}",
        "by the user": "{user:.2f}",
        "by the model": "{model:.2f}",
    }
    rows = []
    for run, figures in runs.items():
        for each in figures["flapping"]:
            if (least := each["least_events"]) == 5:
                continue
            who = "all" if least == 1 else f"≥ {least} events"
            # All reasons of switches but one are the model's (docs/events.md).
            by_user = each["by_reason"].get("switched, behaviour", 0) / max(each["users"], 1)
            own = {"user": by_user, "model": each["switches_a_user"] - by_user}
            rows.append({**each, **own, "run": RUNS[run], "who": who})
    return columns(rows, cells, texts=1)


if __name__ == "__main__":
    main()
