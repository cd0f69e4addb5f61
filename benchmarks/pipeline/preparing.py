"""What preparing processes take off the worker, and what they cost: processor time by process.

    python -m benchmarks.pipeline preparing --prepare-processes 0,1,2

One stage for each number of processes gets the same events by turns, without Kafka and with a table
for a model. `table`: the model takes texts, as where there is no tokenizer. `tokens`: texts are
tokenised for the default model, by its own tokenizer, where they are cleaned, and the table takes
tokens. The processor time of the worker's process and of the others is read apart, so it does not
matter that they share the cores with one another here; how many events a second come of it where
each has a core of its own is computed, and marked so.
"""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import statistics
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.pipeline.anywhere import Table, segment_model
from benchmarks.pipeline.stage import TEXTS, default_cache
from benchmarks.pipeline.stream import make_table, million
from benchmarks.shared import DATA, Figures, say, write
from consumer.contract.records import Record
from consumer.process.children import ChildDiedError, Children
from consumer.settings import LogSettings, Settings
from consumer.stages.segmentation.cleaning import CleaningRecipe, make_cleaning
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.processes import CleaningProcesses
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.wiring.embedder import leave_cores_to_embedding
from models.embedding.engine.tokenising import TokeniserRecipe
from models.embedding.manifest import Manifest
from models.embedding.prepared import prepared_model
from models.embedding.runner_types import Vectors
from models.embedding.tokens import Tokens

BATCH = 512
WAYS = ("table", "tokens")
_PARTS = ("worker", "of it apply", "others", "wall")


class TokenTable(Table):
    """The table behind a tokenizer: a vector for each text's tokens, made into the model's rows."""

    def __init__(self, folder: Path, recipe: TokeniserRecipe) -> None:
        super().__init__(folder)
        self._tokenise = recipe.load()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Tokenise here."""
        return self.embed_tokens(self._tokenise(texts))

    def embed_tokens(self, tokens: Tokens) -> Vectors:
        """Do all that is done with tokens but the model's run."""
        tokens.inputs.rows()
        chosen = [zlib.crc32(key) % len(self._vectors) for key in tokens.keys]
        vectors: Vectors = self._vectors[chosen][tokens.places]
        return vectors


class Side:
    """A stage, and the processes that prepare for it, if any."""

    def __init__(self, embedder: Any, model: Any, children: Children[Any, Any] | None) -> None:
        settings = Settings()
        now = datetime.now(UTC)
        self.children = children
        self.ahead = 1 if children is None else children.count + 2
        self.stage = SegmentationStage(
            settings,
            embedder,
            FixedModel(model),
            intake_clock=lambda: now,
            clean_elsewhere=CleaningProcesses(children, settings.dead_letters)
            if children
            else None,
        )
        self.stage.assigned(0, self.stage.restoration(0))
        self.stage.maintain(idle=True)

    def feed(self, given: Sequence[Record]) -> Figures:
        """Let records through; give microseconds an event of processor time, by process."""
        before, begun, since = self._elsewhere(), time.process_time(), time.perf_counter()
        applied = 0.0
        for prepared in self._prepared(given):
            applying = time.thread_time()
            self.stage.apply(prepared, frozenset({0}))
            self.stage.committed()
            applied += time.thread_time() - applying
        here, wall = time.process_time() - begun, time.perf_counter() - since
        elsewhere = self._elsewhere() - before
        return {
            name: seconds / len(given) * 1e6
            for name, seconds in zip(_PARTS, (here, applied, elsewhere, wall), strict=True)
        }

    def _prepared(self, given: Sequence[Record]) -> Iterator[Any]:
        batches = iter(given[place : place + BATCH] for place in range(0, len(given), BATCH))
        with ThreadPoolExecutor(self.ahead) as threads:
            coming: deque[Future[Any]] = deque()
            for batch in islice(batches, self.ahead):
                coming.append(threads.submit(self.stage.prepare, batch))
            while coming:
                prepared = coming.popleft().result()
                for batch in islice(batches, 1):
                    coming.append(threads.submit(self.stage.prepare, batch))
                yield prepared

    def _elsewhere(self) -> float:
        """Give the processor time of the other processes, in seconds."""
        pids = self.children.pids if self.children is not None else ()
        tasks = [each for pid in pids for each in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--prepare-processes", default="0,1,2", help="numbers of processes, with commas between")
    add("--data", type=Path, default=DATA, help="events with labels, as JSON lines")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="what the model takes")
    add("--texts", nargs="+", choices=list(TEXTS), default=list(TEXTS), help="which texts")
    add("--users", type=int, default=1_000_000, help="users of the multiplied stream")
    add("--rounds", type=int, default=6, help="rounds that are timed")
    add("--batches", type=int, default=8, help="batches of 512 in a round")
    add("--cache", type=Path, default=default_cache(), help="keeps the table")
    add("--output", type=Path, help="where the figures go, as JSON")


