"""The contenders: how each is started on a cluster, and where its output is seen."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.pipeline.anywhere import segment_model
from benchmarks.pipeline.builds import PROGRAM, ROOT, former_build, quix_python
from benchmarks.pipeline.checkouts import python_of
from benchmarks.pipeline.processes import Measured
from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.tryout.broker.config import free_ports
from consumer.tryout.demo.processes import environment

HERE = Path(__file__).parent
WAIT_SECONDS = 0.1
ARMS = ("worker", "bare", "former", "quix")


class Written(NamedTuple):
    """What a worker writes to a topic."""

    topic: str
    """The setting of its name."""
    records: float
    """For each event."""
    bytes: int
    """Of a value."""
    headers: Sequence[tuple[str, int]]
    """Names, and bytes of the values."""


@dataclass
class Place:
    """Where an arm works: a cluster, a folder, a table, and topics of its own."""

    servers: str
    folder: Path
    table: Path
    partitions: int
    cache: Path
    threshold: float
    out: Sequence[Written] = ()
    """What the worker writes for an event; for the bare loop."""
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of the worker."""


@dataclass
class Arm:
    """One contender with topics of its own."""

    name: str
    place: Place
    settings: Settings
    output: str
    """The topic that has a record, keyed by the user, for each event or each user of a batch."""
    command: list[str]
    environment: dict[str, str]
    checkout: Path = ROOT
    port: int = 0
    """Where it serves its metrics, once it has been started."""

    @property
    def input(self) -> str:
        """The topic of events."""
        return self.settings.topics.events

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.settings.kafka.group_id

    def start(self, number: int = 0) -> Measured:
        """Give a process of it; it starts with the `with` block."""
        log = self.place.folder / f"{self.group}.{number}.log"
        own = dict(self.environment)
        if "SEGMENTER_HTTP" in own:
            (self.port,) = free_ports("127.0.0.1", 1)
            own["SEGMENTER_HTTP"] = json.dumps({"host": "127.0.0.1", "port": self.port})
        return Measured(self.command, own, self.checkout, log)


def settings_of(place: Place, name: str) -> Settings:
    """Give settings with topics and a group of their own."""
    unique = f"{name}-{uuid.uuid4().hex[:8]}"
    topics = {
        each: f"{each.replace('_', '-')}-{unique}"
        for each in (
            *("events", "dead_letters", "changes", "memberships", "profiles", "samples"),
            *("models", "lifecycle", "drift_reference"),
        )
    }
    sections = {key: dict(values) for key, values in place.sections.items()}
    kafka = {"bootstrap_servers": place.servers, "group_id": unique, **sections.pop("kafka", {})}
    batch = {"max_wait_seconds": WAIT_SECONDS, **sections.pop("batch", {})}
    return Settings(
        **{
            "kafka": kafka,
            "topics": {**topics, "partitions": place.partitions},
            "batch": batch,
            **sections,
        }
    )


def make(name: str, place: Place, *, live_model: bool = False) -> Arm:
    """Make an arm and its topics; with a live model a worker follows the topic of models."""
    settings = settings_of(place, name)
    create_topics(settings)
    if name in ("worker", "former"):
        return _segmenter(name, place, settings, live_model=live_model)
    topics, group = settings.topics, settings.kafka.group_id
    given: dict[str, Any] = {
        "servers": place.servers,
        "group": group,
        "input": topics.events,
        "wait": WAIT_SECONDS,
        "batch": settings.batch.max_records,
    }
    plain = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if name == "bare":
        given["out"] = [(getattr(topics, each.topic), *each[1:]) for each in place.out]
        command = [sys.executable, str(HERE / "bare.py"), json.dumps(given)]
        return Arm(name, place, settings, topics.profiles, command, plain)
    output = f"output-{group}"
    admin = AdminClient({"bootstrap.servers": place.servers})
    admin.create_topics([NewTopic(output, place.partitions)])[output].result(30)
    given |= {
        "output": output,
        "table": str(place.table),
        "state": str(place.folder / f"state-{group}"),
    }
    command = [str(quix_python(place.cache)), str(HERE / "quix_app.py"), json.dumps(given)]
    return Arm(name, place, settings, output, command, plain)


def _segmenter(name: str, place: Place, settings: Settings, *, live_model: bool) -> Arm:
    checkout = ROOT if name == "worker" else former_build(place.cache)
    model = place.folder / f"model-{place.threshold:g}.json"
    record = segment_model(place.table, place.threshold).to_record()
    model.write_text(json.dumps(record.model_dump(mode="json")), encoding="utf-8")
    command = [str(python_of(checkout)), str(PROGRAM), str(place.table), "worker"]
    return Arm(
        name,
        place,
        settings,
        settings.topics.profiles,
        command if live_model else [*command, "--model", str(model)],
        {**environment(settings), "PYTHONPATH": str(checkout)},
        checkout,
    )
