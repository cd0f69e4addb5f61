"""Runs a checkout's own code with a table for a model; started by `benchmarks.pipeline.checkouts`.

It runs in checkouts of other versions too, with their own Python, so it imports nothing of this
folder but `anywhere`, and looks for what it needs of the product under the names that it has had.
"""

from __future__ import annotations

import cProfile
import functools
import gc
import io
import os
import pstats
import time
from collections import Counter
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from anywhere import IDENTITY, Table, found, segment_model, serve

BATCH = 512

Record = found("consumer.contract.records:Record", "consumer.records:Record")
Settings = found("consumer.settings:Settings")
FixedModel = found(
    "consumer.stages.segmentation.model_source:FixedModel", "consumer.replay:FixedModel"
)
Stage = found(
    "consumer.stages.segmentation.stage:SegmentationStage",
    "consumer.stages.segmentation:SegmentationStage",
)

Rows = found("models.profiles.table:ProfileRows", "models.profiles:ProfileRows")
rank = found("models.profiles.sample:rank", "models.sample:rank")

# What an event is put through, by the functions that do it; those in others count there alone.
STEPS = {
    "JSON, checked": ["schemas.intake:Intake.sift_all"],
    "cleaned": ["consumer.stages.segmentation.cleaning:clean_all"],
    "language": ["consumer.stages.segmentation.cleaning:detect_languages"],
    "hashes and ranks": [
        "consumer.stages.segmentation.cleaning:hash_event_ids",
        "consumer.stages.segmentation.cleaning:ranks",
    ],
    "looked up in the table, in place of a model": [
        "consumer.stages.segmentation.preparation:embed_apart"
    ],
    "profiles copied": [
        "models.profiles.table:ProfileTable.seats",
        "models.profiles.table:ProfileTable.gather",
    ],
    "profiles moved": ["consumer.stages.segmentation.turns:Moves.apply"],
    "references": ["consumer.stages.segmentation.turns:Moves._refer"],
    "decided": ["consumer.stages.segmentation.decisions:Decisions.by_events"],
    "what makes a margin": [
        "consumer.stages.segmentation.decisions:_shares",
        "consumer.stages.segmentation.changes:_shares",
    ],
    "changes written": ["consumer.stages.segmentation.changes:ChangeWriter.write"],
    "profiles written": ["consumer.stages.segmentation.profile_writer:ProfileWriter.states"],
    "samples written": ["consumer.stages.segmentation.profile_writer:ProfileWriter.samples"],
    "profiles put back": [
        "consumer.stages.segmentation.stage:SegmentationStage.committed",
    ],
}

ALL_WORDS = not Path("models/profiles/slab.py").exists()
"""Whether this version keeps the words of all users."""


def resident() -> int:
    """Give the bytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Noting:
    """An embedder that only notes what it is asked for."""

    identity = IDENTITY
    dimensions = 1

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: Any) -> Any:
        """Note the texts."""
        self.texts += texts
        return np.zeros((len(texts), 1), np.float32)


class Steps:
    """Tells how much processor time goes into each of `STEPS` while it is in force."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STEPS, 0.0)
        # Of the steps that are under way, what those within have taken.
        self._within = [0.0]
        self._former: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        for step, places in STEPS.items():
            for place in places:
                module, _, name = place.partition(":")
                *owners, own = name.split(".")
                owner = functools.reduce(getattr, owners, import_module(module))
                if (former := getattr(owner, own, None)) is None:  # not in this version
                    continue
                self._former.append((owner, own, former))
                setattr(owner, own, self._timed(step, former))
        return self

    def __exit__(self, *_error: object) -> None:
        for owner, own, former in reversed(self._former):
            setattr(owner, own, former)

    def _timed(self, step: str, call: Any) -> Any:
        def timed(*args: Any, **named: Any) -> Any:
            self._within.append(0.0)
            begun = time.process_time()
            try:
                return call(*args, **named)
            finally:
                took = time.process_time() - begun
                self.spent[step] += took - self._within.pop()
                self._within[-1] += took

        return timed


def records(path: str, start: int, stop: int | None) -> list[Any]:
    """Read the records of a file: key, tab, value, in each line."""
    topic = Settings().topics.events
    lines = Path(path).read_bytes().split(b"\n")[:-1][start:stop]
    pairs = (line.split(b"\t", 1) for line in lines)
    return [Record(topic, 0, start + n, -1, key, value) for n, (key, value) in enumerate(pairs)]


