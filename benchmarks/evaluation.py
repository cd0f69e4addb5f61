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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.markdown import render, table
from consumer.offline.evaluate.contents import MINI_BATCH, OFFLINE, PRODUCT
from consumer.offline.evaluate.plots import pictures
from consumer.offline.evaluate.run import evaluate_file
from consumer.report.progress import counting
from consumer.settings import Settings
from consumer.wiring.embedder import load_embedder

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "evaluation.md"
RUNS = {"6": "6 given", "auto": "found"}
DATA = ("stackexchange", "cofacts")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TEXTS = 100_000
# The labels of Cofacts are Chinese: most machines have no font to draw them with.
_SHOWN = {"stackexchange": ("stream", "confusion", "users", "flapping"), "cofacts": ()}

Figures = dict[str, Any]


def main() -> None:
    """Measure, or only render."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", metavar="NAME=FILE", help=f"names: {', '.join(DATA)}")
    parser.add_argument("--render", action="store_true", help="only write the page's tables anew")
    options = parser.parse_args()
    if not options.render:
        if not options.data:
            parser.error("name the files, or give --render")
        for given in options.data:
            name, _, path = given.partition("=")
            if name not in DATA or not Path(path).is_file():
                parser.error(f"{given}: give NAME=FILE, a name of {', '.join(DATA)}")
            measure(name, Path(path))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")


def measure(name: str, path: Path) -> None:
    """Evaluate one file, each way."""
    console = Console(stderr=True)
    embedder = None
    for run in RUNS:
        settings = Settings(training={"segments": run}, embedding={"cache_texts": _TEXTS})
        embedder = embedder or load_embedder(settings)
        with counting(console, f"{name}, segments {run}", "records") as progress:
            evaluation = evaluate_file(
                path, settings, embedder, label="label", now=NOW, progress=progress
            )
        figures = json.loads(evaluation.figures.to_json())
        del figures["stream"]  # the picture has it
        target = RESULTS / f"evaluation-{name}-{run}.json"
        target.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
        if run == "auto":
            for file, content in pictures(evaluation):
                if file.removesuffix(".png") in _SHOWN[name]:
                    (PAGE.parent / f"evaluation-{name}-{file}").write_bytes(content)


def rendered(text: str, results: Path) -> str:
    """Give the page's text with the tables of the results in a folder; the rest stays."""
    for name in DATA:
        found = {
            run: json.loads(path.read_text(encoding="utf-8"))
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
    head = ["", "clusters", "V-measure", "ARI", "purity"]
    parts = []
    for run, figures in runs.items():
        rows = []
        own = figures["prequential"]
        rows.append(
            [
                f"**{PRODUCT}**, prequential, {own['agreement']['users']:,} events",
                f"{len(figures['segments'])}",
                *_scores(own["agreement"]),
            ]
        )
        for least in (10, 1):
            group = _group(figures, least)
            who = f"{group['labelled']:,} users" + (f" with ≥ {least} events" if least > 1 else "")
            for row in group["rows"]:
                name = f"**{PRODUCT}**, final" if row["name"] == PRODUCT else row["name"]
                rows.append([f"{name}, {who}", f"{row['asked']}", *_scores(row["agreement"])])
        parts.append(
            f"Segments {RUNS[run]}: {len(figures['segments'])}. The final V-measure of users with "
            f"≥ 10 events is {ratio_to_offline(figures):.2f} times that of offline KMeans with as "
            f"many clusters.\n\n{table(head, rows, texts=1)}"
        )
    return "\n\n".join(parts)


def _scores(agreement: Figures) -> list[str]:
    return [f"{agreement[name]:.3f}" for name in ("v_measure", "adjusted_rand", "purity")]


def _without_labels(runs: dict[str, Figures]) -> str:
    names = ("silhouette", "simplified_silhouette", "cohesion", "separation", "davies_bouldin")
    head = ["Users with ≥ 10 events", "clusters", "silhouette", "simplified", "cohesion"]
    head += ["separation", "Davies-Bouldin"]
    rows = []
    for run, figures in runs.items():
        for name in (PRODUCT, OFFLINE, MINI_BATCH):
            row = _row(_group(figures, 10), name)
            title = f"**{name}**" if name == PRODUCT else name
            cells = [
                "" if row["internal"][part] is None else f"{row['internal'][part]:.3f}"
                for part in names
            ]
            rows.append([f"{title}, segments {RUNS[run]}", f"{row['asked']}", *cells])
    return table(head, rows, texts=1)


def _changes(runs: dict[str, Figures]) -> str:
    head = ["Changes", "users", "a user", "switches a user", "by behaviour", "by a new model"]
    rows = []
    for run, figures in runs.items():
        for each in figures["flapping"]:
            if each["least_events"] == 5:
                continue
            count = each["by_reason"]
            behaviour = count.get("switched, behaviour", 0)
            switched = sum(n for name, n in count.items() if name.startswith("switched"))
            who = "all" if each["least_events"] == 1 else f"≥ {each['least_events']} events"
            rows.append(
                [
                    f"segments {RUNS[run]}, {who}",
                    f"{each['users']:,}",
                    f"{each['changes_a_user']:.2f}",
                    f"{each['switches_a_user']:.2f}",
                    f"{behaviour:,}",
                    f"{switched - behaviour:,}",
                ]
            )
    return table(head, rows, texts=1)


if __name__ == "__main__":
    main()
