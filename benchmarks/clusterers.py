"""River's clusterers on the profiles of real users: quality, time, segments and memory.

    python -m benchmarks.clusterers --vectors /tmp/vectors.npz

The trainer's input is made once: the worker's own stage runs over the events, and what it would
send to the trainer is kept. Each algorithm then learns that stream, in each projection, twice:
alone (River's estimator with a warm start) and as the trainer runs it (with a sample of users and
looks at it). See docs/clustering.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from benchmarks import machine
from benchmarks.embed import DATA, RESULTS, say
from benchmarks.embed_quality import Collector, Lookup
from benchmarks.embedding.report import render
from benchmarks.embedding.rounds import ROOT
from consumer.app import load_embedder
from consumer.files import read_lines
from consumer.records import Record
from consumer.replay import FixedModel
from consumer.settings import Settings
from consumer.stages.segmentation import SegmentationStage
from models.clusterers import ALGORITHMS, PROJECTIONS, Clusterer, make_clusterer, to_json
from models.clustering import StreamingClusterer
from models.clustering_policy import ClusteringPolicy
from models.distances import Floats, Ints, nearest
from models.embedding import Vectors
from models.evaluation import Agreement, agreement
from models.sample import UserSample
from models.segments import SegmentModel
from schemas.base import decode_array
from schemas.profiles import ProfileSample

PAGE = ROOT / "docs" / "clustering.md"
BATCH = 100
"""Profiles after which the trainer is asked for a new version."""

OUTPUT = RESULTS / "clusterers.json"

Figures = dict[str, Any]


@dataclass(frozen=True)
class Profiles:
    """What the trainer reads, in order, and the truth about it.

    Attributes
    ----------
    users
        n users, one as often as there is a new profile of theirs.
    vectors
        float64[n, d], of unit length.
    weights
        float64[n].
    labels
        The true segment of each user: the label that most of their events carry.
    final
        int64[m]. Rows of the last profiles of users with enough events.
    """

    users: list[str]
    vectors: Floats
    weights: Floats
    labels: dict[str, str]
    final: Ints

    def agreement(self, rows: Sequence[int], segments: Sequence[int | None]) -> Agreement:
        """Compare the segments of some rows with the truth."""
        return agreement([self.labels[self.users[row]] for row in rows], segments)


# --- the trainer's input --------------------------------------------------------------------------


def read_profiles(path: Path, vectors: Path | None, least_events: int) -> Profiles:
    """Run the events through the worker's stage, and keep what it sends to the trainer.

    Parameters
    ----------
    path
        Events with labels, as JSON lines.
    vectors
        Where the texts' vectors are kept; they are embedded and written where it is not there.
    least_events
        For a user to be in `final`.
    """
    lines = list(read_lines(path))
    texts, rows = _texts(lines)
    found = _vectors(texts, rows, vectors)
    users, profiles, weights = [], [], []
    for sample in _samples(lines, Lookup(texts, found)):
        users.append(sample.user_id)
        profiles.append(decode_array(sample.vector, "<f4").astype(np.float64))
        weights.append(sample.weight)
    events, labels = Counter[str](), dict[str, Counter[str]]()
    for event in map(json.loads, lines):
        events[event["user_id"]] += 1
        if event["label"] is not None:
            labels.setdefault(event["user_id"], Counter())[event["label"]] += 1
    last = {user: row for row, user in enumerate(users) if user in labels}
    return Profiles(
        users,
        np.stack(profiles),
        np.array(weights),
        {user: own.most_common(1)[0][0] for user, own in labels.items()},
        np.array([row for user, row in last.items() if events[user] >= least_events]),
    )


def _stage(embedder: Any) -> SegmentationStage:
    now = datetime.now(UTC)
    stage = SegmentationStage(Settings(), embedder, FixedModel(), intake_clock=lambda: now)
    stage.assigned(0, stage.restoration(0))
    return stage


def _records(lines: Sequence[bytes]) -> list[Record]:
    topic = Settings().topics.events
    return [
        Record(topic, 0, offset, -1, json.loads(line)["user_id"].encode(), line)
        for offset, line in enumerate(lines)
    ]


def _texts(lines: Sequence[bytes]) -> tuple[dict[str, int], list[int]]:
    """Number the cleaned texts, and give the line in which each is first."""
    collector = Collector(1)
    stage, rows = _stage(collector), list[int]()
    for offset, record in enumerate(_records(lines)):
        stage.prepare([record])
        rows += [offset] * (len(collector.texts) - len(rows))
    return collector.texts, rows


def _vectors(texts: dict[str, int], rows: Sequence[int], path: Path | None) -> Vectors:
    """Give the texts' vectors, float32[t, d]; the file has them by line, from 0."""
    if path is not None and path.exists():
        kept = np.load(path)
        place = {line: row for row, line in enumerate(kept["row"].tolist())}
        found: Vectors = kept["vectors"][[place[row] for row in rows]].astype(np.float32)
        return found
    say(f"embedding {len(texts):,} texts")
    with load_embedder(Settings()) as embedder:
        every = list(texts)
        parts = [embedder.embed(every[start : start + 512]) for start in range(0, len(every), 512)]
    if path is not None:
        np.savez(path, row=np.array(rows), vectors=np.concatenate(parts))
    return np.concatenate(parts)


