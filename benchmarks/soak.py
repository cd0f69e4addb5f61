"""A soak: an hour under half of the capacity, in which nothing may grow, be lost or doubled.

    make soak
    python -m benchmarks.soak --minutes 6 --restart-minutes 2

Three workers with lasting names, a trainer and a Kafka broker on this machine; the segment model is
live. All users are seen first, and a backlog worked off, which tells the capacity. Then events come
at half of that, and every ten minutes all workers are restarted by turns, as a StatefulSet does it:
the last one first, SIGTERM, and the next one when its successor says that it is ready. Meanwhile
memory, threads and open files of each process are sampled, each event is timed from produce until a
reader of committed records sees its user's profile, and `segmenter verify --follow` looks on.

A figure is flat where the 95 % interval of its slope, times an hour, stays below a share (--share)
of its mean. That is asked of each process within its lives, all of which share a slope, and of the
workers across their lives but the first: whether each comes to a higher level than the one before.

Exit codes: 0 all is flat and nothing was lost or doubled; 1 something is not, or cannot be told in
so short a run, or a process did not do what it should; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks import machine
from benchmarks.pipeline.compare import produce
from benchmarks.pipeline.live import Pair, Seen, drive, quantiles
from benchmarks.shared import (
    DOCS,
    RESULTS,
    Figures,
    add_fields,
    parser,
    read,
    say,
    write,
    write_page,
)
from benchmarks.soaking.group import LOOK_SECONDS, Ends, Group, SoakError
from benchmarks.soaking.load import Stream, account, counted
from benchmarks.soaking.running import failed, measured
from benchmarks.soaking.verdict import BROKER, failures, growth, latency, report
from benchmarks.soaking.watching import Life, Sample, Watcher
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import Follower, verify_topics
from consumer.wiring.embedder import make_models
from tests.faults.watch import Watch

OUTPUT = RESULTS / "soak.json"
PAGE = DOCS / "reliability.md"
_PARTITIONS_A_WORKER = 2
_FIRST_EVENTS = 3
"""Of every user, before anything is measured: by then their profiles have what they will hold."""
_CAPACITY_SECONDS = 30
_SETTLE_SHARE = 0.2
"""Of the time between two restarts, for a process to come to its level."""
_CACHED_TEXTS = 100
"""The embedder's memory of texts is full at once: it would grow for long by what it may hold."""
_BEHIND_SECONDS, _UNSEEN_SECONDS, _VERIFY_SECONDS, _TELL_SECONDS = 300, 10, 120, 60.0


@dataclass(frozen=True)
class Options:
    """How long, and under what."""

    minutes: float = field(default=60.0, metadata={"help": "minutes of the load"})
    restart_minutes: float = field(
        default=10.0, metadata={"help": "minutes from one rolling restart to the next"}
    )
    workers: int = field(default=3, metadata={"help": "workers, two partitions each"})
    rate: float = field(
        default=0.0, metadata={"help": "events a second; 0 takes half of the capacity"}
    )
    users: int = field(default=1000, metadata={"help": "users who write"})
    share: float = field(
        default=0.1, metadata={"help": "of the mean that a flat figure gains in an hour at most"}
    )
    sample_seconds: float = field(
        default=2.0, metadata={"help": "seconds from one look at the processes to the next"}
    )


# --- the run --------------------------------------------------------------------------------


