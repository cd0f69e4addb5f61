"""`segmenter demo`: everything on one machine, ended by itself, with a summary."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.live import Live

from consumer.contract.errors import ExpectedError
from consumer.explain.explain import explain
from consumer.explain.page import page
from consumer.explain.sources import from_kafka
from consumer.kafka.clients import made, reader_config
from consumer.kafka.topics import create_topics, partition_counts
from consumer.offline import outcome
from consumer.offline.files import spooled
from consumer.offline.files.errors import name_of
from consumer.page.compose import Asked
from consumer.page.write import PageWriter
from consumer.process import ending
from consumer.report import terminal
from consumer.report.pictures import png
from consumer.report.wording import plural
from consumer.settings import Settings
from consumer.stages.shared.snapshots import load_model
from consumer.tryout.broker import EmbeddedKafka
from consumer.tryout.demo.collect import NothingToReportError, collect, read_refusals
from consumer.tryout.demo.contents import Timing
from consumer.tryout.demo.figures import Figures
from consumer.tryout.demo.folder import fresh
from consumer.tryout.demo.intake_report import intake_report
from consumer.tryout.demo.phrases import Language
from consumer.tryout.demo.processes import Child
from consumer.tryout.demo.stream import Feeder, FileStream, MadeUpStream, Stream
from consumer.tryout.demo.summary import render_summary
from consumer.tryout.demo.words import with_words
from consumer.verify import verify_topics
from consumer.wiring.embedder import load_embedder, make_models
from models.embedding.runner_types import Embedder
from models.embedding.runtime import available_cores
from models.segments.model import SegmentModel

logger = logging.getLogger(__name__)

# Between two looks at what is committed, and at all the rest.
_POLL_SECONDS = 0.1
_LOOK_SECONDS = 0.5
_PLAIN_SECONDS = 5.0
_READY_SECONDS = 120
# A model may be on its way between two processes that both look idle.
_RESTED_LOOKS = 3
# Nothing moves for so long: something is wrong that no process has noticed.
_STALL_SECONDS = 120
_STOP_SECONDS = 7.0
# One broker, few cores: no more than there is use for.
_PARTITIONS = 4
_EVENTS_OF_THE_PAGE = 1_000_000


class DemoError(ExpectedError):
    """The demo cannot go on."""


def run_demo(
    settings: Settings,
    *,
    input_file: Path | None,
    output: Path,
    model: Path | None,
    workers: int,
    users: int,
    language: str,
    own_broker: bool,
) -> int:
    """Run the demo; give its exit code: that of `segmenter verify` on what came out.

    Raises
    ------
    DemoError, ChildError
        If it cannot come to its end.
    """
    console = terminal.console()
    began = time.monotonic()
    earlier = fresh(output)
    if earlier is not None:
        console.print(f"the results of the run before are in {earlier}", soft_wrap=True)
    # What becomes of the children and the broker is told here; their own words are in their logs.
    for name in ("consumer", "models", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with ExitStack() as stack:
        stream: Stream = MadeUpStream.of(Language(language), users)
        if input_file is not None:
            # Read again for the report, so a pipe is kept.
            kept = stack.enter_context(spooled(input_file))
            stream = FileStream(kept, settings.events.intake(), name_of(input_file))
        settings = with_words(settings, stream, output)
        console.print("making the embedding model ready (the first time it is fetched)")
        make_models(settings.embedding)
        if own_broker:
            console.print("waiting for Apache Kafka to start (the first time it is fetched)")
            broker = stack.enter_context(EmbeddedKafka(output / "kafka"))
            settings = settings.changed("kafka", bootstrap_servers=broker.bootstrap_servers)
            if "partitions" not in settings.topics.model_fields_set:
                settings = settings.changed("topics", partitions=_PARTITIONS)
        settings = _for_a_demo(settings, workers)
        create_topics(settings)
        console.print(
            f"Kafka at {settings.kafka.bootstrap_servers}; starting {workers} workers"
            + ("" if model else " and a trainer")
        )
        run = _Run(settings, stream, output=output, model=model, workers=workers, console=console)
        stack.callback(run.close)
        ending.before_force(run.kill)
        run.start()
        run.startup_seconds = time.monotonic() - began
        run.watch()
        console.print("all is read and settled; waiting for the processes to stop")
        run.stop()
        console.print("waiting for the report: the topics are read and checked")
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
        self._asker = made(
            Consumer, {**reader_config(settings.kafka), "group.id": settings.kafka.group_id}
        )
        events = settings.topics.events
        self._partitions = partition_counts(settings, [events])[events]
        self._feeder = Feeder(settings, stream.records())
        self._figures = Figures()
        self.startup_seconds = 0.0
        """From the command to the first event; not part of the speed."""
        self._settling_seconds = 0.0

    def start(self) -> None:
        """Start the processes and wait until they are ready."""
        began = time.monotonic()
        for name in self._workers:
            arguments = ["worker"]
            if self._model_path is not None:
                arguments += ["--model", str(self._model_path)]
            self._start(name, arguments)
        if self._model_path is None:
            self._start("trainer", ["trainer"])
        deadline = time.monotonic() + _READY_SECONDS
        waiting = dict(self._children)
        self._console.print(
            f"waiting for {', '.join(waiting)} to load models and join their groups", soft_wrap=True
        )
        while waiting:
            for name, child in list(waiting.items()):
                child.check()
                if child.ready():
                    del waiting[name]
                    self._console.print(f"{name} is ready after {time.monotonic() - began:.0f} s")
            if time.monotonic() > deadline:
                raise DemoError(f"not ready after {_READY_SECONDS} s: {', '.join(waiting)}")
            time.sleep(0.1)

    def _start(self, name: str, arguments: list[str]) -> None:
        settings = self._settings.changed("kafka", instance_id=name)
        self._children[name] = Child(name, arguments, settings, self._logs)

    def watch(self) -> None:
        """Send the stream and show progress until everything has come to rest."""
        feeder = self._feeder
        feeder.start()
        moved, still = time.monotonic(), None
        shown = looked = moved
        rested = 0
        with Live(console=self._console, transient=True, auto_refresh=False) as live:
            while rested < _RESTED_LOOKS:
                time.sleep(_POLL_SECONDS)
                self._measure(feeder)
                now = time.monotonic()
                if now - looked < _LOOK_SECONDS:
                    continue
                looked = now
                for child in self._children.values():
                    child.check()
                if feeder.error is not None:
                    raise feeder.error
                rested = 0 if self._look(feeder) else rested + 1
                if self._console.is_terminal:
                    live.update(self._figures.table(), refresh=True)
                elif now - shown >= _PLAIN_SECONDS:
                    shown = now
                    self._console.print(self._figures.line(), soft_wrap=True)
                state = (self._figures.sent, self._figures.done, self._figures.model)
                if state != still:
                    moved, still = now, state
                elif now - moved > _STALL_SECONDS:
                    raise DemoError(
                        f"nothing moved for {_STALL_SECONDS} s while waiting for "
                        f"{self._figures.waiting_for}; the logs are in {self._logs}"
                    )
        if feeder.started is not None:
            total = time.monotonic() - feeder.started
            self._settling_seconds = total - self._figures.seconds
        self._console.print(self._figures.line(), soft_wrap=True)

    def _measure(self, feeder: Feeder) -> None:
        """Take the time from the first event sent, until the last one is committed."""
        figures = self._figures
        if figures.committed or feeder.started is None:
            return
        finished = feeder.finished  # before the question: what is sent after it is not in the lag
        figures.lag = self._lag()
        figures.seconds = time.monotonic() - feeder.started
        figures.committed = finished and figures.lag == 0

    def _look(self, feeder: Feeder) -> str:
        """Read all figures; tell what is waited for, nothing where the run is at its end."""
        figures = self._figures
        metrics = {name: child.metrics() for name, child in self._children.items()}
        workers = {name: metrics[name] for name in self._workers}
        figures.sent = feeder.result.sent
        figures.done = sum(int(each["segmenter_records_total"]) for each in workers.values())
        figures.users = sum(int(each["segmenter_users"]) for each in workers.values())
        figures.changes = sum(
            int(each["segmenter_segment_changes_total"]) for each in workers.values()
        )
        versions = {int(each["segmenter_model_version"]) for each in workers.values()}
        figures.model = max(versions, default=0)
        figures.segments = len(self._model.ids) if self._model else self._settings.training.segments
        trainer = metrics.get("trainer")
        figures.waiting_for = next(_unfinished(figures, feeder.finished, workers, trainer), "")
        return figures.waiting_for

    def _lag(self) -> int:
        """Count input records behind the end, by what the group has committed."""
        topic = self._settings.topics.events
        places = [TopicPartition(topic, number) for number in range(self._partitions)]
        lag = 0
        for place in self._asker.committed(places, timeout=10):
            _, end = self._asker.get_watermark_offsets(place, timeout=10)
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
        result = verify_topics(self._settings)
        now = datetime.now(UTC)
        paths = {
            "page": self._output / "report.html",
            "picture": self._output / "map.png",
            "logs": self._logs,
        }
        if (self._output / "kafka").exists():
            paths["topics"] = self._output / "kafka"
        embedder = load_embedder(self._settings)
        refusals = read_refusals(self._settings)
        said = intake_report(
            self._settings,
            self._stream,
            embedder,
            refusals=refusals,
            sent=self._feeder.result,
            now=now,
        )
        try:
            data = collect(
                self._settings,
                self._stream,
                embedder,
                refusals,
                Timing(self._figures.seconds, self.startup_seconds, self._settling_seconds),
                model=self._model.to_record() if self._model else None,
                now=now,
                paths=paths,
            )
        except NothingToReportError:
            outcome.write(sys.stdout, said)
            raise
        (self._output / "map.png").write_bytes(png(data.map.draw()))
        self._write_page()
        if data.story is not None:
            explanation = self._explain(data.story.user_id, embedder)
            data = replace(data, paths={**data.paths, "one user": explanation})
        render_summary(self._console, data)
        outcome.write(sys.stdout, said)
        self._console.print()
        self._console.print(result.render().rstrip(), markup=False, highlight=False)
        return result.exit_code

    def _write_page(self) -> None:
        """Write report.html, as `segmenter report` would; of one's own events all may be shown."""
        shown: dict[str, object] = {"texts": True, "ids": "shown"}
        given = self._settings.report.model_fields_set
        settings = self._settings.changed(
            "report", **{name: value for name, value in shown.items() if name not in given}
        )
        stream = self._stream
        asked = Asked(labels=stream.labels(), against=stream.against, source=stream.source)
        PageWriter(settings, asked, self._output / "report.html").of_topics(
            _EVENTS_OF_THE_PAGE, lambda: load_embedder(settings)
        )

    def _explain(self, user: str, embedder: Embedder) -> Path:
        """Write what `segmenter explain` tells of a user; give the page."""
        evidence = from_kafka(self._settings, user, None)
        found = explain(evidence, user, self._settings, lambda: embedder, at=None, texts=True)
        path = self._output / "explanation.html"
        path.write_text(page(found), encoding="utf-8")
        return path


