"""How long live events take while all users are looked at under a new segment model.

    python -m benchmarks.pipeline newmodel --users 1000000 --moves none all

The changelog of a group is filled with so many users on one partition, of whom the trainer samples
as many as by default, and a worker started that follows the topic of models. It works a backlog
off, which tells its capacity; then it gets live events at half of that, each timed from produce
until a reader of committed records sees its user's profile. A while later a model is published
under which nobody moves, or everybody: events that were produced between that and the moment when
the worker says it has settled are told apart from those before it. So it goes on, model by model;
medians count.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.changelog import centres, commit_offsets, fill, model_of, user_name
from benchmarks.pipeline.anywhere import IDENTITY
from benchmarks.pipeline.arms import WAIT_SECONDS, Arm, Place, make
from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.compare import committed, offsets_of, produce
from benchmarks.pipeline.live import Pair, Seen, drive, quantiles
from benchmarks.pipeline.page import found, keep, newmodel
from benchmarks.pipeline.processes import Measured
from benchmarks.pipeline.stream import SAMPLE, SHORT_WORDS, make_table, read_events
from benchmarks.shared import DATA, Figures, say
from consumer.tryout.broker import EmbeddedKafka
from schemas.segment_model import SEGMENT_MODEL_KEY

_GIVE_UP_SECONDS, _SETTLING_SECONDS = 900, 600
# To ask costs the worker some of its time.
_ASKING_SECONDS, _WARM_SECONDS = 0.5, 3.0
_FILLING, _TIMED = 16_384, 65_536
MOVES = ("none", "all")
Metrics = dict[tuple[str, ...], float]


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--users", type=int, default=1_000_000, help="users with a profile")
    add("--moves", nargs="+", choices=MOVES, default=["none"], help="who moves")
    add("--rounds", type=int, default=3, help="models, one after the other")
    add("--seconds", type=float, default=15, help="of live events before each model")
    add("--wait", type=float, default=WAIT_SECONDS, help="batch.max_wait_seconds")
    add("--most-rate", type=float, default=math.inf, help="live events a second at most")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--logs", type=Path, help="keeps the worker's logs")
    add("--build", default="", help="what the rows are of, such as a commit")
    add("--output", type=Path, help="where the figures go, into what is there")


def measure(options: argparse.Namespace) -> Figures:
    """Measure all that is asked for, and tell it."""
    kept = make_table(options.cache, options.data)
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = options.logs or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for moves in options.moves:
            with EmbeddedKafka(Path(name) / f"kafka-{moves}") as kafka:
                place = Place(kafka.bootstrap_servers, folder, kept, 1, options.cache, 1.0)
                place.sections["batch"] = {"max_wait_seconds": options.wait}
                rows.append(_one(place, moves, options))
                say(newmodel(rows))
    return keep(options.output, newmodel=[*found(options.output, "newmodel", []), *rows])


def _one(place: Place, moves: str, options: argparse.Namespace) -> Figures:
    arm = make("worker", place, live_model=True)
    models = models_of(arm, moves, options.users)
    next(models)
    commit_offsets(arm.settings)
    begun = time.monotonic()
    fill(arm.settings, range(options.users), 0, IDENTITY, words=False)
    say(f"  {options.users:,} users written in {time.monotonic() - begun:.0f} s")
    backlog = list(islice(events_of(options, "backlog"), _FILLING + _TIMED))
    with closing(offsets_of(arm)) as offsets, arm.start() as process:

        def until(holds: Callable[[], bool], what: str) -> float:
            deadline = time.monotonic() + _GIVE_UP_SECONDS
            while not holds():
                process.check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{what}: not in {_GIVE_UP_SECONDS} s")
                time.sleep(0.02)
            return time.monotonic()

        begun = time.monotonic()
        until(lambda: settled(told_by(process, arm), 1), "the worker is ready and has settled")
        say(f"  ready and settled after {time.monotonic() - begun:.1f} s")
        produce(place.servers, arm.input, backlog)
        first = until(lambda: committed(offsets, arm) >= _FILLING, "the backlog begins")
        behind = committed(offsets, arm)
        last = until(lambda: committed(offsets, arm) >= len(backlog), "the backlog is worked off")
        capacity = (len(backlog) - behind) / (last - first)
        rate = min(options.most_rate, capacity / 2)
        return {
            "build": options.build,
            "moves": moves,
            "users": options.users,
            "capacity": round(capacity),
            "live_rate": round(rate),
            "max_wait_ms": round(options.wait * 1000),
            **_live(arm, process, models, rate, options),
            "memory_mb": round(process.memory()),
        }


def _live(
    arm: Arm,
    process: Measured,
    models: Iterator[int],
    rate: float,
    options: argparse.Namespace,
) -> Figures:
    """Drive events before and under new models, and tell the two apart."""
    stopping, place = threading.Event(), arm.place
    load = events_of(options, "live")
    times: list[tuple[float, float]] = []
    with Seen(place.servers, arm.output, place.partitions) as seen:
        driver = threading.Thread(
            target=drive, args=(place.servers, arm.input, load, rate, seen, stopping), daemon=True
        )
        driver.start()
        time.sleep(_WARM_SECONDS)
        before = told_by(process, arm)
        for _ in range(options.rounds):
            time.sleep(options.seconds)
            published = time.monotonic()
            version = next(models)
            while not settled(after := told_by(process, arm), version) and driver.is_alive():
                if time.monotonic() > published + _SETTLING_SECONDS:
                    raise RuntimeError(f"not settled in {_SETTLING_SECONDS} s")
                time.sleep(_ASKING_SECONDS)
            times.append((published, time.monotonic()))
            say(f"  settled after {times[-1][1] - published:.1f} s")
            # What waited for its turn meanwhile is not what a round without a model begins with.
            time.sleep(_WARM_SECONDS)
        stopping.set()
        driver.join()
    if rebalances(after) != rebalances(before):
        raise RuntimeError("a rebalance has come between: the figures say nothing")
    return summary_of([round_of(seen.latencies, options.seconds, *of_round) for of_round in times])


def round_of(
    latencies: Sequence[tuple[float, float]], seconds: float, published: float, settled: float
) -> Figures:
    """Tell the latencies of a round apart: those before a model, and those until it is settled."""
    before = [took for at, took in latencies if published - seconds < at < published]
    during = [took for at, took in latencies if published <= at <= settled]
    without, under = quantiles(before), quantiles(during)
    return {
        "without": without,
        "under": under,
        "ratio_p99": round(under["p99_ms"] / without["p99_ms"], 2),
        "seconds": round(settled - published, 1),
        "events": len(during),
    }


def summary_of(rounds: Sequence[Figures]) -> Figures:
    """Give the medians of rounds, and what of each is told besides."""
    parts = {
        part: {
            name: round(statistics.median(each[part][name] for each in rounds), 1)
            for name in ("p50_ms", "p99_ms")
        }
        for part in ("without", "under")
    }
    ratios, seconds = ([each[name] for each in rounds] for name in ("ratio_p99", "seconds"))
    return {
        **parts,
        "rounds": len(rounds),
        "ratio_p99": round(statistics.median(ratios), 2),
        "ratio_p99_of_rounds": ratios,
        "seconds": round(statistics.median(seconds), 1),
        "seconds_of_rounds": seconds,
        "events": sum(each["events"] for each in rounds),
    }


def models_of(arm: Arm, moves: str, users: int) -> Iterator[int]:
    """Publish one model after the other, as the trainer does, and give their versions.

    Where all are to move, each takes a segment's place to the next one.
    """
    producer = Producer({"bootstrap.servers": arm.place.servers})
    for version in count(1):
        places = np.roll(centres(), version - 1 if moves == "all" else 0, axis=0)
        model = model_of(places, IDENTITY, version=version)
        model = replace(model, sample_threshold=min(1.0, SAMPLE / users))
        value = model.to_record().model_dump_json().encode()
        producer.produce(arm.settings.topics.models, value, SEGMENT_MODEL_KEY, partition=0)
        if producer.flush(30):
            raise RuntimeError("the model could not be published")
        yield version


def told_by(process: Measured, arm: Arm) -> Metrics:
    """Give the worker's metrics, by name and labels; none while it does not answer."""
    process.check()
    told: Metrics = {}
    with suppress(OSError):
        url = f"http://127.0.0.1:{arm.port}/metrics"
        with urllib.request.urlopen(url, timeout=2) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                for sample in family.samples:
                    told[sample.name, *sample.labels.values()] = sample.value
    return told


def settled(told: Metrics, version: int) -> bool:
    """Tell whether the worker has looked at all users under a version."""
    known = told.get(("segmenter_model_version",), 0)
    return told.get(("segmenter_settled",)) == 1 and known >= version


def rebalances(told: Metrics) -> float:
    """Count how often partitions were given, taken and lost."""
    return sum(each for name, each in told.items() if name[0] == "segmenter_rebalances_total")


def events_of(options: argparse.Namespace, name: str) -> Iterator[Pair]:
    """Give events of the users in the changelog, with the texts of the stream, without an end."""
    draw = random.Random(name)
    texts = [event["text"] for event in read_events(options.data, SHORT_WORDS)]
    for number in count():
        event = {
            "event_id": f"{name}-{number}",
            "user_id": user_name(draw.randrange(options.users)),
            "type": "comment",
            "text": texts[number % len(texts)],
            "occurred_at": "2024-01-01T00:00:00Z",
        }
        yield event["user_id"].encode(), json.dumps(event).encode()