@dataclass
class Run:
    """What there is while it lasts, and what has been found by its end."""

    settings: Settings
    options: Options
    group: Group
    watch: Watch
    ends: Ends
    stream: Stream
    began: float = 0.0
    rolls: list[tuple[float, float]] = field(default_factory=list)
    """Begin of each rolling restart, and when what waited in it was worked off, by the clock of
    `time.monotonic`."""
    latencies: list[tuple[float, float]] = field(default_factory=list)
    unseen: int = 0
    """Events of which no reader of committed records has seen that they took effect."""
    _driver: threading.Thread | None = None

    def fill(self, pairs: Sequence[Pair]) -> float:
        """Write events and wait until they are worked off; give so many a second."""
        begun = time.monotonic()
        self._produce(pairs)
        self.catch_up()
        return len(pairs) / (time.monotonic() - begun)

    def capacity(self, pairs: Sequence[Pair]) -> float:
        """Let a backlog be worked off; give events a second of its bulk.

        Before, batches are not full; behind, some partitions are done with theirs.
        """
        done = sum(self.watch.committed.values())
        self._produce(pairs)
        first = self._committed(done + len(pairs) // 5)
        begun = time.monotonic()
        last = self._committed(done + len(pairs) * 4 // 5)
        rate = (last - first) / (time.monotonic() - begun)
        self.catch_up()
        return rate

    def _produce(self, pairs: Sequence[Pair]) -> None:
        produce(self.settings.kafka.bootstrap_servers, self.settings.topics.events, pairs)

    def _committed(self, least: int) -> int:
        deadline = time.monotonic() + _BEHIND_SECONDS
        while (found := sum(self.watch.committed.values())) < least:
            self._patience(deadline)
        return found

    def catch_up(self) -> None:
        """Wait until all that is in the input is committed."""
        deadline, ends = time.monotonic() + _BEHIND_SECONDS, self.ends.now()
        while not self.watch.caught_up(ends):
            self._patience(deadline)

    def _patience(self, deadline: float) -> None:
        self.group.check()
        if time.monotonic() > deadline:
            raise SoakError(f"{self.watch.behind():,} events are not worked off in time")
        time.sleep(LOOK_SECONDS)

    @contextmanager
    def load(self, rate: float) -> Iterator[Seen]:
        """Let so many events come a second, and in the end wait until all are seen."""
        topics, stopping = self.settings.topics, threading.Event()
        servers = self.settings.kafka.bootstrap_servers
        self.watch.mark()
        refused = self.stream.refused
        with Seen(servers, topics.profiles, topics.partitions) as seen:
            arguments = (servers, topics.events, self.stream, rate, seen, stopping)
            driver = threading.Thread(target=drive, args=arguments, name="load", daemon=True)
            self.began, self._driver = time.monotonic(), driver
            driver.start()
            try:
                yield seen
            finally:
                stopping.set()
                driver.join()
            self.catch_up()
            # Nobody's records become dead letters, and no profile.
            none = self.stream.refused - refused
            deadline = time.monotonic() + _UNSEEN_SECONDS
            while seen.left > none and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            self.latencies, self.unseen = list(seen.latencies), seen.left - none

    def soak(self, rate: float) -> None:
        """Let events come, restart the workers now and then, and tell how it goes."""
        with self.load(rate) as seen:
            for due in due_times(self.options, self.began):
                self.wait(due.at)
                if due.restart:
                    begun = time.monotonic()
                    took = self.group.roll()
                    self.catch_up()
                    self.rolls.append((begun, time.monotonic()))
                    say(f"  all workers restarted in {took:.0f} s")
                else:
                    self._tell(seen)

    def wait(self, until: float) -> None:
        """Wait under load until a time by the clock of `time.monotonic`."""
        while time.monotonic() < until:
            self.group.check()
            if self._driver is None or not self._driver.is_alive():
                raise SoakError("the load has ended by itself")
            time.sleep(min(LOOK_SECONDS, max(0.0, until - time.monotonic())))

    def _tell(self, seen: Seen) -> None:
        now = time.monotonic()
        lately = quantiles([took for at, took in seen.latencies if at > now - _TELL_SECONDS])
        present = {life.name: life.samples[-1] for life in self.group.watcher.lives if life.samples}
        memory = ", ".join(f"{name} {each.memory_mb:.0f}" for name, each in present.items())
        say(
            f"  {(now - self.began) / 60:.0f} min: {self.stream.records:,} records, "
            f"{max(0, self.watch.behind()):,} behind, p99 {lately['p99_ms']:.0f} ms; MB: {memory}"
        )


class Due(NamedTuple):
    """When to do something: restart all workers, or tell how it goes."""

    at: float
    restart: bool


def due_times(options: Options, began: float) -> list[Due]:
    """Give what is to be done during a soak in its order; the last one is its end."""
    end = began + options.minutes * 60
    each = options.restart_minutes * 60
    restarts = [
        Due(began + number * each, restart=True)
        for number in range(1, int(options.minutes / options.restart_minutes) + 1)
        if began + number * each < end
    ]
    minutes = range(1, int(options.minutes * 60 / _TELL_SECONDS) + 1)
    tells = [Due(began + number * _TELL_SECONDS, restart=False) for number in minutes]
    return sorted([*restarts, *(due for due in tells if due.at < end), Due(end, restart=False)])


def measure(options: Options, folder: Path, logs: Path, *, stand_in: bool) -> Figures:
    """Run the soak on a broker of its own; give all that goes into the file of figures.

    Parameters
    ----------
    folder
        Empty, for the broker's data and the checkpoints.
    logs
        For the processes' logs, and all samples of them; made where it is not there.
    stand_in
        Whether the tests' cheap embedder takes the model's place.

    Raises
    ------
    SoakError, ChildError, BrokerError, VerifyError
        If something does not do what it should.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        say("starting Kafka")
        kafka = stack.enter_context(EmbeddedKafka(folder / "kafka"))
        settings = settings_for(kafka.bootstrap_servers, options)
        if not stand_in:
            make_models(settings.embedding)
        create_topics(settings)
        watcher = stack.enter_context(Watcher(options.sample_seconds))
        watcher.begin(BROKER, kafka.pid(0) or 0)
        module = "benchmarks.worker" if stand_in else "consumer.cli.main"
        group = stack.enter_context(Group(settings, folder, logs, module, watcher))
        say(f"starting a trainer and {options.workers} workers")
        group.start(options.workers)
        ends = stack.enter_context(closing(Ends(settings)))
        watch = stack.enter_context(closing(Watch(settings, ends)))
        stream = Stream(options.users)
        run = Run(settings, options, group, watch, ends, stream)
        quick = run.fill(list(stream.each_user(_FIRST_EVENTS)))
        say(f"all {options.users:,} users have been seen, {quick:.0f} events a second")
        capacity = None
        if not options.rate:
            capacity = run.capacity(list(islice(stream, round(quick * _CAPACITY_SECONDS))))
            say(f"capacity: {capacity:.0f} events a second")
        group.until(lambda: min(group.models()) > 0, "a segment model in all workers")
        rate = options.rate if capacity is None else capacity / 2
        say(f"{options.minutes:g} min at {rate:.0f} events a second")
        follower = stack.enter_context(Follower(settings))
        run.soak(rate)
        say("stopping the processes, then verify")
        group.close()
        keep_samples(logs / "samples.csv", watcher.lives)
        settled = follower.wait_settled(_VERIFY_SECONDS)
        wrong = [] if settled else [f"verify --follow is not done after {_VERIFY_SECONDS} s"]
        wrong += [f"verify --follow: {each.render()}" for each in follower.violations]
        return figures(run, capacity, rate, wrong)


def settings_for(servers: str, options: Options) -> Settings:
    """Give what all processes have in common: the product's defaults, cores shared out."""
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    return Settings(
        kafka={"bootstrap_servers": servers, "group_id": "soak"},
        topics={"partitions": options.workers * _PARTITIONS_A_WORKER},
        embedding={"threads": threads, "cache_texts": _CACHED_TEXTS},
    )


def keep_samples(path: Path, lives: Sequence[Life]) -> None:
    """Write all samples of processes as CSV, beside the logs."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "life", *Sample._fields])
        rows.writerows([life.name, life.number, *each] for life in lives for each in life.samples)


def figures(run: Run, capacity: float | None, rate: float, wrong: Sequence[str]) -> Figures:
    """Judge a run that has ended."""
    options = run.options
    settle = _SETTLE_SHARE * 60 * min(options.restart_minutes, options.minutes)
    lives = run.group.watcher.lives
    return {
        "machine": machine.facts(),
        "options": asdict(options),
        "capacity": None if capacity is None else round(capacity, 1),
        "rate": round(rate, 1),
        **outcome(run, wrong),
        "latency": latency(run.latencies, run.rolls),
        "restarts": len(run.rolls),
        "restart_seconds": [round(end - begin, 1) for begin, end in run.rolls],
        "rebalances_of_others": run.group.rebalances,
        "longest_stall_seconds": round(max(run.watch.stalls().values(), default=0.0), 1),
        **growth(lives, run.group.workers, run.began + settle, settle, options.share),
    }


def outcome(run: Run, wrong: Sequence[str]) -> Figures:
    """Tell what became of a run's events, and what is not as it should be, in words."""
    settings, stream = run.settings, run.stream
    result, found = verify_topics(settings), account(stream, *counted(settings))
    there = sum(run.ends.now().values())
    unwell = [*run.group.exits, *wrong]
    unwell += [f"verify: {each.render()}" for each in result.violations]
    unwell += [f"verify: {result.inconclusive}"] if result.inconclusive else []
    unwell += [f"the committed offset of {sentence}" for sentence in run.watch.went_back]
    unwell += [f"{run.unseen:,} events were not seen by the reader"] if run.unseen else []
    if there != stream.records:
        unwell.append(f"the input holds {there:,} records, {stream.records:,} were produced")
    return {
        "events": stream.events.total(),
        "repeats": stream.repeats.total(),
        "refused": stream.refused,
        "changes": result.counts.changes,
        **asdict(found),
        "wrong": unwell[:20],
        "not_checked": list(result.unchecked),
    }


# --- the command ----------------------------------------------------------------------------


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", OUTPUT.name, page=True)
    add_fields(made, Options)
    made.add_argument(
        "--stand-in", action="store_true", help="the tests' cheap embedder, not the model"
    )
    made.add_argument("--logs", type=Path, help="keeps the processes' logs and all samples")
    found = made.parse_args(given)
    for each in fields(Options):
        value, free = getattr(found, each.name), each.name == "rate"
        if not (0 < value < float("inf") or (free and value == 0)):
            made.error(f"--{each.name.replace('_', '-')} is {value}: must be above 0")
    if found.workers > found.users:
        made.error(f"--users is {found.users}: fewer than the {found.workers} workers")
    return found


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    if arguments.render:
        write_page(PAGE, {"soak": report(read(arguments.output))})
        return 0
    options = Options(**{each.name: getattr(arguments, each.name) for each in fields(Options)})
    result = measured(
        "soak",
        lambda folder: measure(
            options, folder, arguments.logs or folder, stand_in=arguments.stand_in
        ),
    )
    if isinstance(result, int):
        return result
    result["embedder"] = "stand-in" if arguments.stand_in else "the default model"
    say(report(result))
    keep(arguments.output, options, result, stand_in=arguments.stand_in)
    return int(failed("soak", failures(result)))


def keep(output: Path, options: Options, result: Figures, *, stand_in: bool) -> None:
    """Write the figures, unless a trial would take the place of those of a whole soak."""
    whole = options.minutes >= Options().minutes and not stand_in
    if output == OUTPUT and not whole:
        say(f"a trial: nothing is written; --output says where to, {output.name} is for an hour")
        return
    write(output, result)


if __name__ == "__main__":
    sys.exit(main())
