"""A line in the log now and then: what was done, what waits, and for how long it still will."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Metric

from consumer.report.wording import plural
from consumer.telemetry.metrics import LoopMetrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a process is at a moment.

    Attributes
    ----------
    at
        Seconds, never going backwards.
    records
        Committed since the start.
    lag
        Records that wait in its partitions.
    partitions, restoring
        How many it has, and of how many of these the state is being read back.
    restored
        Share of that which is done.
    """

    at: float
    records: int
    lag: int
    partitions: int
    restoring: int
    restored: float


def read(metrics: LoopMetrics, at: float) -> Reading:
    """Read how far it is from what the loop tells."""
    return Reading(
        at=at,
        records=round(_sum(metrics.records.collect())),
        lag=round(_sum(metrics.lag.collect())),
        partitions=round(_sum(metrics.partitions.collect())),
        restoring=round(_sum(metrics.restoring.collect())),
        restored=_sum(metrics.restore_share.collect()),
    )


def sentence(before: Reading, now: Reading) -> str:
    """Say what was done between two readings, and how things stand."""
    seconds = max(now.at - before.at, 1e-9)
    done = now.records - before.records
    parts = [f"{done / seconds:,.0f} records/s", f"{now.lag:,} behind"]
    gained = before.lag - now.lag
    if now.lag and done and gained > 0 and now.partitions == before.partitions:
        parts[-1] += f", {now.lag * seconds / gained:,.0f} s to go"
    elif now.lag > before.lag and now.partitions == before.partitions:
        parts[-1] += ", and more"
    parts.append(plural(now.partitions, "partition"))
    if now.restoring:
        parts.append(f"reading {now.restoring} back, {now.restored:.0%} done")
    return "; ".join(parts)


@contextmanager
def telling(
    metrics: LoopMetrics,
    every_seconds: float | None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Write a line every so many seconds meanwhile, in a thread of its own; None writes none."""
    if every_seconds is None:
        yield
        return
    ended = threading.Event()

    def run() -> None:
        before = read(metrics, clock())
        while not ended.wait(every_seconds):
            now = read(metrics, clock())
            logger.info("%s", sentence(before, now))
            before = now

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _sum(families: Iterable[Metric]) -> float:
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    )
