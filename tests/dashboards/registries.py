"""What the processes really tell: their registries as the application wires them, without Kafka."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from consumer.settings import Settings
from consumer.stages.intake import IntakeStats
from consumer.telemetry.intake import IntakeCollector
from consumer.telemetry.metrics import FollowCollector, LoopMetrics
from consumer.wiring import app
from tests.consumer.stages.stage_data import EMBEDDER, a_model
from tests.consumer.telemetry.test_health import CountingEmbedder

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "info": ("_info",),
    "gauge": ("",),
}


class _Embedder(CountingEmbedder):
    """Stands in for the ONNX model, whose class the application asks for."""

    identity = EMBEDDER.identity


def names_in(registry: CollectorRegistry) -> set[str]:
    """Give the names of all series that a registry can have, with their suffixes."""
    return {
        family.name + suffix for family in registry.collect() for suffix in _SUFFIXES[family.type]
    }


def _registry_of(monkeypatch: pytest.MonkeyPatch, run: Callable[[Settings], None]) -> set[str]:
    """Start a process whose loop ends at once; give what its registry can tell."""
    found: list[CollectorRegistry] = []

    def serve(_settings: object, _health: object, registry: CollectorRegistry) -> Any:
        found.append(registry)
        return SimpleNamespace(port=0, close=lambda: None)

    def loop(*_: object, metrics: LoopMetrics, **__: object) -> Any:
        return SimpleNamespace(run=lambda: None, stop=lambda: None)

    monkeypatch.setattr(app, "HealthServer", serve)
    monkeypatch.setattr(app, "Loop", loop)
    monkeypatch.setattr(app, "check_topics", lambda settings: {settings.topics.events: 4})
    monkeypatch.setattr(app, "message_limits", lambda *_: {})
    feed = SimpleNamespace(latest=lambda: None, close=lambda: None)
    monkeypatch.setattr(app, "LabelModelFeed", lambda _: feed)
    monkeypatch.setattr(app, "load_embedder", lambda _: _Embedder())
    monkeypatch.setattr(app, "OnnxEmbedder", _Embedder)
    run(Settings(http={"port": 0}, labels={"enabled": True}))
    (registry,) = found
    return names_in(registry)


def names_of_worker(monkeypatch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """Give the names of a worker's metrics."""
    model = folder / "model.json"
    model.write_text(a_model().to_record().model_dump_json(), encoding="utf-8")
    return _registry_of(monkeypatch, lambda settings: app.run_worker(settings, model))


def names_of_trainer(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the names of a trainer's metrics."""
    return _registry_of(monkeypatch, app.run_trainer)


def names_of_intake() -> set[str]:
    """Give the names of the metrics that intake has beside those of every loop."""
    registry = CollectorRegistry()
    registry.register(IntakeCollector(SimpleNamespace(stats=IntakeStats())))
    return names_in(registry)


def names_of_audit() -> set[str]:
    """Give the names of the metrics of `segmenter verify --follow`."""
    registry = CollectorRegistry()
    nothing = dict.fromkeys(("changes", "users", "unsettled", "lag", "lost", "behind"), 0)
    report = SimpleNamespace(**nothing, violations={}, stalled=[], hanging=[], blocked=[])
    registry.register(FollowCollector(lambda: report))
    return names_in(registry)
