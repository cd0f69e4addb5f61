"""Defects put into a worker by a test, to show that the suite finds them.

Each is a mistake that real consumers have made. `tests/faults/test_defects.py` runs the scenario
that must turn red.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.contract.records import Output
from consumer.engine.commits import Commits
from consumer.engine.membership import Membership
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.cluster import Cluster
from consumer.stages.training import stage as training
from consumer.stages.training.stage import TrainingStage
from consumer.state import checkpoint_format
from consumer.wiring import engine, model_feed
from models.clustering.learner import StreamingClusterer
from models.segments.model import SegmentModel
from schemas.segment_model import LEARNED_SCHEMA, SEGMENT_MODEL_SCHEMA
from tests.faults.oracle import stable_spans


def put_in(name: str) -> None:
    """Put a defect into this process."""
    DEFECTS[name]()


def offsets_outside_the_transaction() -> None:
    """Commit the offsets by the consumer, before the transaction ends."""

    def send(
        _self: Transactions,
        _producer: Producer,
        offsets: Sequence[TopicPartition],
        consumer: Consumer,
        _budget: float,
    ) -> None:
        consumer.commit(offsets=list(offsets), asynchronous=False)

    Transactions._send_offsets = send  # type: ignore[method-assign]


def state_merged_before_the_commit() -> None:
    """Make a batch's rows the state as soon as they are computed."""

    commit = Commits.commit

    def eager(self: Commits, *arguments: Any, **named: Any) -> bool:
        self._parts.stage.committed()
        return commit(self, *arguments, **named)

    Commits.commit = eager  # type: ignore[method-assign]


def cached_group_metadata() -> None:
    """Fetch the group's metadata once, before the member has joined."""

    class Caching(Consumer):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._cached = super().consumer_group_metadata()

        def consumer_group_metadata(self) -> Any:
            return self._cached

        def memberid(self) -> str:
            return super().memberid() or "cached"

    engine.Membership = partial(Membership, make=Caching)  # type: ignore[misc, assignment]


def restore_to_the_last_stable_offset() -> None:
    """Read state back only as far as no open transaction stands in the way."""
    Cluster.watermarks = lambda self, topic, number: stable_spans(  # type: ignore[method-assign]
        self._kafka, topic, [number]
    )[number]


def answers_taken_for_aborts() -> None:
    """Take the end of a transaction that nobody answered for an abort."""
    commit = Transactions._commit

    def guess(self: Transactions, producer: Producer, budget: float) -> Outcome:
        outcome = commit(self, producer, budget)
        if outcome is not Outcome.UNKNOWN:
            return outcome
        self.reopen()
        return Outcome.ABORTED

    Transactions._commit = guess  # type: ignore[method-assign]


def write_newer_formats() -> None:
    """Write state in the next version of its formats, and read both, as a later build would."""
    checkpoint_format.FORMAT_VERSION += 1
    present, later = (
        b'"schema_version":%d' % number for number in (LEARNED_SCHEMA, SEGMENT_MODEL_SCHEMA + 1)
    )
    read, publish = training.read_model, TrainingStage._publish

    def read_both(value: bytes, place: str) -> SegmentModel:
        return read(value.replace(later, present, 1), place)

    def publish_later(self: TrainingStage) -> list[Output]:
        return [
            replace(output, value=(output.value or b"").replace(present, later, 1))
            if output.topic == self._topics.models
            else output
            for output in publish(self)
        ]

    due = StreamingClusterer.due

    def due_at_first(self: StreamingClusterer, published: SegmentModel | None) -> bool:
        StreamingClusterer.due = due  # type: ignore[method-assign]
        return published is not None or due(self, published)

    StreamingClusterer.due = due_at_first  # type: ignore[method-assign]
    training.read_model = model_feed.read_model = read_both
    TrainingStage._publish = publish_later  # type: ignore[method-assign]


DEFECTS: dict[str, Callable[[], None]] = {
    defect.__name__: defect
    for defect in (
        offsets_outside_the_transaction,
        state_merged_before_the_commit,
        cached_group_metadata,
        restore_to_the_last_stable_offset,
        answers_taken_for_aborts,
    )
}
