"""Drift: false alarms where nothing changes, and how soon a tenth of what is written is noticed.

    python -m benchmarks.drift --vectors vectors.npz

Stationary streams are the real posts in random order, and users who come and go and write real
posts on topics of theirs. In the shifted ones a tenth of the events change their topic. All run
through the trainer's own stage with its default settings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.changelog import model_of
from benchmarks.drifting import detectors, report, runs, streams
from benchmarks.drifting.runs import EMBEDDING, Look
from benchmarks.drifting.streams import Change, Stream
from benchmarks.flapping.texts import Posts, read_posts
from benchmarks.machine import embedding_facts
from benchmarks.shared import DOCS, Figures, parser, run, say, write_page
from consumer.settings import Settings
from consumer.stages.training.stage import TrainingStage
from models.distances import Floats
from models.drift.check import TESTS, DriftCheck, Texts
from models.drift.features import RandomFeatures, median_distance, mmd_squared

PAGE, PICTURE = DOCS / "drift.md", DOCS / "drift.png"

KINDS: dict[str, Callable[[int, int], Change]] = {
    "new topic, a tenth": streams.new_topic,
    "topic swapped, a tenth": lambda count, one: streams.swapped(count, one, (one + 1) % count),
    "users move, a tenth": lambda count, one: streams.moved(count, one, (one + 2) % count),
    "new topic, a half": lambda count, one: streams.new_topic(count, one, 0.5),
}
"""Changes by name; each is made with every topic as the one that changes."""

TENTHS = [name for name in KINDS if "tenth" in name]

FEWER = 500
"""Users, to see what is lost with half of them."""

DETECTED = 20
"""Streams of a kind on which detectors are compared: some take milliseconds a value."""

PICTURED = {"users": 200, "every": 50}
"""Settings of the picture: the stream has few users, and six topics that come one after another."""


def follow(
    stream: Stream, settings: Settings, *, until_found: bool = False
) -> tuple[list[Look], TrainingStage]:
    """Run a stream; give the looks that compared something, and the stage as it is then."""
    stage = TrainingStage(settings)
    found = []
    for look in runs.looks(stream, settings, stage):
        found.append(look)
        late = stream.shift is not None and look.event > stream.shift
        if until_found and late and look.report.alarms:
            break
    return found, stage


def stationary(
    made: Callable[[int], Stream], count: int, settings: Settings
) -> tuple[dict[str, Any], list[detectors.Distances]]:
    """Run streams in which nothing changes."""
    looks, alarms, segments, detections, last = 0, 0, 0, 0, []
    tops: list[dict[str, float]] = []
    for seed in range(count):
        found, stage = follow(made(seed), settings)
        looks += len(found)
        alarms += any(look.report.alarms for look in found)
        segments += any(look.report.drifted_segments for look in found)
        detections += any(look.detected for look in found)
        tops += [{name: look.ratio(name) for name in TESTS} for look in found]
        if found:
            last.append(runs.distances(stage))
    return {
        "runs": count,
        "looks": looks,
        "alarms": alarms,
        "segment_alarms": segments,
        "detections": detections,
        "highest": {
            name: round(max((top[name] for top in tops), default=0.0), 3) for name in TESTS
        },
    }, last


def shifted(
    made: Callable[[int, int], Stream], topics: int, repeats: int, settings: Settings
) -> tuple[dict[str, Any], list[detectors.Distances]]:
    """Run streams in which something changes, each until that is found."""
    delays, missed, early, looks, last = [], 0, 0, 0, []
    found_by = dict.fromkeys(TESTS, 0)
    told = 0
    for repeat in range(repeats):
        for topic in range(topics):
            stream = made(topic, repeat)
            found, stage = follow(stream, settings, until_found=True)
            before = [look for look in found if look.event <= (stream.shift or 0)]
            looks += len(before)
            early += any(look.report.alarms for look in before)
            end = found[-1] if len(found) > len(before) else None
            if end is None or not end.report.alarms:
                missed += 1
            else:
                delays.append(end.event - (stream.shift or 0))
                told += bool(end.report.drifted_segments)
                for name in end.report.alarms:
                    found_by[name] += 1
            if found:
                last.append(runs.distances(stage))
    return {
        "runs": len(delays) + missed,
        "found": len(delays),
        "looks_before": looks,
        "false_before": early,
        "delay_median": median(delays) if delays else None,
        "delay_least": min(delays, default=None),
        "delay_most": max(delays, default=None),
        "found_by": found_by,
        "with_segments": told,
    }, last


def costs(posts: Posts, settings: Settings) -> dict[str, Any]:
    """Time a look, and what comes before the first one, with as many users as by default."""
    users = min(settings.drift.users, len(posts.vectors) // 2)
    drawn = np.random.default_rng(0).permutation(len(posts.vectors))[: 2 * users]
    vectors = posts.vectors[drawn].astype(np.float64)
    ranks = np.random.default_rng(1).random(2 * users)
    topics = int(posts.topics.max()) + 1
    centres = np.stack(
        [posts.vectors[posts.topics == topic].mean(axis=0) for topic in range(topics)]
    )
    first, second = (
        model_of(centres.astype(np.float64) + 1e-6 * version, EMBEDDING, version=version)
        for version in (1, 2)
    )
    reference, today = Texts(ranks[:users], vectors[:users]), Texts(ranks[users:], vectors[users:])
    set_ms, check = _timed(lambda: DriftCheck(reference, settings.drift, seed=0))
    check.look(today, first)
    both_ms, _ = _timed(lambda: check.look(today, second))
    look_ms, _ = _timed(lambda: check.look(today, second))
    return {
        "users": users,
        "reference_ms": set_ms,
        "version_ms": round(both_ms - look_ms, 1),
        "look_ms": look_ms,
        "us_a_sample": round(1e3 * look_ms / settings.drift.every),
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = work()
    return round(1e3 * (time.process_time() - begin), 1), result


def accuracy(posts: Posts) -> dict[str, float]:
    """Compare the random features with the exact kernel, between the topics' texts."""
    vectors = posts.vectors.astype(np.float64)
    bandwidth = median_distance(vectors)
    features = RandomFeatures.draw(vectors.shape[1], bandwidth, 0)
    errors = []
    random = np.random.default_rng(0)
    for topic in range(int(posts.topics.max()) + 1):
        own = random.permutation(np.flatnonzero(posts.topics == topic))[:300]
        rest = random.permutation(np.flatnonzero(posts.topics != topic))[:300]
        exact = _exact_mmd(vectors[own], vectors[rest], bandwidth)
        errors.append(abs(mmd_squared(features(vectors[own]), features(vectors[rest])) / exact - 1))
    return {"bandwidth": round(bandwidth, 4), "most_percent": round(100 * max(errors), 1)}


