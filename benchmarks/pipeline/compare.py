"""The worker through a real Kafka, exactly once, beside what else could do the work, by turns.

    make bench-pipeline
    python -m benchmarks.pipeline compare --arms worker bare --streams million --quick

`worker`: this checkout's, with a table for a model. `bare`: a confluent-kafka loop that only
consumes, writes records of the same number and sizes, and commits. `former`: the build at 48f6e1e.
`quix`: Quix Streams with state, and one River learn and predict an event. The last two run in
environments of their own, which are made the first time and kept (--cache).

Each arm has topics of its own with the same events, which come when all of its processes have
their partitions: first those that fill the profiles, then those that are timed. Processor time is
read from /proc between two committed offsets. Then the same processes get live events at half of
the rate that they have just shown (at --most-rate at most, for which events are made), each timed
from produce until it is read by a reader of committed records.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks import machine
from benchmarks.pipeline import page
from benchmarks.pipeline.arms import ARMS, Arm, Place, Written, make
from benchmarks.pipeline.builds import default_cache
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.pipeline.live import Pair, Seen, drive, quantiles
from benchmarks.pipeline.page import OUTPUT, comparison, keep, render_page
from benchmarks.pipeline.processes import cpu_seconds
from benchmarks.pipeline.stage import STREAMS, TEXTS
from benchmarks.pipeline.stream import (
    SAMPLE,
    Event,
    earlier,
    line_of,
    make_table,
    multiplied,
    read_events,
)
from benchmarks.shared import DATA, Figures, say
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka

_PASS = 40
_GIVE_UP_SECONDS = 600
_LOOK_SECONDS = 0.02
_SIZED = 4096


@dataclass(frozen=True)
class Load:
    """A stream's events: those that fill the profiles, those that are timed, and live ones."""

    filling: list[Pair]
    timed: list[Pair]
    live: list[Pair]
    threshold: float

    def some(self, count: int) -> tuple[list[Pair], list[Pair]]:
        """Give the first timed events, and those that fill their users' profiles.

        A user without these would enter a segment, which takes two records more.
        """
        timed = self.timed[:count]
        users = {key for key, _ in timed}
        return [pair for pair in self.filling if pair[0] in users], timed


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--arms", nargs="*", choices=ARMS, default=list(ARMS), help="which arms")
    add("--streams", nargs="+", choices=STREAMS, default=list(STREAMS), help="which streams")
    add("--texts", nargs="+", choices=list(TEXTS), default=list(TEXTS), help="which texts")
    add("--users", type=int, default=1_000_000, help="users of the multiplied stream")
    add("--events", type=int, default=30_000, help="events that are timed")
    add("--quix-events", type=int, default=3_000, help="of these, for the slowest arm")
    add("--seconds", type=float, default=15, help="of live events; 0 for none")
    add("--most-rate", type=float, default=13_000, help="live events a second at most")
    add("--rounds", type=int, default=2, help="rounds")
    add("--quick", action="store_true", help="a small run, to see that all works")
    add("--workers", type=int, nargs="*", default=[], help="also so many, a partition each")
    add("--processes", type=int, nargs="*", default=[], help="also with so many that prepare")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--cache", type=Path, default=default_cache(), help="keeps environments and the table")
    add("--logs", type=Path, help="keeps the arms' logs")
    add("--output", type=Path, help="where the figures go; else to the page, but for --quick")


def measure(options: argparse.Namespace) -> Figures:
    """Measure all that is asked for, and write it."""
    if options.quick:
        options.events, options.quix_events, options.rounds = 4_096, 512, 1
        options.seconds = min(options.seconds, 3)
    kept = make_table(options.cache, options.data)
    output = options.output or (None if options.quick else OUTPUT)
    found = page.found(output, "compare", {})
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = options.logs or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        with EmbeddedKafka(Path(name) / "kafka") as kafka:
            for which in options.streams:
                for length in options.texts:
                    place = Place(kafka.bootstrap_servers, folder, kept, 1, options.cache, 1.0)
                    title, load = f"{which}, {length}", load_of(options, which, length)
                    # What has been measured is kept, whatever becomes of the rest.
                    for arms in _arms(kafka, place, load, options):
                        found[title] = found.get(title, {}) | arms
                        figures = keep(output, machine=machine.facts(), compare=found)
                    say(f"\n{title}\n{comparison(found[title])}")
    if output == OUTPUT:
        render_page()
    return figures


