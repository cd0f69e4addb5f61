"""Nothing lost and nothing twice: rebalances, crashes, signals, and transactions that fail."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from consumer.demo.processes import Child
from consumer.replay import FixedModel
from consumer.settings import Settings, TrainingSettings
from consumer.stages.segmentation import SegmentationStage
from consumer.transactions import Outcome, Transactions
from tests.consumer.kafka import (
    PARTITIONS,
    Deployment,
    LoopThread,
    Tap,
    make_events,
    make_model,
    repeated,
    until,
)
from tests.stubs import HashingEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumer.broker import EmbeddedKafka
    from models.embedding import OnnxEmbedder, Vectors

EMBEDDER = HashingEmbedder()
MODEL = make_model(EMBEDDER)


def until_caught_up(deployment: Deployment, *alive: Any) -> None:
    end = deployment.ends()
    until(lambda: deployment.committed() == end, f"all {end} records committed", alive=alive)


# --- rebalances -----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_worker_may_come_and_another_leave_in_the_middle(
    broker: EmbeddedKafka, protocol: str
) -> None:
    # Batches larger than a partition's input: what is under way belongs to several partitions,
    # and so to some that go to the other worker.
    deployment = Deployment.on(
        broker, kafka={"group_protocol": protocol}, batch={"max_records": 300}
    )
    deployment.publish(MODEL)
    deployment.send_events(repeated(make_events(users=60, each=15)))
    tap = Tap(batches=1)
    first = SegmentationStage(deployment.settings, tap, FixedModel(MODEL))
    second = SegmentationStage(deployment.settings, EMBEDDER, FixedModel(MODEL))
    with LoopThread(first, deployment.settings) as one:
        until(tap.blocked.is_set, "a batch is under way", alive=[one])
        with LoopThread(second, deployment.settings) as two:
            until(
                lambda: len(one.assigned) == len(two.assigned) == PARTITIONS // 2,
                "the partitions are shared",
                alive=[one, two],
            )
            tap.open()
            deployment.send_events(make_events(users=60, each=15, first=15))
            one.stop()
            until_caught_up(deployment, two)
            assert two.assigned == list(range(PARTITIONS))
    assert first.stats.accepted.total() > 0
    assert second.stats.accepted.total() > 0
    deployment.assert_equals_replay(EMBEDDER, MODEL)


# --- transactions that fail -----------------------------------------------------------------

Commit = Callable[[Transactions], Outcome]


def _abort(transactions: Transactions, _commit: Commit) -> Outcome:
    return transactions._abort()


def _lose_the_answer(transactions: Transactions, commit: Commit) -> Outcome:
    assert commit(transactions) is Outcome.COMMITTED
    return Outcome.UNKNOWN


def _leave_open(_transactions: Transactions, _commit: Commit) -> Outcome:
    return Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [(_abort, "aborted"), (_lose_the_answer, "unknown"), (_leave_open, "unknown")],
    ids=["aborted", "committed but not answered", "neither committed nor aborted"],
)
def test_a_transaction_that_fails_leaves_no_trace(
    broker: EmbeddedKafka,
    monkeypatch: pytest.MonkeyPatch,
    ending: Callable[[Transactions, Commit], Outcome],
    outcome: str,
) -> None:
    deployment = Deployment.on(broker)
    deployment.publish(MODEL)
    deployment.send_events(repeated(make_events(users=40, each=15)))
    commit, count = Transactions._commit, 0

    def spoilt(transactions: Transactions) -> Outcome:
        nonlocal count
        count += 1
        return ending(transactions, commit) if count in {2, 3, 5} else commit(transactions)

    monkeypatch.setattr(Transactions, "_commit", spoilt)
    stage = SegmentationStage(deployment.settings, EMBEDDER, FixedModel(MODEL))
    with LoopThread(stage, deployment.settings) as loop:
        until_caught_up(deployment, loop)
        until(lambda: loop.settled_down, "the loop is idle", alive=[loop])
    assert loop.transactions(outcome) == 3
    deployment.assert_equals_replay(EMBEDDER, MODEL)


# --- processes ------------------------------------------------------------------------------


class Remembering:
    """An embedder that remembers, so that the same texts need not be embedded again."""

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self.identity, self.dimensions = embedder.identity, embedder.dimensions
        self._embedder = embedder
        self._known: dict[str, Vectors] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(new, self._embedder.embed(new), strict=True))
        rows = [self._known[text] for text in texts]
        return np.stack(rows) if rows else self._embedder.embed([])


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Processes that a test starts; none outlives it."""
    started: list[Child] = []
    yield started
    for child in started:
        child.stop(signal.SIGKILL)