def _unfinished(
    figures: Figures,
    is_sent: bool,
    workers: Mapping[str, Mapping[str, float]],
    trainer: Mapping[str, float] | None,
) -> Iterator[str]:
    """Say what is not done yet, in the order in which it comes; nothing where everything rests."""
    if not is_sent:
        yield "the broker to take the rest of the stream"
    if not figures.committed or figures.done < figures.sent:
        yield f"the workers to read {plural(max(figures.lag, 1), 'event')}"
    for name, metrics in workers.items():
        if not metrics["segmenter_settled"]:
            version = int(metrics["segmenter_model_version"])
            yield f"{name} to look at its users under model {version}"
        if not metrics["segmenter_idle"]:
            yield f"{name} to be idle"
    if trainer is None:
        return
    if not trainer["segmenter_settled"] or not trainer["segmenter_idle"]:
        yield "the trainer to settle"
    latest = int(trainer["segmenter_model_version"])
    if {int(each["segmenter_model_version"]) for each in workers.values()} != {latest}:
        yield f"the workers to take over model {latest}"


def _for_a_demo(settings: Settings, workers: int) -> Settings:
    """Take keys as the demo makes them; what nobody has set suits one machine, for a minute."""
    settings = settings.changed("events", key="raw")
    if "values" not in settings.dead_letters.model_fields_set:  # what was refused gives its hints
        settings = settings.changed("dead_letters", values=True)
    if settings.embedding.threads is None:
        settings = settings.changed("embedding", threads=max(1, available_cores() // workers))
    if "users" not in settings.drift.model_fields_set:  # a demo's are some hundreds
        settings = settings.changed("drift", users=150, min_users=50, every=50)
    return settings
