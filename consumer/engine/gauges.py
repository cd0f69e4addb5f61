"""What a loop tells of itself: its gauges, and the details of /readyz."""

from __future__ import annotations

from typing import Any

from consumer.engine.ownership import Ownership
from consumer.engine.parts import Parts


def show(parts: Parts[Any], ownership: Ownership, *, idle: bool) -> None:
    """Set the gauges to how things stand."""
    metrics, restorer, assignment = parts.metrics, parts.restorer, parts.assignment
    progress, behind = restorer.progress, ownership.measure()
    metrics.partitions.set(len(assignment))
    metrics.restoring.set(len(restorer.tasks))
    metrics.restore_share.set(progress.share)
    metrics.restore.show(progress.records, progress.eta_seconds)
    metrics.idle.set(float(parts.membership.joined and idle))
    metrics.connected.set(float(parts.membership.connection.connected))
    parts.health.detail = {
        "assigned": sorted(assignment),
        "restoring": sorted(restorer.tasks),
        **progress.detail(),
        "lag": behind,
    }
