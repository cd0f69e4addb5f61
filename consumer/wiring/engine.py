"""The engine put together: a loop with all that it works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from consumer.contract.records import Record
from consumer.contract.stage import Stage
from consumer.engine.batches import AHEAD, Batches, no_suspect
from consumer.engine.loop import Loop
from consumer.engine.membership import Membership
from consumer.engine.orphans import OrphanWatch, rebalance
from consumer.engine.partitions import Assignment
from consumer.engine.parts import Parts
from consumer.engine.pulse import Pulse
from consumer.engine.transactions import Transactions
from consumer.kafka.background import Background
from consumer.kafka.clients import producer_config
from consumer.kafka.cluster import Cluster
from consumer.settings import Settings
from consumer.state.checkpoint_store import CheckpointStore
from consumer.state.checkpointer import Checkpointer
from consumer.state.positions import CERTAIN_SECONDS, Positions
from consumer.state.restore import Restorer
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import LoopMetrics

Prepared = TypeVar("Prepared")


def build_loop(
    stage: Stage[Prepared, Any],
    settings: Settings,
    *,
    group_id: str,
    transactional_id: str,
    metrics: LoopMetrics,
    health: Health,
    idle_seconds: float,
    command: str | None = None,
    ahead: int = AHEAD,
    suspect: Callable[[], str] = no_suspect,
    transactions: Callable[..., Transactions] = Transactions,
    topic_seconds: float = 5.0,
    certain_seconds: float = CERTAIN_SECONDS,
) -> Loop[Prepared]:
    """Put a loop together.

    Parameters
    ----------
    stage
        What it drives.
    settings
        All settings.
    group_id
        Of the consumer group.
    transactional_id
        Stable for a process that keeps its name over restarts, so that its start ends what its
        predecessor left open.
    metrics, health
        Where the loop tells of itself.
    idle_seconds
        How long nothing must come before the stage is told that it is idle.
    command
        What the group's members run, whose settings are held against each other.
    ahead
        Batches that are prepared at the same time.
    suspect
        Tells what may hang where a batch is not prepared in time.
    transactions
        Makes the producer.
    topic_seconds, certain_seconds
        How often the inputs' identities are asked for, and how long one that would send the group
        back has to be the same.
    """
    kafka, restore = settings.kafka, settings.restore
    cluster, (topic, *beside) = Cluster(kafka), stage.inputs
    producer = transactions(
        producer_config(kafka, transactional_id),
        kafka.transaction_timeout_seconds,
        restore.no_progress_seconds,
        health.tick,
    )
    membership = Membership(kafka, group_id, topic, batch_bytes=settings.batch.max_bytes)
    partitions = cluster.partitions(topic)
    store = CheckpointStore.of(restore)

    def prepare(records: Sequence[Record]) -> Prepared:
        with metrics.prepare_seconds.time():
            return stage.prepare(records)

    orphans = None
    if kafka.group_protocol == "classic" and kafka.instance_id is not None:
        orphans = OrphanWatch(
            cluster,
            group_id,
            topic,
            partitions,
            every_seconds=kafka.session_timeout_seconds,
            share_out=lambda: rebalance(kafka, group_id, topic),
        )
    parts = Parts(
        stage=stage,
        membership=membership,
        assignment=Assignment(membership.consumer, topic, partitions, beside),
        batches=Batches(prepare, settings.batch, ahead=ahead, suspect=suspect),
        restorer=Restorer(
            settings,
            stage,
            group_id,
            cluster=cluster,
            positions=Positions(
                cluster, group_id, settings, certain_seconds=certain_seconds, command=command
            ),
            store=store,
            metrics=metrics.restore,
        ),
        transactions=producer,
        checkpointer=Checkpointer.of(stage, store, restore, metrics.restore),
        topic_watch=Background(
            "topic-watch",
            "asking which topics are read",
            partial(cluster.identities, stage.inputs),
            topic_seconds,
        ),
        orphans=orphans,
        pulse=Pulse(kafka.session_timeout_seconds),
        metrics=metrics,
        health=health,
    )
    return Loop(parts, revoke_seconds=kafka.revoke_seconds, idle_seconds=idle_seconds)
