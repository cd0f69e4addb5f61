"""`segmenter demo`: everything on one machine, ended by itself, with a summary."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.live import Live
from rich.table import Table

from consumer import ending, outcome
from consumer.app import load_embedder, load_model
from consumer.broker import EmbeddedKafka
from consumer.clients import ask_for_topics, reader_config
from consumer.demo.collect import NothingToReportError, RunFacts, collect
from consumer.demo.generate import StreamSettings
from consumer.demo.intake_report import intake_report
from consumer.demo.processes import Child
from consumer.demo.report import write_report
from consumer.demo.stream import Feeder, FileStream, MadeUpStream, Stream
from consumer.demo.summary import render_summary
from consumer.files import spooled
from consumer.files.errors import name_of
from consumer.settings import Settings
from consumer.topics import create_topics, partition_counts
from consumer.verify import TopicNames, verify_topics
from models.segments import SegmentModel

logger = logging.getLogger(__name__)

_MARKER = ".segmenter-demo"
_POLL_SECONDS = 0.5
_PLAIN_SECONDS = 5.0
_READY_SECONDS = 120
# A model may be on its way between two processes that both look idle.
_RESTED_LOOKS = 3
# Nothing moves for so long: something is wrong that no process has noticed.
_STALL_SECONDS = 120
_STOP_SECONDS = 7.0


class DemoError(Exception):
    """The demo cannot go on."""


@dataclass(slots=True)
class Figures:
    """What the progress shows."""

    seconds: float = 0.0
    sent: int = 0
    done: int = 0
    lag: int = 0
    users: int = 0
    segments: int | str = 0
    changes: int = 0
    model: int = 0

    @property
    def rate(self) -> float:
        """Events a second so far."""
        return self.done / self.seconds if self.seconds else 0.0

    def line(self) -> str:
        """Give all in one line."""
        return (
            f"{self.seconds:4.0f} s  {self.done:,} of {self.sent:,} events  "
            f"{self.rate:,.0f}/s  lag {self.lag:,}  {self.users:,} users  "
            f"{self.segments} segments (model {self.model})  {self.changes:,} changes"
        )


def run_demo(
    settings: Settings,
    *,
    input_file: Path | None,
    output: Path,
    model: Path | None,
    workers: int,
    users: int,
    own_broker: bool,
) -> int:
    """Run the demo; give its exit code: that of `segmenter verify` on what came out.

    Raises
    ------
    DemoError, ChildError
        If it cannot come to its end.
    """
    console = Console()
    _empty(output)
    # What becomes of the children and the broker is told here; their own words are in their logs.
    for name in ("consumer", "models", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with ExitStack() as stack:
        stream: Stream = MadeUpStream(StreamSettings(users=users))
        if input_file is not None:
            # Read again for the report, so a pipe is kept.
            kept = stack.enter_context(spooled(input_file))
            stream = FileStream(kept, settings.events.intake(), name_of(input_file))
        if own_broker:
            console.print("starting Apache Kafka (the first time it is fetched)")
            broker = stack.enter_context(EmbeddedKafka(output / "kafka"))
            settings = _with_broker(settings, broker.bootstrap_servers)
        settings = _for_a_short_run(_for_children(settings, workers))
        create_topics(settings)
        console.print(
            f"Kafka at {settings.kafka.bootstrap_servers}; starting {workers} workers"
            + ("" if model else " and a trainer")
        )
        run = _Run(settings, stream, output=output, model=model, workers=workers, console=console)
        stack.callback(run.close)
        ending.before_force(run.kill)
        run.start()
        run.watch()
        run.stop()
        return run.tell()


class _Run:
    """The processes of one demo, from their start to the summary."""

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        *,
        output: Path,
        model: Path | None,
        workers: int,
        console: Console,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._output = output
        self._model: SegmentModel | None = load_model(model) if model else None
        self._model_path = model
        self._console = console
        self._logs = output / "logs"
        self._logs.mkdir()
        self._workers = [f"worker-{i}" for i in range(workers)]
        self._children: dict[str, Child] = {}
        # Never subscribes: it only asks where the group is.
        self._asker = Consumer(
            {**reader_config(settings.kafka), "group.id": settings.kafka.group_id}
        )
        events = settings.topics.events
        self._partitions = ask_for_topics([events], lambda: partition_counts(settings))[events]
        self._figures = Figures()

    def start(self) -> None:
        """Start the processes and wait until they are ready."""
        for name in self._workers:
            arguments = ["worker"]
            if self._model_path is not None:
                arguments += ["--model", str(self._model_path)]
            self._start(name, arguments)
        if self._model_path is None:
            self._start("trainer", ["trainer"])
        deadline = time.monotonic() + _READY_SECONDS
        waiting = dict(self._children)
        while waiting:
            for name, child in list(waiting.items()):
                child.check()
                if child.ready():
                    del waiting[name]
            if time.monotonic() > deadline:
                raise DemoError(f"not ready after {_READY_SECONDS} s: {', '.join(waiting)}")
            time.sleep(0.1)

    def _start(self, name: str, arguments: list[str]) -> None:
        kafka = self._settings.kafka.model_copy(update={"instance_id": name})
        settings = self._settings.model_copy(update={"kafka": kafka})
        self._children[name] = Child(name, arguments, settings, self._logs)

    def watch(self) -> None:
        """Send the stream and show progress until everything has come to rest."""
        feeder = Feeder(self._settings, self._stream.records())
        started = time.monotonic()
        feeder.start()
        moved, still = started, None
        shown, rested = started, 0
        with Live(console=self._console, transient=True, auto_refresh=False) as live:
            while True:
                time.sleep(_POLL_SECONDS)
                now = time.monotonic()
                for child in self._children.values():
                    child.check()
                if feeder.error is not None:
                    raise DemoError(f"cannot send the stream: {feeder.error}")
                rested = rested + 1 if self._look(feeder, now - started) else 0
                if self._console.is_terminal:
                    live.update(_table(self._figures), refresh=True)
                elif now - shown >= _PLAIN_SECONDS:
                    shown = now
                    self._console.print(self._figures.line(), soft_wrap=True)
                if rested >= _RESTED_LOOKS:
                    break
                state = (self._figures.sent, self._figures.done, self._figures.model)
                if state != still:
                    moved, still = now, state
                elif now - moved > _STALL_SECONDS:
                    raise DemoError(
                        f"nothing moved for {_STALL_SECONDS} s; the logs are in {self._logs}"
                    )
        self._console.print(self._figures.line(), soft_wrap=True)

    def _look(self, feeder: Feeder, seconds: float) -> bool:
        """Read all figures; tell whether the run is at its end."""
        figures = self._figures
        metrics = {name: child.metrics() for name, child in self._children.items()}
        workers = [metrics[name] for name in self._workers]
        figures.sent = feeder.sent
        was_done = feeder.finished and figures.lag == 0 and figures.done == figures.sent
        figures.lag = self._lag()
        figures.done = sum(int(each["segmenter_records_total"]) for each in workers)
        if not was_done:
            figures.seconds = seconds
        figures.users = sum(int(each["segmenter_users"]) for each in workers)
        figures.changes = sum(int(each["segmenter_segment_changes_total"]) for each in workers)
        versions = {int(each["segmenter_model_version"]) for each in workers}
        figures.model = max(versions, default=0)
        figures.segments = len(self._model.ids) if self._model else self._settings.training.segments
        if not (feeder.finished and figures.lag == 0 and figures.done >= figures.sent):
            return False
        if not all(each["segmenter_settled"] and each["segmenter_idle"] for each in workers):
            return False
        if self._model_path is not None:
            return True
        # The trainer's lag never is 0: the marker that ends a transaction takes an offset.
        trainer = metrics["trainer"]
        return (
            trainer["segmenter_settled"] == 1
            and trainer["segmenter_idle"] == 1
            and versions == {int(trainer["segmenter_model_version"])}
        )

    def _lag(self) -> int:
        """Count input records behind the end, by what the group has committed."""
        topic = self._settings.topics.events
        places = [TopicPartition(topic, number) for number in range(self._partitions)]
        lag = 0
        for place in self._asker.committed(places, timeout=10):
            _, end = self._asker.get_watermark_offsets(
                TopicPartition(topic, place.partition), timeout=10
            )
            lag += end - max(place.offset, 0)
        return lag

    def stop(self) -> None:
        """Stop all processes, each finishing what it has begun, side by side."""
        children, self._children = self._children, {}
        for child in children.values():
            child.send(signal.SIGTERM)
        # Shorter than this process has itself when it is to end: the broker comes after them.
        deadline = time.monotonic() + self._settings.kafka.revoke_seconds + _STOP_SECONDS
        for name, child in children.items():
            code = child.wait(max(deadline - time.monotonic(), 0.1))
            if code != 0:
                logger.warning("%s ended with exit code %d", name, code)

    def kill(self) -> None:
        """Kill what is left of them."""
        for child in list(self._children.values()):
            child.send(signal.SIGKILL)

    def close(self) -> None:
        """Stop what still runs, and let go of the brokers."""
        self.stop()
        self._asker.close()

    def tell(self) -> int:
        """Check the outcome, write the report and print the summary."""
        topics = self._settings.topics
        result = verify_topics(
            self._settings.kafka.client(),
            self._settings.kafka.group_id,
            TopicNames.of(topics),
        )
        facts = RunFacts(
            seconds=self._figures.seconds,
            now=datetime.now(UTC),
            model=self._model.to_record() if self._model else None,
        )
        paths = {
            "page": self._output / "report.html",
            "picture": self._output / "map.png",
            "logs": self._logs,
        }
        if (self._output / "kafka").exists():
            paths["topics"] = self._output / "kafka"
        embedder = load_embedder(self._settings)
        said = intake_report(self._settings, self._stream, embedder, facts.now)
        try:
            data = collect(self._settings, self._stream, embedder, facts, paths)
        except NothingToReportError:
            outcome.write(sys.stdout, said)
            raise
        write_report(self._output, data)
        render_summary(self._console, data)
        outcome.write(sys.stdout, said)
        self._console.print()
        self._console.print(result.render().rstrip(), markup=False, highlight=False)
        return result.exit_code


def _table(figures: Figures) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in (
        ("seconds", f"{figures.seconds:.0f}"),
        ("events sent", f"{figures.sent:,}"),
        ("events done", f"{figures.done:,}"),
        ("events/s", f"{figures.rate:,.0f}"),
        ("lag", f"{figures.lag:,}"),
        ("users", f"{figures.users:,}"),
        ("segments", f"{figures.segments} (model {figures.model})"),
        ("changes", f"{figures.changes:,}"),
    ):
        table.add_row(name, value)
    return table


def _empty(output: Path) -> None:
    """Make the folder for results, or empty it where a demo has written it before."""
    if output.exists() and any(output.iterdir()):
        if not (output / _MARKER).exists():
            raise DemoError(
                f"{output} holds other files than a demo's: name another folder with --output"
            )
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARKER).touch()


def _with_broker(settings: Settings, servers: str) -> Settings:
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": servers})
    # One broker, few cores: no more partitions than there is use for.
    topics = settings.topics
    if "partitions" not in topics.model_fields_set:
        topics = topics.model_copy(update={"partitions": 4})
    return settings.model_copy(update={"kafka": kafka, "topics": topics})


def _for_children(settings: Settings, workers: int) -> Settings:
    """Share the cores out among the workers; keys are those that the demo makes itself."""
    events = settings.events.model_copy(update={"key": "raw"})
    settings = settings.model_copy(update={"events": events})
    if settings.embedding.threads is not None:
        return settings
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    threads = max(1, cores // max(workers, 1))
    embedding = settings.embedding.model_copy(update={"threads": threads})
    return settings.model_copy(update={"embedding": embedding})


def _for_a_short_run(settings: Settings) -> Settings:
    """Compare fewer users for drift than a group does: a demo's are some hundreds, for a minute."""
    drift = settings.drift
    if "users" in drift.model_fields_set:
        return settings
    drift = drift.model_copy(update={"users": 150, "min_users": 50, "every": 50})
    return settings.model_copy(update={"drift": drift})