def fetch(child: Child, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{child.port}{path}", timeout=10) as answer:
        assert answer.status == 200
        return answer.read().decode()


@pytest.fixture(scope="module")
def real() -> Remembering:
    return Remembering(load_embedder(Settings()))


def learn(deployment: Deployment, embedder: Remembering) -> SegmentModel:
    """Learn a model from the deployment's input, as `segmenter replay` does."""
    replay = Replay(deployment.settings, embedder)
    records = enumerate(deployment.read(deployment.settings.topics.events))
    replay.run((replace(r, partition=0, offset=n) for n, r in records), lambda _output: None)
    assert replay.segmentation.model is not None
    return replay.segmentation.model


def test_killed_workers_lose_nothing_and_repeat_nothing(
    broker: EmbeddedKafka, real: Remembering, children: list[Child], tmp_path: Path
) -> None:
    training = TrainingSettings(segments=4, warmup_users=40)
    deployment = Deployment.on(broker, training=training, batch={"max_records": 32})
    stream = generate_records(StreamSettings(users=75, events_per_user=20, bad=0.02))
    records = [(record.key, record.value) for record in stream]
    deployment.send(deployment.settings.topics.events, records)
    model = learn(deployment, real)
    deployment.publish(model)
    file = tmp_path / "model.json"
    file.write_text(model.to_record().model_dump_json(), encoding="utf-8")

    def start(name: str, settings: Settings) -> Child:
        child = Child(name, ["worker", "--model", str(file)], settings, tmp_path)
        children.append(child)
        return child

    def applied(child: Child) -> int:
        return int(child.metrics()["segmenter_records_total"])

    # One has a lasting name, the other has not: it comes back as a stranger or not at all.
    named, nameless = start("named", deployment.named("a")), start("nameless", deployment.settings)
    both = [named, nameless]
    until(lambda: all(applied(child) > 0 for child in both), "both are at work", alive=both)
    assert named.stop(signal.SIGKILL) == -signal.SIGKILL
    assert deployment.committed() < len(records), "it died too late to show anything"
    named = start("named-again", deployment.named("a"))
    until(lambda: applied(named) > 0, "it came back", alive=[named, nameless])
    assert nameless.stop(signal.SIGKILL) == -signal.SIGKILL
    assert deployment.committed() < len(records), "it died too late to show anything"
    until_caught_up(deployment, named)
    assert named.stop() == 0
    deployment.assert_equals_replay(real, model)


def test_a_signal_ends_a_worker_with_all_that_it_applied_committed(
    broker: EmbeddedKafka, real: Remembering, children: list[Child], tmp_path: Path
) -> None:
    deployment = Deployment.on(broker, batch={"max_records": 16})
    stream = generate_records(StreamSettings(users=50, events_per_user=20, bad=0, repeated=0))
    sent = len(
        deployment.send(deployment.settings.topics.events, [(r.key, r.value) for r in stream])
    )
    model = make_model(real)
    deployment.publish(model)
    child = Child("worker", ["worker"], deployment.settings, tmp_path)
    children.append(child)
    until(lambda: child.ready(), "ready", alive=[child])
    assert json.loads(fetch(child, "/healthz")) == {"live": True}
    assert json.loads(fetch(child, "/readyz"))["assigned"] == list(range(PARTITIONS))
    until(lambda: child.metrics()["segmenter_records_total"] > 0, "at work", alive=[child])
    assert 'segmenter_transactions_total{outcome="committed"}' in fetch(child, "/metrics")
    assert child.stop(signal.SIGTERM) == 0
    result = deployment.assert_sound()
    assert 0 < deployment.committed() < sent
    assert result.counts.accepted == result.counts.records == deployment.committed()
    assert "left the group" in child.log.read_text(encoding="utf-8")
