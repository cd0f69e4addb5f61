"""River's clusterers on the profiles of real users: quality, time, segments and memory.

    python -m benchmarks.clusterers --vectors /tmp/vectors.npz

The trainer's input is made once: the worker's own stage runs over the events, and what it would
send to the trainer is kept. Each algorithm then learns that stream, in each projection, twice:
alone (River's estimator with a warm start) and as the trainer runs it (with a sample of users and
looks at it). See docs/clustering.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.clustering.profiles import Profiles, read_profiles
from benchmarks.clustering.runs import Run, alone, held, run_alone, run_trainer
from benchmarks.embed import DATA, RESULTS, say
from benchmarks.embedding.rounds import ROOT
from benchmarks.markdown import render, table
from consumer.settings import Settings
from consumer.wiring.embedder import load_embedder
from models.clustering.clusterers.state import to_json
from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ALGORITHMS, PROJECTIONS, ClusteringPolicy
from models.measures.agreement import Agreement
from models.measures.offline import offline_kmeans

PAGE = ROOT / "docs" / "clustering.md"
OUTPUT = RESULTS / "clusterers.json"

Figures = dict[str, Any]


def measure(arguments: argparse.Namespace, profiles: Profiles) -> Figures:
    """Run everything; gives all figures."""
    rows = []
    for algorithm, projection in product(arguments.algorithms, arguments.projections):
        runs: dict[str, list[Run]] = {"alone": [], "trainer": []}
        for seed in range(arguments.seeds):
            policy = ClusteringPolicy(
                segments=arguments.segments,
                warmup_users=100,
                seed=seed,
                algorithm=algorithm,
                projection=projection,
                projection_dimensions=arguments.dimensions,
            )
            clusterer = alone(policy, profiles)
            runs["alone"].append(run_alone(clusterer, profiles))
            learner = StreamingClusterer(policy, "0" * 64)
            runs["trainer"].append(run_trainer(learner, profiles))
        row = {
            "algorithm": algorithm,
            "projection": projection,
            "bytes": held(clusterer),
            "state_bytes": len(to_json(clusterer.snapshot())),
            **{name: summary(profiles, own) for name, own in runs.items()},
        }
        say(f"{algorithm} {projection}: V {row['alone']['v']} alone, {row['trainer']['v']}")
        rows.append(row)
    return {
        "machine": machine.embedding_facts(),
        "file": arguments.data.name,
        "profiles": len(profiles.users),
        "users": len(profiles.labels),
        "final_users": len(profiles.final),
        "least_events": arguments.least_events,
        "segments": arguments.segments,
        "dimensions": arguments.dimensions,
        "seeds": arguments.seeds,
        "offline": offline(arguments, profiles),
        "rows": rows,
    }


def offline(arguments: argparse.Namespace, profiles: Profiles) -> Figures:
    """Cluster the last profiles with scikit-learn's k-means, the goal of all streams."""
    vectors = profiles.vectors[profiles.final]
    found = [
        profiles.agreement(
            profiles.final.tolist(),
            offline_kmeans(vectors, arguments.segments, seed).rows.tolist(),
        )
        for seed in range(arguments.seeds)
    ]
    return {
        "v": _mean([each.v_measure for each in found]),
        "ari": _mean([each.adjusted_rand for each in found]),
    }


def summary(profiles: Profiles, runs: Sequence[Run]) -> Figures:
    """Means over the seeds."""
    final, prequential = [], []
    for run in runs:
        final.append(profiles.agreement(profiles.final.tolist(), run.segments))
        known = [
            row
            for row, segment in enumerate(run.foreseen)
            if segment is not None and profiles.users[row] in profiles.labels
        ]
        foreseen = [
            segment for segment in (run.foreseen[row] for row in known) if segment is not None
        ]
        prequential.append(profiles.agreement(known, foreseen) if known else Agreement(0, 0, 0, 0))
    each = [1e6 * run.seconds / len(profiles.users) for run in runs]
    return {
        "v": _mean([found.v_measure for found in final]),
        "v_least": round(min(found.v_measure for found in final), 4),
        "ari": _mean([found.adjusted_rand for found in final]),
        "prequential_v": _mean([found.v_measure for found in prequential]),
        "prequential_ari": _mean([found.adjusted_rand for found in prequential]),
        "microseconds": round(float(np.median(each)), 1),
        "segments": [run.number for run in runs],
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


# --- the page -------------------------------------------------------------------------------------


def tables(figures: Figures) -> str:
    """Write the two tables in Markdown."""
    goal, cpu = figures["offline"], figures["machine"]["cpu"]
    lines = [
        f"{figures['profiles']:,} profiles of {figures['users']:,} users as a trainer gets them "
        f"from `{figures['file']}`; final figures are of the {figures['final_users']:,} users with "
        f"{figures['least_events']} events or more. {figures['segments']} segments wanted, "
        f"{figures['dimensions']} dimensions in a projection, means of {figures['seeds']} seeds, "
        f"on {cpu}. k-means of scikit-learn on the last profiles: V = {goal['v']:.2f}, "
        f"ARI = {goal['ari']:.2f}.",
    ]
    for name, title in (("trainer", "In the trainer"), ("alone", "Alone")):
        head = ["algorithm", "projection", "V", "least V", "ARI", "V, prequential"]
        head += ["ARI, prequential", "µs a profile", "segments", "memory", "state"]
        rows = []
        for row in figures["rows"]:
            own = row[name]
            found = sorted(set(own["segments"]))
            number = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
            cells = [
                row["algorithm"],
                row["projection"],
                *(f"{own[key]:.2f}" for key in ("v", "v_least", "ari")),
                *(f"{own[key]:.2f}" for key in ("prequential_v", "prequential_ari")),
                f"{own['microseconds']:,.0f}",
                number,
                _size(row["bytes"]),
                _size(row["state_bytes"]),
            ]
            rows.append(cells)
        lines += ["", f"**{title}**", "", table(head, rows, texts=2)]
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def rendered(text: str, output: Path) -> str:
    """Give the page's text with the tables of the results; the rest stays."""
    if not output.exists():
        return text
    return render(text, "clusterers", tables(json.loads(output.read_text(encoding="utf-8"))))


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--vectors", type=Path, help="keeps the texts' vectors for the next run (.npz)")
    add("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS, help="only these")
    add("--projections", nargs="+", default=PROJECTIONS, choices=PROJECTIONS, help="only these")
    add("--dimensions", type=int, default=32, help="dimensions of a projection")
    add("--segments", type=int, default=6, help="segments wanted")
    add("--least-events", type=int, default=10, help="users with fewer have no final figures")
    add("--seeds", type=int, default=3, help="runs of each")
    add("--output", type=Path, default=OUTPUT, help="where figures go")
    add("--render", action="store_true", help="only write the results into docs/clustering.md")
    return parser.parse_args(given)


def main() -> None:
    arguments = parse()
    if not arguments.render:
        with tempfile.TemporaryDirectory(prefix="bench-clusterers-") as name:
            stored = arguments.vectors or Path(name) / "vectors.npz"
            profiles = read_profiles(
                arguments.data, stored, lambda: load_embedder(Settings()), arguments.least_events
            )
        figures = measure(arguments, profiles)
        arguments.output.parent.mkdir(exist_ok=True)
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(tables(figures))
        return
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), OUTPUT), encoding="utf-8")


if __name__ == "__main__":
    main()
