"""What every process of the group is around its stage: health, metrics, the loop, its end."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from consumer.contract.figures import Figures
from consumer.contract.stage import Stage
from consumer.engine.batches import AHEAD, no_suspect
from consumer.process import ending
from consumer.process.garbage import looked_for_rarely
from consumer.settings import KafkaSettings, Settings
from consumer.telemetry.health import Health, serving
from consumer.telemetry.metrics import LoopMetrics, new_registry, tell_role
from consumer.telemetry.progress import telling
from consumer.telemetry.table import Role
from consumer.wiring.engine import build_loop

logger = logging.getLogger(__name__)

# Until the loop turns nothing is begun that would have to be finished.
ends_at_once = ending.stopping_by(partial(ending.leave, 0))


def run(
    settings: Settings,
    stage: Stage[Any, Any],
    figures: Callable[[], Figures],
    *,
    role: Role,
    group_id: str,
    facts: Callable[[], dict[str, Any]] = dict,
    ahead: int = AHEAD,
    suspect: Callable[[], str] = no_suspect,
    command: str | None = None,
) -> None:
    """Run a stage until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        All settings.
    stage
        What is done with records.
    figures
        What the stage tells of itself in metrics.
    role, group_id
        What the process is, and the consumer group that it joins.
    facts
        What /readyz shows beside what the loop knows.
    ahead
        Batches that are prepared at the same time.
    suspect
        Tells what may hang where a batch is not prepared in time.
    command
        Words after `segmenter`, where they are others than the role.
    """
    registry = new_registry(figures)
    tell_role(registry, role, settings.kafka.group_id)
    health = Health(settings.http.live_seconds, facts=facts)
    metrics = LoopMetrics(registry)
    kafka = settings.kafka
    logger.info(
        "%s %s: group %s%s of %s, reads %s",
        role,
        version("segmenter"),
        group_id,
        f", as {kafka.instance_id}," if kafka.instance_id else "",
        kafka.bootstrap_servers,
        ", ".join(stage.inputs),
    )
    with (
        serving(settings.http, health, registry),
        telling(metrics, settings.log.progress_seconds),
    ):
        loop = build_loop(
            stage,
            settings,
            group_id=group_id,
            transactional_id=transactional_id(settings.kafka, role),
            metrics=metrics,
            health=health,
            idle_seconds=settings.training.idle_seconds,
            command=command or role,
            ahead=ahead,
            suspect=suspect,
        )
        with ending.stopping_by(loop.stop), looked_for_rarely():
            loop.run()


def transactional_id(kafka: KafkaSettings, role: str) -> str:
    """Name the transactions of this process: stable with an instance id, else its own.

    A process without a lasting name cannot fence its predecessor; what that one left open ends by
    kafka.transaction_timeout_seconds.
    """
    return f"{kafka.group_id}-{role}-{kafka.instance_id or uuid.uuid4()}"
