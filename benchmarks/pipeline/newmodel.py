"""How long live events take while all users are looked at under a new segment model.

    python -m benchmarks.pipeline newmodel --users 1000000 --moves none all

The changelog of a group is filled with so many users on one partition, and a worker started that
follows the topic of models. It works a backlog off, which tells its capacity; then it gets live
events at half of that (at --most-rate at most), each timed from produce until a reader of committed
records sees its user's profile. A while later a model is published under which nobody moves, or
everybody: events that were produced between that and the moment when the worker says it has settled
are told apart from those before it.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.changelog import centres, commit_offsets, fill, model_of, user_name
from benchmarks.pipeline.anywhere import IDENTITY
from benchmarks.pipeline.arms import WAIT_SECONDS, Arm, Place, make
from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.compare import committed, offsets_of, pairs, produce
from benchmarks.pipeline.live import Pair, Seen, drive, quantiles
from benchmarks.pipeline.page import keep, newmodel
from benchmarks.pipeline.processes import Measured
from benchmarks.pipeline.stream import SHORT_WORDS, make_table, read_events
from benchmarks.shared import DATA, Figures, read, say
from consumer.tryout.broker import EmbeddedKafka
from schemas.segment_model import SEGMENT_MODEL_KEY

_GIVE_UP_SECONDS = 900
_FILLING, _TIMED = 4_096, 16_384
MOVES = ("none", "all")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--users", type=int, default=1_000_000, help="users with a profile")
    add("--moves", nargs="+", choices=MOVES, default=["none"], help="who moves")
    add("--seconds", type=float, default=15, help="of live events before the model")
    add("--wait", type=float, default=WAIT_SECONDS, help="batch.max_wait_seconds")
    add("--most-rate", type=float, default=4_000, help="live events a second at most")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--logs", type=Path, help="keeps the worker's logs")
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
    former = read(options.output).get("newmodel", []) if options.output else []
    return keep(options.output, newmodel=[*former, *rows])


def _one(place: Place, moves: str, options: argparse.Namespace) -> Figures:
    arm = make("worker", place, live_model=True)
    publish(arm, version=1, shift=0)
    commit_offsets(arm.settings)
    begun = time.monotonic()
    fill(arm.settings, range(options.users), 0, IDENTITY)
    say(f"  {options.users:,} users written in {time.monotonic() - begun:.0f} s")
    live = events_of(options, _FILLING + _TIMED, "live")
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
        until(lambda: settled(process, arm, 1), "the worker is ready and has settled")
        say(f"  ready and settled after {time.monotonic() - begun:.1f} s")
        produce(place.servers, arm.input, live)
        first = until(lambda: committed(offsets, arm) >= _FILLING, "the backlog begins")
        behind = committed(offsets, arm)
        last = until(lambda: committed(offsets, arm) >= len(live), "the backlog is worked off")
        capacity = (len(live) - behind) / (last - first)
        rate = min(options.most_rate, capacity / 2)
        return {
            "moves": moves,
            "users": options.users,
            "capacity": round(capacity),
            "live_rate": round(rate),
            "max_wait_ms": round(options.wait * 1000),
            **_live(arm, process, moves, rate, options),
            "memory_mb": round(process.memory()),
        }


def _live(
    arm: Arm,
    process: Measured,
    moves: str,
    rate: float,
    options: argparse.Namespace,
) -> Figures:
    """Drive events before and under a new model, and tell the two apart."""
    stopping = threading.Event()
    load = events_of(options, round(rate * 300), "steady")
    place = arm.place
    with Seen(place.servers, arm.output, place.partitions) as seen:
        driver = threading.Thread(
            target=drive, args=(place.servers, arm.input, load, rate, seen, stopping), daemon=True
        )
        driver.start()
        time.sleep(options.seconds + 3)
        published = time.monotonic()
        publish(arm, version=2, shift=1 if moves == "all" else 0)
        while not settled(process, arm, 2) and driver.is_alive():
            process.check()
            time.sleep(0.05)
        ended = time.monotonic()
        stopping.set()
        driver.join()
    before = [took for at, took in seen.latencies if published - options.seconds < at < published]
    during = [took for at, took in seen.latencies if published <= at <= ended]
    without, under = quantiles(before), quantiles(during)
    return {
        "without": without,
        "under": under,
        "seconds": round(ended - published, 1),
        "events": len(during),
        "ratio_p99": round(under["p99_ms"] / without["p99_ms"], 2),
    }


def publish(arm: Arm, version: int, shift: int) -> None:
    """Publish a model as the trainer does; a shift takes each segment's place to the next one."""
    record = model_of(np.roll(centres(), shift, axis=0), IDENTITY, version=version).to_record()
    producer = Producer({"bootstrap.servers": arm.place.servers})
    value = record.model_dump_json().encode()
    producer.produce(arm.settings.topics.models, value, SEGMENT_MODEL_KEY, partition=0)
    if producer.flush(30):
        raise RuntimeError("the model could not be published")


def settled(process: Measured, arm: Arm, version: int) -> bool:
    """Tell whether the worker has looked at all users under a version."""
    process.check()
    told: dict[str, float] = {}
    with suppress(OSError):
        url = f"http://127.0.0.1:{arm.port}/metrics"
        with urllib.request.urlopen(url, timeout=2) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                for sample in family.samples:
                    told[sample.name] = sample.value
    return told.get("segmenter_settled") == 1 and told.get("segmenter_model_version", 0) >= version


def events_of(options: argparse.Namespace, count: int, name: str) -> list[Pair]:
    """Make events of the users in the changelog, with the texts of the stream."""
    draw = random.Random(name)
    texts = [event["text"] for event in read_events(options.data, SHORT_WORDS)]
    return pairs(
        [
            {
                "event_id": f"{name}-{number}",
                "user_id": user_name(draw.randrange(options.users)),
                "type": "comment",
                "text": texts[number % len(texts)],
                "occurred_at": "2024-01-01T00:00:00Z",
            }
            for number in range(count)
        ]
    )