class Driver:
    """Answers requests, each a method's name and its arguments."""

    def __init__(self) -> None:
        self.stage: Any = None
        self.embedder: Any = None

    def make(self, table: str, threshold: float | None, settings: dict[str, Any]) -> dict[str, Any]:
        """Make a stage that has one partition; without a threshold there is no segment model."""
        folder = Path(table)
        self.embedder = Table(folder)
        model = None if threshold is None else segment_model(folder, threshold)
        now = datetime.now(UTC)
        self.stage = Stage(
            Settings(**settings), self.embedder, FixedModel(model), intake_clock=lambda: now
        )
        self.stage.assigned(0, self.stage.restoration(0))
        self.stage.maintain(idle=True)
        gc.collect()
        gc.freeze()
        return {}

    def feed(
        self, path: str, start: int, stop: int, profile: str | None = None, batch: int = BATCH
    ) -> dict[str, Any]:
        """Let records through, so many in a batch, and tell what that took.

        Returns
        -------
        dict
            `prepare` and `apply` in seconds of processor time, the number of `events`, and by topic
            `out`, records and bytes (key and value), and `headers`, names and bytes of a record's.
            Where `profile` names one of the two, `profiled` tells where its time went; the times
            are then of no use.
        """
        given = records(path, start, stop)
        spent = {"prepare": 0.0, "apply": 0.0}
        written, sizes = Counter[str](), Counter[str]()
        headers: dict[str, list[tuple[str, int]]] = {}
        profiler = cProfile.Profile()
        gc.collect()
        for place in range(0, len(given), batch):
            chunk = given[place : place + batch]
            for step in ("prepare", "apply"):
                if profile == step:
                    profiler.enable()
                begun = time.process_time()
                if step == "prepare":
                    prepared = self.stage.prepare(chunk)
                else:
                    outputs = list(self.stage.apply(prepared, frozenset({0})))
                    self.stage.committed()
                spent[step] += time.process_time() - begun
                profiler.disable()
            for output in outputs:
                written[output.topic] += 1
                sizes[output.topic] += len(output.key or b"") + len(output.value or b"")
                if output.headers:
                    headers[output.topic] = [(name, len(value)) for name, value in output.headers]
        out = {topic: [written[topic], sizes[topic]] for topic in sorted(written)}
        told = {**spent, "events": len(given), "missed": self.embedder.missed}
        told |= {"out": out, "headers": headers}
        if profile:
            text = io.StringIO()
            pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(40)
            told["profiled"] = text.getvalue()
        return told

    def budget(self, path: str, start: int, stop: int, batch: int) -> dict[str, Any]:
        """Let records through as `feed` does; `steps` tells what each of `STEPS` took, in seconds.

        What `prepare` and `apply` take beside is under their own names.
        """
        with Steps() as steps:
            told = self.feed(path, start, stop, batch=batch)
        first = list(STEPS).index("profiles copied")
        spent = list(steps.spent.items())
        told["steps"] = {}
        for own, name in ((spent[:first], "prepare"), (spent[first:], "apply")):
            told["steps"] |= dict(own)
            told["steps"][f"{name}, all else"] = told[name] - sum(each for _, each in own)
        return told

    def populate(self, names: list[str], copies: int, events: int) -> dict[str, Any]:
        """Put made-up profiles of namesakes of some users into the table.

        Returns
        -------
        dict
            The number of `users`, and `bytes_a_user` by which the process grew.
        """
        table = self.stage.tables[0]
        draw = np.random.default_rng(1)
        centres = np.asarray(self.stage.model.centres)
        self._put(table, [f"{names[0]}-0"], centres, draw, events)
        gc.collect()
        before = resident()
        for copy in range(copies):
            users = [f"{name}-{copy}" for name in names]
            self._put(table, users, centres, draw, events)
        gc.collect()
        grown = resident() - before
        return {"users": len(table), "bytes_a_user": round(grown / len(table))}

    def _put(self, table: Any, users: list[str], centres: Any, draw: Any, events: int) -> None:
        rows = Rows.empty(users, table.dimensions, table.memory)
        n, held = len(users), min(events, table.memory)
        if most := getattr(table, "references", 0):  # of no former version
            rows.references = np.zeros((n, most), table.reference_slabs[0].dtype)
            some = rows.references[:, : min(events, most)]
            some["offset"], some["hash"], some["weight"] = 1, 1, 1
        rows.segments[:] = draw.integers(0, len(centres), n)
        rows.weights[:] = events * 0.8
        noise = draw.normal(scale=0.03, size=(n, table.dimensions))
        rows.sums[:] = (centres[rows.segments] + noise) * rows.weights[:, None]
        rows.reference[:] = 1_500_000_000_000_000 + draw.integers(0, 10**13, n)
        rows.events[:] = events
        rows.recent[:, :held] = draw.integers(1, 2**64, (n, held), np.uint64)
        rows.since[:], rows.sequence[:], rows.versions[:] = 1, 1, 1
        rows.labels = [f"segment {segment}" for segment in rows.segments.tolist()]
        kept = max(1, min(16, 6 * events))
        for row, user in enumerate(users):
            if ALL_WORDS or rank(user) <= self.stage.model.sample_threshold:
                words = draw.integers(0, 20_000, kept).tolist()
                rows.terms[row] = {f"word{word}": word / 20_000 for word in words}
        table.put(rows)

    def texts(self, path: str) -> dict[str, Any]:
        """Tell the clean text of each of a file's events, None for one that is refused."""
        noting = Noting()
        stage = Stage(Settings(), noting, FixedModel(None))
        own: list[str | None] = []
        for record in records(path, 0, None):
            noting.texts = []
            stage.prepare([record])
            own.append(noting.texts[0] if noting.texts else None)
        return {"texts": own}


if __name__ == "__main__":
    serve(Driver())
