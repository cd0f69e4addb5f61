"""What a loop is put together from, by `consumer.wiring.engine` or by a test."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from consumer.contract.clock import Timer
from consumer.contract.stage import Stage
from consumer.engine.batches import Batches
from consumer.engine.membership import Membership
from consumer.engine.orphans import OrphanWatch
from consumer.engine.partitions import Assignment
from consumer.engine.pulse import Pulse
from consumer.engine.transactions import Transactions
from consumer.kafka.background import Background
from consumer.kafka.cluster import TopicIdentity
from consumer.state.checkpointer import Checkpointer
from consumer.state.restore import Restorer
from consumer.telemetry.health import Health
from consumer.telemetry.metrics import LoopMetrics

Prepared = TypeVar("Prepared")


@dataclass(slots=True, kw_only=True)
class Parts(Generic[Prepared]):
    """The collaborators of one loop, which its modules share."""

    stage: Stage[Prepared, Any]
    """What is computed. The group shares its first input out; partition n of any further one is
    read by whoever has partition n of the first."""
    membership: Membership
    assignment: Assignment
    batches: Batches[Prepared]
    restorer: Restorer
    transactions: Transactions
    checkpointer: Checkpointer | None = None
    """Where the stage and the settings provide for checkpoints."""
    topic_watch: Background[Mapping[str, TopicIdentity]]
    """Asks which topics the stage's inputs are."""
    orphans: OrphanWatch | None = None
    """Where the group's protocol needs it."""
    pulse: Pulse
    metrics: LoopMetrics
    health: Health
    timer: Timer = time