def _exact_mmd(vectors: Floats, others: Floats, bandwidth: float) -> float:
    def kernel(x: Floats, y: Floats) -> float:
        squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
        return float(np.exp(-squared / (2 * bandwidth**2)).mean())

    return kernel(vectors, vectors) + kernel(others, others) - 2 * kernel(vectors, others)


def pictured(posts: Posts) -> dict[str, Any]:
    """Follow the real stream, with one reference for good, and with retraining on alarm."""
    stream = streams.as_it_was(posts)
    figures: dict[str, Any] = {"settings": PICTURED, "topics": [], "looks": {}}
    for topic in range(int(posts.topics.max()) + 1):
        first = int(np.flatnonzero(posts.topics == topic)[0])
        figures["topics"].append({"name": posts.names[posts.users[first]], "first": first})
    for name, retrain in (("kept", False), ("retrained", True)):
        settings = Settings(drift={**PICTURED, "retrain": retrain})
        stage = TrainingStage(settings)
        figures["looks"][name] = [
            [
                look.event,
                *(round(look.ratio(test), 3) for test in TESTS),
                look.retrainings,
                round(look.churn or 0.0, 3),
                int(look.detected),
            ]
            for look in runs.looks(stream, settings, stage, batch=128)
        ]
    return figures


def measure(posts: Posts, count: int, repeats: int, events: int, settings: Settings) -> Any:
    """Measure everything; gives all figures."""
    topics = int(posts.topics.max()) + 1
    distances: dict[str, list[detectors.Distances]] = {}
    figures: dict[str, Any] = {
        "settings": {
            name: getattr(settings.drift, name)
            for name in ("users", "every", "significance", "segment_users")
        },
        "events": events,
        "stationary": {},
        "shifts": {},
    }
    still = streams.none(topics)
    stationaries: dict[str, Callable[[int], Stream]] = {
        "real posts, shuffled": lambda seed: streams.shuffled(posts, seed),
        "users who come and go": lambda seed: streams.made_up(posts, still, events, None, seed),
    }
    for name, make in stationaries.items():
        say(f"nothing changes: {name}")
        figures["stationary"][name], last = stationary(make, count, settings)
        distances.setdefault("nothing changes", []).extend(last)

    def changed(name: str) -> Callable[[int, int], Stream]:
        return lambda topic, repeat: streams.made_up(
            posts, KINDS[name](topics, topic), events, events // 2, 100 + topics * repeat + topic
        )

    for name in KINDS:
        say(name)
        found = shifted(changed(name), topics, repeats, settings)
        figures["shifts"][name], distances[name] = found
    say(f"with {FEWER} users")
    fewer = settings.model_copy(
        update={"drift": settings.drift.model_copy(update={"users": FEWER})}
    )
    figures["fewer"] = {"users": FEWER, "shifts": {}}
    for name in TENTHS:
        figures["fewer"]["shifts"][name], _ = shifted(changed(name), topics, 1, fewer)
    say("detectors")
    distances = {kind: looks[:DETECTED] for kind, looks in distances.items()}
    figures["streams"] = {kind: len(looks) for kind, looks in distances.items()}
    figures["detectors"] = detectors.compare(distances)
    figures["mmd"] = accuracy(posts)
    figures["cost"] = costs(posts, settings)
    say("the stream as it was")
    figures["stream"] = pictured(posts)
    return figures


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "drift.json", events=True, picture=PICTURE, page=True)
    made.add_argument("--runs", type=int, default=20, help="stationary streams of each kind")
    made.add_argument("--repeats", type=int, default=2, help="shifted streams by kind and topic")
    made.add_argument("--events", type=int, default=30_000, help="events of a made-up stream")
    return made.parse_args(given)


def main() -> None:
    options = parse()

    def measured(_work: Path) -> Figures:
        posts = read_posts(options.data, options.vectors)
        figures = measure(posts, options.runs, options.repeats, options.events, Settings())
        return figures | {"machine": embedding_facts()}

    figures = run(options, measured)
    report.draw(figures, options.picture)
    write_page(PAGE, {name: part(figures) for name, part in report.PARTS.items()})


if __name__ == "__main__":
    main()
