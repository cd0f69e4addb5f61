"""The table of metrics is what the processes export: their registries, as they are wired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry

from consumer.engine.transactions import Outcome
from consumer.settings import Settings
from consumer.state.checkpoint_format import Reason
from consumer.telemetry import table
from consumer.telemetry.metrics import FigureCollector, LoopMetrics, new_registry
from consumer.telemetry.table import METRICS, PREFIX, Role, metrics_of
from consumer.verify.news import FollowReport
from consumer.wiring import embedder, intake, recommender, rules, shell, trainer, worker
from tests.consumer.stages.stage_data import EMBEDDER, a_model

Exported = dict[str, tuple[str, tuple[str, ...]]]
"""Type and labels by name."""


class Started:
    """A process whose loop ends at once, and the registry that it would have served."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry = CollectorRegistry()
        monkeypatch.setattr(shell, "serving", self.serving)
        monkeypatch.setattr(shell, "build_loop", self.loop)
        for module in (worker, trainer, recommender, rules):
            monkeypatch.setattr(module, "check_topics", lambda given: {given.topics.events: 4})
        for module in (worker, trainer, recommender):
            monkeypatch.setattr(module, "message_limits", lambda *_: {})
        monkeypatch.setattr(intake, "check_intake_topics", lambda given: (given.topics.events, 4))
        monkeypatch.setattr(intake, "message_limits", lambda *_: {})
        monkeypatch.setattr(intake, "retention_ms", lambda *_: None)
        feed = SimpleNamespace(latest=lambda: None, close=lambda: None)
        monkeypatch.setattr(worker, "LabelModelFeed", lambda _: feed)
        monkeypatch.setattr(worker, "ListFeed", lambda _: feed)
        monkeypatch.setattr(embedder, "load_embedder", lambda _: EMBEDDER)

    @contextmanager
    def serving(self, _settings: Any, _health: Any, registry: CollectorRegistry) -> Iterator[None]:
        self.registry = registry
        yield

    def loop(self, *_: Any, metrics: LoopMetrics, command: str, **__: Any) -> Any:
        self.command = command
        return SimpleNamespace(run=lambda: None, stop=lambda: None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


@pytest.fixture
def run_a_worker(tmp_path: Path) -> Callable[[Settings], None]:
    model = tmp_path / "model.json"
    model.write_text(a_model().to_record().model_dump_json(), encoding="utf-8")
    return lambda settings: worker.run_worker(settings, model)


def exported(registry: CollectorRegistry) -> Exported:
    """What a registry has of ours; a label is known of a family with a series."""
    families = [each for each in registry.collect() if each.name.startswith(PREFIX)]
    return {
        family.name.removeprefix(PREFIX): (
            family.type,
            tuple(label for label in family.samples[0].labels if label != "le")
            if family.samples
            else (),
        )
        for family in families
    }


def assert_as_the_table_has_it(found: Exported, role: Role) -> None:
    known = {metric.name: metric for metric in metrics_of(role)}
    assert found.keys() == known.keys()
    for name, (kind, labels) in found.items():
        assert kind == known[name].type, name
        assert labels in ((), tuple(known[name].labels)), name


def test_a_worker_exports_what_the_table_has(started, run_a_worker):
    items = {"enabled": True, "users": True}
    run_a_worker(Settings(http={"port": 0}, labels={"enabled": True}, recommendations=items))
    assert_as_the_table_has_it(exported(started.registry), "worker")
    assert started.command == "worker"  # by which its settings are held against its group's


def test_a_trainer_exports_what_the_table_has(started):
    trainer.run_trainer(Settings(http={"port": 0}, labels={"enabled": True}))
    assert_as_the_table_has_it(exported(started.registry), "trainer")
    assert started.command == "trainer"


def test_a_recommender_exports_what_the_table_has(started):
    recommender.run_recommender(Settings(http={"port": 0}, recommendations={"enabled": True}))
    assert_as_the_table_has_it(exported(started.registry), "recommender")
    assert started.command == "recommender"


def test_intake_exports_what_the_table_has(started):
    intake.run_intake(Settings(http={"port": 0}, topics={"raw_events": "raw"}))
    assert_as_the_table_has_it(exported(started.registry), "intake")
    assert started.command == "intake"


def test_rules_export_what_the_table_has(started):
    rules.run_rules(Settings(http={"port": 0}, rules={"enabled": True, "segments": {"a": "true"}}))
    assert_as_the_table_has_it(exported(started.registry), "rules")
    assert started.command == "rules run"


def test_the_audit_exports_what_the_table_has():
    report = FollowReport(0, 0, 0, 0, 0, 0, 0, 0, {}, 0, 0, read_up=True)
    assert_as_the_table_has_it(exported(new_registry(report.figures)), "verify")


def test_what_depends_on_labels_is_not_exported_without_them(started, run_a_worker):
    items = {"enabled": True, "users": True}
    run_a_worker(Settings(http={"port": 0}, recommendations=items))
    left = METRICS.keys() & {metric.name for metric in metrics_of("worker")}
    left -= exported(started.registry).keys()
    assert left
    assert all("labels.enabled" in METRICS[name].more for name in left)


def test_a_figure_that_the_table_lacks_is_an_error():
    collector = FigureCollector(lambda: [("figures_unheard_of", 1)])
    with pytest.raises(KeyError, match="figures_unheard_of"):
        collector.collect()


def test_a_metric_is_in_the_table_once_of_a_known_type_and_role_and_said_in_a_sentence():
    assert len(table._LINES) == len(METRICS)
    for metric in METRICS.values():
        assert metric.type in {"counter", "gauge", "histogram"}, metric.name
        assert set(metric.roles) <= set(get_args(Role)), metric.name
        assert metric.meaning.endswith("."), metric.name
        assert not metric.more or metric.more.endswith("."), metric.name


def test_outcomes_of_transactions_are_counted_from_the_start():
    registry = CollectorRegistry()
    LoopMetrics(registry)
    for outcome in Outcome:
        labels = {"outcome": outcome.value}
        assert registry.get_sample_value("segmenter_transactions_total", labels) == 0


def test_checkpoints_that_are_dropped_are_counted_from_the_start_by_each_reason():
    registry = CollectorRegistry()
    LoopMetrics(registry)
    for reason in set(Reason) - {Reason.MISSING}:  # of which nothing is dropped
        labels = {"reason": reason.value}
        assert registry.get_sample_value("segmenter_checkpoints_dropped_total", labels) == 0