def load_of(options: argparse.Namespace, which: str, length: str) -> Load:
    """Make a stream's events."""
    events = read_events(options.data, TEXTS[length])
    live = round(options.most_rate * options.seconds)
    if which == "million":
        passing = multiplied(events, options.users, first_pass=_PASS)
        window = list(islice(passing, options.events))
        later = list(islice(passing, live))
        # Live ones too are mostly of users who are known; half of those who fill the rest will do.
        before = earlier([*window, *later[: live // 2]], events)
        threshold = min(1.0, SAMPLE / options.users)
        return Load(pairs(before), pairs(window), pairs(later), threshold)
    filling = max(1, len(events) - min(options.events, 3 * len(events) // 4))
    again = islice(_repeated(events), live)
    return Load(pairs(events[:filling]), pairs(events[filling:]), pairs(again), 1.0)


def _repeated(events: Sequence[Event]) -> Iterator[Event]:
    """Give the same users' events again and again, under ids of their own, in order of the time."""
    number = 0
    while True:
        number += 1
        for event in events[-5_000:]:
            yield {**event, "event_id": f"{event['event_id']}-again-{number}"}


def pairs(events: Sequence[Event] | Iterator[Event]) -> list[Pair]:
    """Give the records of events: key and value."""
    lines = (line_of(event).rstrip(b"\n").split(b"\t", 1) for event in events)
    return [(key, value) for key, value in lines]


def _arms(
    kafka: EmbeddedKafka, place: Place, load: Load, options: argparse.Namespace
) -> Iterator[dict[str, Figures]]:
    """Run all arms by turns, round by round, and after each run give what there is of all."""
    place = replace(place, threshold=load.threshold, out=written_for(place, load))
    contenders = [(name, name, place, 1) for name in options.arms]
    for number in options.processes:
        own = replace(place, sections={"batch": {"prepare_processes": number}})
        contenders.append((f"worker, {number} preparing", "worker", own, 1))
    for number in options.workers:
        own = replace(place, partitions=number)
        contenders.append((f"worker, {number} of them", "worker", own, number))
    runs: dict[str, list[Figures]] = {name: [] for name, *_ in contenders}
    for _ in range(options.rounds):
        for name, kind, own, count in contenders:
            runs[name].append(run_of(kafka, make(kind, own), count, load, options))
            say(f"  {name}: {runs[name][-1]}")
            yield {name: summary_of(each) for name, each in runs.items() if each}


def written_for(place: Place, load: Load) -> list[Written]:
    """Tell what the worker writes for an event."""
    path = place.folder / "sized.tsv"
    before, timed = load.some(_SIZED)
    some, fed = [*before, *timed], len(before)
    path.write_bytes(b"".join(key + b"\t" + value + b"\n" for key, value in some))
    with Checkout(ROOT) as checkout:
        checkout.ask("make", table=str(place.table), threshold=load.threshold, settings={})
        # As many at a time as the arms take: users with several events in a batch are written once.
        many = Settings().batch.max_records
        checkout.ask("feed", path=str(path), start=0, stop=fed, batch=many)
        out = checkout.ask("feed", path=str(path), start=fed, stop=len(some), batch=many)
    topics = {str(value): key for key, value in Settings().topics.model_dump().items()}
    key_bytes = statistics.mean(len(key) for key, _ in some)
    return [
        Written(
            topics[topic],
            count / out["events"],
            max(1, round(size / count - key_bytes)),
            out["headers"].get(topic, []),
        )
        for topic, (count, size) in out["out"].items()
        if topics[topic] in ("profiles", "changes", "memberships", "samples")
    ]


@dataclass(frozen=True)
class Look:
    """What was seen at a moment."""

    at: float
    offset: int
    cpu: dict[str, float]
    broker: float


def run_of(
    kafka: EmbeddedKafka, arm: Arm, count: int, load: Load, options: argparse.Namespace
) -> Figures:
    """Let so many processes of an arm work its backlog off, and then live events."""
    timed = load.timed[: options.quix_events] if arm.name == "quix" else load.timed
    filling = load.filling[: options.quix_events] if arm.name == "quix" else load.filling
    broker = kafka.pid(0) or 0
    admin = AdminClient({"bootstrap.servers": arm.place.servers})
    with closing(offsets_of(arm)) as offsets, ExitStack() as stack:
        processes = [stack.enter_context(arm.start(number)) for number in range(count)]

        def look() -> Look:
            offset, at = committed(offsets, arm), time.monotonic()
            cpu = [process.cpu() for process in processes]
            own = {f"{n} {name}": each for n, one in enumerate(cpu) for name, each in one.items()}
            own = cpu[0] if count == 1 else own
            return Look(at, offset, own, cpu_seconds(broker))

        def wait(holds: Callable[[], bool], what: str) -> None:
            deadline = time.monotonic() + _GIVE_UP_SECONDS
            while not holds():
                for process in processes:
                    process.check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{arm.name}: {what}: not in {_GIVE_UP_SECONDS} s")
                time.sleep(_LOOK_SECONDS)

        def reach(least: int) -> Look:
            wait(lambda: committed(offsets, arm) >= least, f"an offset of {least}")
            return look()

        # Else the first of several would take what the others have not joined for yet.
        wait(lambda: all_at_work(admin, arm, count), "its partitions")
        produce(arm.place.servers, arm.input, [*filling, *timed])
        first = reach(len(filling))
        last = reach(len(filling) + len(timed))
        figures = between(first, last)
        rate = min(options.most_rate, figures["events_a_second"] / 2)
        if rate == options.most_rate:
            say(f"  {arm.name} gets less than half of what it can: --most-rate")
        if options.seconds:
            live = load.live[: round(rate * options.seconds)]
            before = look()
            with Seen(arm.place.servers, arm.output, arm.place.partitions) as seen:
                begun, ended = drive(arm.place.servers, arm.input, live, rate, seen)
                # What is first compiled, connected and joined is no part of it.
                took = [each for at, each in seen.latencies if at > begun + (ended - begun) / 5]
                figures |= {
                    "live_rate": round(rate),
                    **quantiles(took),
                    "unseen": seen.left,
                    "live": between(before, look()),
                }
        figures["memory_mb"] = round(sum(process.memory() for process in processes))
    return figures


def between(first: Look, last: Look) -> Figures:
    """Tell what came to pass between two looks."""
    events = max(1, last.offset - first.offset)
    own = {
        name: (seconds - first.cpu.get(name, 0.0)) / events * 1e6
        for name, seconds in last.cpu.items()
    }
    return {
        "events_a_second": round(events / (last.at - first.at)),
        "cpu_us": round(sum(own.values()), 1),
        "cpu_us_by_process": {name: round(each, 1) for name, each in own.items()},
        "broker_cpu_us": round((last.broker - first.broker) / events * 1e6, 1),
    }


def all_at_work(admin: AdminClient, arm: Arm, count: int) -> bool:
    """Tell whether an arm's group has so many members, each with partitions of its input."""
    try:
        group = admin.describe_consumer_groups([arm.group], request_timeout=5)[arm.group].result()
    except KafkaException:  # it is not there yet, or its coordinator is busy; asked again
        return False
    members = [member.assignment.topic_partitions for member in group.members]
    return placed(members, arm.input, count)


def placed(members: Sequence[Sequence[TopicPartition]], topic: str, count: int) -> bool:
    """Tell whether there are so many members, each with a partition of a topic."""
    having = [own for own in members if any(place.topic == topic for place in own)]
    return len(members) == len(having) == count


def produce(servers: str, topic: str, what: Sequence[Pair]) -> None:
    """Write all records, whatever it takes, each once."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
        }
    )
    for key, value in what:
        producer.produce(topic, value, key)
        producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} records could not be written")


def offsets_of(arm: Arm) -> Consumer:
    """Make a client that asks for what an arm's group has committed, and is no member of it."""
    return Consumer(
        {
            "bootstrap.servers": arm.place.servers,
            "group.id": arm.group,
            # Else it waits for the end of the open transaction; there nearly always is one.
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )


def committed(offsets: Consumer, arm: Arm) -> int:
    """Sum the offsets that an arm's group has committed."""
    places = [TopicPartition(arm.input, number) for number in range(arm.place.partitions)]
    try:
        answers = offsets.committed(places, timeout=5)
    except KafkaException:  # the group's coordinator is busy; asked again
        return 0
    return sum(max(0, each.offset) for each in answers)


def summary_of(runs: Sequence[Figures]) -> Figures:
    """Give the run with the least processor time an event, and the quickest events a second."""
    best = min(runs, key=lambda run: float(run["cpu_us"]))
    quickest = max(float(run["events_a_second"]) for run in runs)
    return {**best, "events_a_second": quickest, "cpu_us_of_rounds": [r["cpu_us"] for r in runs]}