def _samples(lines: Sequence[bytes], embedder: Any) -> Iterator[ProfileSample]:
    settings, stage, records = Settings(), _stage(embedder), _records(lines)
    size = settings.batch.max_records
    for start in range(0, len(records), size):
        for output in stage.apply(stage.prepare(records[start : start + size]), frozenset({0})):
            if output.topic == settings.topics.samples and output.value is not None:
                yield ProfileSample.model_validate_json(output.value)
        stage.committed()


# --- learning -------------------------------------------------------------------------------------


@dataclass
class Run:
    """One algorithm over the stream.

    Attributes
    ----------
    seconds
        Processor time of learning: all profiles, the warm-up and the looks among them.
    foreseen
        Segment of each profile before it was learned; None before there were segments.
    segments
        Segment of each last profile in the end.
    number
        Segments in the end.
    """

    seconds: float
    foreseen: list[int | None]
    segments: list[int]
    number: int


def run_alone(clusterer: Clusterer, profiles: Profiles) -> Run:
    """Let a clusterer learn by itself; segments are its labels."""
    return _run(
        profiles,
        lambda row: clusterer.learn(profiles.vectors[row], profiles.weights[row]),
        lambda rows: clusterer.labels(profiles.vectors[rows]) if clusterer.ready else None,
        lambda: len(clusterer.centres),
    )


def run_trainer(learner: StreamingClusterer, profiles: Profiles) -> Run:
    """Let the trainer's clusterer learn; segments are those of the versions that it publishes."""
    model: SegmentModel | None = None

    def publish() -> None:
        nonlocal model
        if learner.due(model):
            model = learner.snapshot(model)

    def learn(row: int) -> None:
        learner.learn(profiles.users[row], profiles.vectors[row], {}, profiles.weights[row])

    def label(rows: Ints) -> Ints | None:
        if rows[0] % BATCH == 0:
            publish()
        if model is None:
            return None
        segments: Ints = model.ids[nearest(profiles.vectors[rows], model.centres)[0]]
        return segments

    run = _run(profiles, learn, label, lambda: 0)
    begun = time.process_time()
    learner.settle()
    run.seconds += time.process_time() - begun
    publish()
    segments = label(profiles.final)
    if segments is not None and model is not None:
        run.segments, run.number = segments.tolist(), len(model.ids)
    return run


def _run(
    profiles: Profiles,
    learn: Callable[[int], None],
    label: Callable[[Ints], Ints | None],
    number: Callable[[], int],
) -> Run:
    seconds, foreseen = 0.0, list[int | None]()
    for row in range(len(profiles.users)):
        segment = label(np.array([row]))
        foreseen.append(None if segment is None else int(segment[0]))
        begun = time.process_time()
        learn(row)
        seconds += time.process_time() - begun
    segments = label(profiles.final)
    if segments is None:
        return Run(seconds, foreseen, [0] * len(profiles.final), 0)
    return Run(seconds, foreseen, segments.tolist(), number())


def held(clusterer: Clusterer) -> int:
    """Measure the memory that a copy of a clusterer takes in Python, in bytes."""
    tracemalloc.start()
    copied = copy.deepcopy(clusterer)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del copied
    return size


def measure(arguments: argparse.Namespace, profiles: Profiles) -> Figures:
    """Run everything; gives all figures."""
    rows = []
    for algorithm, projection in product(arguments.algorithms, arguments.projections):
        runs: dict[str, list[Run]] = {"alone": [], "trainer": []}
        for seed in range(arguments.seeds):
            policy = ClusteringPolicy(
                segments=arguments.segments,
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


def alone(policy: ClusteringPolicy, profiles: Profiles) -> Clusterer:
    """Make a clusterer that has no trainer, but the same sample for the centres of a projection."""
    sample = UserSample(policy.sample_users)
    for user, vector, weight in zip(
        profiles.users, profiles.vectors, profiles.weights, strict=True
    ):
        sample.put(user, vector, {}, weight)
    members = (sample.vectors(), sample.weights())
    return make_clusterer(
        policy.algorithm,
        policy.segments,
        seed=policy.seed,
        step=policy.step,
        projection=policy.projection,
        dimensions=policy.projection_dimensions,
        members=lambda: members,
    )


def offline(arguments: argparse.Namespace, profiles: Profiles) -> Figures:
    """Cluster the last profiles with scikit-learn's k-means, the goal of all streams."""
    vectors = profiles.vectors[profiles.final]
    found = [
        profiles.agreement(
            profiles.final.tolist(),
            KMeans(arguments.segments, n_init=10, random_state=seed).fit_predict(vectors).tolist(),
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
        lines += [
            "",
            f"**{title}**",
            "",
            "| algorithm | projection | V | least V | ARI | V, prequential | ARI, prequential "
            "| µs a profile | segments | memory | state |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
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
            lines.append(f"| {' | '.join(cells)} |")
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
        figures = measure(
            arguments, read_profiles(arguments.data, arguments.vectors, arguments.least_events)
        )
        arguments.output.parent.mkdir(exist_ok=True)
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(tables(figures))
        return
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), OUTPUT), encoding="utf-8")


if __name__ == "__main__":
    main()