def measure(options: argparse.Namespace) -> Figures:
    """Measure all that is asked for, and tell it."""
    leave_cores_to_embedding()  # as a worker does: threads that spin would count as its time
    counts = [int(count) for count in options.prepare_processes.split(",")]
    kept = make_table(options.cache, options.data)
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for length in options.texts:
            timed = options.rounds * options.batches * BATCH
            stream = million(Path(name), options.data, TEXTS[length], timed, options.users)
            for way in options.ways:
                say(f"\n{length} texts, {way}")
                told = _compare(counts, kept, stream, way, options)
                figures[f"{length}, {way}"] = told
                say(_told(told["by processes"]))
                say(f"{ {key: value for key, value in told.items() if key != 'by processes'} }")
    if options.output:
        write(options.output, figures)
    return figures


def _compare(
    counts: Sequence[int], kept: Path, stream: Any, way: str, options: argparse.Namespace
) -> Figures:
    given = _records(stream.path)
    recipe = _tokeniser() if way == "tokens" else None
    cleaning = CleaningRecipe(Settings().events.intake(), Settings().events.language_share, recipe)
    runs: dict[int, list[Figures]] = {count: [] for count in counts}
    with ExitStack() as stack:
        sides: dict[int, Side] = {}
        for count in counts:
            embedder = Table(kept) if recipe is None else TokenTable(kept, recipe)
            model = segment_model(kept, stream.threshold)
            children = stack.enter_context(_children(cleaning, count))
            sides[count] = Side(embedder, model, children)
            sides[count].feed(given[: stream.filling])
        size = options.batches * BATCH
        for place in range(stream.filling, stream.events, size):
            for count, side in sides.items():
                runs[count].append(side.feed(given[place : place + size]))
        told: Figures = {"by processes": {str(n): _summary(n, runs[n]) for n in counts}}
        for side in sides.values():
            if side.children is not None:
                return told | _of_a_child(side.children, given[-BATCH:])
    return told


def _records(path: Path) -> list[Record]:
    topic = Settings().topics.events
    pairs = (line.split(b"\t", 1) for line in path.read_bytes().split(b"\n")[:-1])
    return [Record(topic, 0, n, -1, key, value) for n, (key, value) in enumerate(pairs)]


@contextmanager
def _children(recipe: CleaningRecipe, count: int) -> Iterator[Children[Any, Any] | None]:
    if not count:
        yield None
        return
    with Children(make_cleaning, recipe, count, log=LogSettings()) as children:
        yield children


def _tokeniser() -> TokeniserRecipe:
    folder = prepared_model("default", "int8")
    manifest = Manifest.describe(folder)
    digests = manifest.tokenizer_files
    return TokeniserRecipe(folder, digests, manifest.max_tokens, manifest.prefix, 1, bytes(32))


def _summary(count: int, runs: Sequence[Figures]) -> Figures:
    least = {name: min(run[name] for run in runs) for name in _PARTS}
    median = {name: statistics.median(run[name] for run in runs) for name in least}
    busiest = max(least["worker"], least["others"] / max(count, 1))
    return {
        "least": {name: round(value, 1) for name, value in least.items()},
        "median": {name: round(value, 1) for name, value in median.items()},
        "computed events/s with a core each": round(1e6 / busiest),
    }


def _of_a_child(children: Children[Any, Any], batch: Sequence[Record]) -> Figures:
    """Measure what goes to a process and comes back, its memory, and how fast it is replaced."""
    values, keys = [each.value for each in batch], [each.key for each in batch]
    request = (values, keys, datetime.now(UTC), 1.0)
    answer = children(request)
    pid = children.pids[0]
    rollup = dict(
        line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    waits = []
    for _ in range(3):
        for each in children.pids:
            os.kill(each, signal.SIGKILL)
        begun = time.perf_counter()
        for _ in range(2 * children.count):
            with suppress(ChildDiedError):
                children(request)
        waits.append(time.perf_counter() - begun)
    return {
        "bytes to it, an event": round(_size(request) / len(batch)),
        "bytes back, an event": round(_size(answer) / len(batch)),
        "MB of a process": round(int(rollup["Rss:"]) / 1024),
        "of these its own": round(int(rollup["Private_Dirty:"]) / 1024),
        "seconds until another answers": round(min(waits) / children.count, 2),
    }


def _size(value: object) -> int:
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(content) + sum(each.raw().nbytes for each in buffers)


def _told(figures: Figures) -> str:
    rows = [
        [
            count,
            *(f"{own['least'][name]:.1f} ({own['median'][name]:.1f})" for name in own["least"]),
            f"{own['computed events/s with a core each']:,}",
        ]
        for count, own in figures.items()
    ]
    head = [
        "processes",
        *("the worker's", "of it apply", "the others'", "wall clock"),
        "computed: events/s with a core each",
    ]
    return "µs an event: least (median)\n" + table(head, rows, texts=1)
