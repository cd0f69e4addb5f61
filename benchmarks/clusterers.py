"""River's clusterers on the profiles of real users: quality, time, segments and memory.

    python -m benchmarks.clusterers --vectors /tmp/vectors.npz

The trainer's input is made once: the worker's own stage runs over the events, and what it would
send to the trainer is kept. Each algorithm then learns that stream, in each projection, twice:
alone (River's estimator with a warm start) and as the trainer runs it (with a sample of users and
looks at it). See docs/clustering.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.clustering.profiles import Profiles, read_profiles
from benchmarks.clustering.runs import Run, alone, held, run_alone, run_trainer
from benchmarks.markdown import Cell, columns
from benchmarks.shared import DOCS, Figures, parser, run, say, write_page
from models.clustering.clusterers.state import to_json
from models.clustering.learner import StreamingClusterer
from models.clustering.policy import ALGORITHMS, PROJECTIONS, ClusteringPolicy
from models.measures.agreement import Agreement
from models.measures.offline import offline_kmeans

PAGE = DOCS / "clustering.md"


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
            runs["alone"].append(run_alone(clusterer, profiles, policy))
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
    for each in runs:
        final.append(profiles.agreement(profiles.final.tolist(), each.segments))
        known = [
            row
            for row, segment in enumerate(each.foreseen)
            if segment is not None and profiles.users[row] in profiles.labels
        ]
        foreseen = [
            segment for segment in (each.foreseen[row] for row in known) if segment is not None
        ]
        prequential.append(profiles.agreement(known, foreseen) if known else Agreement(0, 0, 0, 0))
    times = [1e6 * each.seconds / len(profiles.users) for each in runs]
    return {
        "v": _mean([found.v_measure for found in final]),
        "v_least": round(min(found.v_measure for found in final), 4),
        "ari": _mean([found.adjusted_rand for found in final]),
        "prequential_v": _mean([found.v_measure for found in prequential]),
        "prequential_ari": _mean([found.adjusted_rand for found in prequential]),
        "microseconds": round(float(np.median(times)), 1),
        "segments": [each.number for each in runs],
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
        cells: dict[str, Cell] = {
            "algorithm": "{algorithm}",
            "projection": "{projection}",
            "V": f"{{{name}[v]:.2f}}",
            "least V": f"{{{name}[v_least]:.2f}}",
            "ARI": f"{{{name}[ari]:.2f}}",
            "V, prequential": f"{{{name}[prequential_v]:.2f}}",
            "ARI, prequential": f"{{{name}[prequential_ari]:.2f}}",
            "µs a profile": f"{{{name}[microseconds]:,.0f}}",
            "segments": lambda row, name=name: _numbers(row[name]["segments"]),
            "memory": lambda row: _size(row["bytes"]),
            "state": lambda row: _size(row["state_bytes"]),
        }
        lines += ["", f"**{title}**", "", columns(figures["rows"], cells, texts=2)]
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def _numbers(found: Sequence[int]) -> str:
    least, most = min(found), max(found)
    return f"{least}" if least == most else f"{least} to {most}"


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "clusterers.json", events=True, page=True)
    add = made.add_argument
    add("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS, help="only these")
    add("--projections", nargs="+", default=PROJECTIONS, choices=PROJECTIONS, help="only these")
    add("--dimensions", type=int, default=32, help="dimensions of a projection")
    add("--segments", type=int, default=6, help="segments wanted")
    add("--least-events", type=int, default=10, help="users with fewer have no final figures")
    add("--seeds", type=int, default=3, help="runs of each")
    return made.parse_args(given)


def main() -> None:
    options = parse()

    def measured(_work: Path) -> Figures:
        return measure(options, read_profiles(options.data, options.vectors, options.least_events))

    figures = run(options, measured)
    if options.render:
        write_page(PAGE, {"clusterers": tables(figures)})
    else:
        print(tables(figures))


if __name__ == "__main__":
    main()
