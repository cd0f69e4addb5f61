"""What is told to Prometheus: what the loop measures, and the figures that others offer.

What a stage counts is read from it when Prometheus asks, so that nothing is counted twice; only
committed work is in it. `consumer.telemetry.table` has the names.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from operator import add

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client import core as families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from consumer.contract.figures import Figures
from consumer.contract.records import Record
from consumer.kafka.offset_metadata import Loss, LossReason
from consumer.telemetry.table import METRICS, PREFIX, Role

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
# As long as a device may take that does not hang.
_PREPARE_SECONDS = (*_SECONDS, 30, 60, 120, 300)
# From a service that is at its best to one that was away for a day.
_FRESH_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400)
# Why a checkpoint may be dropped; `consumer.state.checkpoint_format` says what each is.
_UNUSABLE = ("damaged", "unreadable", "foreign", "future", "outdated", "beyond_end")
_RECORDS = (1, 4, 16, 64, 256, 1024, 4096, 16384)


def new_registry(figures: Callable[[], Figures]) -> CollectorRegistry:
    """Give the registry of a process: how the process is, and the figures of its room."""
    registry = CollectorRegistry()
    for collect in (ProcessCollector, PlatformCollector, GCCollector):
        collect(registry=registry)
    registry.register(FigureCollector(figures))
    return registry


class FigureCollector(Collector):
    """Asks for figures when Prometheus asks, and gives each as the table has it.

    Parameters
    ----------
    figures
        Gives them; one without a value is told of, but has no series.
    """

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Sequence[families.Metric]:
        """Ask for the figures.

        Raises
        ------
        KeyError
            If the table lacks one.
        """
        found = []
        for name, value in self._figures():
            metric = METRICS[name]
            kind = families.CounterMetricFamily if metric.type == "counter" else _GaugeFamily
            family = kind(PREFIX + name, metric.meaning, labels=metric.labels)
            series = value if isinstance(value, Mapping) else {} if value is None else {(): value}
            for labels, number in series.items():
                family.add_metric([labels] if isinstance(labels, str) else labels, float(number))
            found.append(family)
        return found


_GaugeFamily = families.GaugeMetricFamily


class AgeCollector(Collector):
    """A histogram of how long ago records were written; it takes many at once, for each is in it.

    Parameters
    ----------
    name
        In the table.
    buckets
        Their upper bounds in seconds, in order; what is above all of them counts, too.
    """

    def __init__(self, name: str, buckets: Sequence[float]) -> None:
        self._name, self._buckets = name, tuple(buckets)
        # How many are at most as old as each bound, how many there are, and the sum of their ages.
        # It is replaced and never changed, since another thread reads it.
        self._seen: tuple[list[int], float] = ([0] * (len(buckets) + 1), 0.0)

    def observe(self, now: float, timestamps: Iterable[int]) -> None:
        """Take records in; one thread at a time.

        Parameters
        ----------
        now
            Seconds since 1970.
        timestamps
            Of the records, in milliseconds; one below zero is none. One that is still to come is of
            a clock that is ahead: its record is new.
        """
        present, ordered = round(now * 1000), sorted(timestamps)
        known = ordered[bisect_left(ordered, 0) :]
        past = known[: bisect_right(known, present)]
        younger = [len(known) - bisect_left(known, present - age * 1000) for age in self._buckets]
        counts, total = self._seen
        self._seen = (
            list(map(add, counts, [*younger, len(known)])),
            total + (len(past) * present - sum(past)) / 1000,
        )

    def collect(self) -> Sequence[families.Metric]:
        """Give the histogram."""
        counts, total = self._seen
        bounds = map(floatToGoString, (*self._buckets, float("inf")))
        return [
            families.HistogramMetricFamily(
                PREFIX + self._name,
                METRICS[self._name].meaning,
                buckets=list(zip(bounds, counts, strict=True)),
                sum_value=total,
            )
        ]


def tell_role(registry: CollectorRegistry, role: Role, group_id: str) -> None:
    """Tell what the process is: all roles share the names of what their loops measure.

    Parameters
    ----------
    registry
        Of the process.
    role
        What it is.
    group_id
        `kafka.group_id`, which workers, trainers and intake that belong together have alike.
    """
    _gauge("process_info", registry).labels(role, version("segmenter"), group_id).set(1)


class LoopMetrics:
    """What the loop itself measures.

    Parameters
    ----------
    registry
        Of the process.
    clock
        Seconds since 1970; tells how long ago a record was written.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # When the oldest record of a partition that waits was written. How long ago that is is
        # reckoned when Prometheus asks, so that it grows while the loop stands still, too.
        self._oldest: dict[int, float] = {}
        registry.register(FigureCollector(self._figures))
        self._freshness = AgeCollector("freshness_seconds", _FRESH_SECONDS)
        registry.register(self._freshness)
        self.records = _counter("records", registry)
        self.lag = _gauge("lag_records", registry)
        self.transactions = _counter("transactions", registry, "committed", "aborted", "unknown")
        self.commit_seconds = _histogram("transaction_seconds", registry, _SECONDS)
        self.apply_seconds = _histogram("apply_seconds", registry, _SECONDS)
        self.prepare_seconds = _histogram("prepare_seconds", registry, _PREPARE_SECONDS)
        self.batch_records = _histogram("batch_records", registry, _RECORDS)
        self.under_way = _gauge("records_under_way_bytes", registry)
        self.partitions = _gauge("assigned_partitions", registry)
        self.input_partitions = _gauge("input_partitions", registry)
        self.restoring = _gauge("restoring_partitions", registry)
        self.restore_share = _gauge("restore_share", registry)
        self.rebalances = _counter("rebalances", registry, "assign", "revoke", "lost")
        self.idle = _gauge("idle", registry)
        self.connected = _gauge("connected", registry)
        self.restore = RestoreMetrics(registry)
        self.losses = LossMetrics(registry)

    def behind(self, partition: int, lag: int, since: float | None) -> None:
        """Tell how many records of a partition wait, and that it is counted from now on.

        Parameters
        ----------
        partition
            Its number.
        lag
            Records that wait.
        since
            When the oldest of them was written, seconds since 1970: infinity where none waits, None
            where it is not known.
        """
        self.lag.labels(partition).set(lag)
        self.records.labels(partition)
        if since is None:
            self._oldest.pop(partition, None)
        else:
            self._oldest[partition] = since

    def committed(self, records: Sequence[Record]) -> None:
        """Count the records of a batch that is committed just now."""
        self.batch_records.observe(len(records))
        for number, count in Counts([record.partition for record in records]).items():
            self.records.labels(number).inc(count)
        self._freshness.observe(self._clock(), [record.timestamp for record in records])

    def _figures(self) -> Figures:
        now = self._clock()
        yield (
            "lag_seconds",
            {str(number): max(now - since, 0.0) for number, since in self._oldest.copy().items()},
        )

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that now is another process's.

        Its counter stays: what was committed here remains counted here.
        """
        self.lag.remove(partition)
        self._oldest.pop(partition, None)
        self.losses.forget(partition)


class LossMetrics:
    """Records that the group never read, by what is committed beside its offsets.

    Totals since the group began, told by whoever has the partition: they outlive processes, so they
    are gauges here.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = _gauge("lost_records", registry)
        self.times = _gauge("lost_positions", registry)
        self.last = _gauge("lost_position_timestamp_seconds", registry)

    def show(self, partition: int, losses: Mapping[str, Mapping[str, Loss]]) -> None:
        """Tell the losses of a partition that was taken over, by topic and reason."""
        for topic, lost in losses.items():
            for reason in {*LossReason, *lost}:
                labels = (topic, partition, str(reason))
                loss = lost.get(reason)
                self.records.labels(*labels).set(loss.records if loss else 0)
                self.times.labels(*labels).set(loss.times if loss else 0)
                self.last.labels(*labels).set(loss.last.timestamp() if loss else 0)

    def forget(self, partition: int) -> None:
        """Drop the gauges of a partition that now is another process's."""
        for gauge in (self.records, self.times, self.last):
            gauge.remove_by_labels({"partition": str(partition)})


class RestoreMetrics:
    """Reading state back, and the checkpoints that shorten it.

    The Restorer counts what is finished, the Checkpointer what is written; the loop calls `show`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = _gauge("restore_records", registry)
        self.eta_seconds = _gauge("restore_eta_seconds", registry)
        self.restored = _counter("restored_partitions", registry, "checkpoint", "changelog")
        self.seconds = _histogram("restore_seconds", registry, _LONG_SECONDS)
        self.writes = _counter("checkpoint_writes", registry, "written", "failed")
        self.dropped = _counter("checkpoints_dropped", registry, *_UNUSABLE)

    def show(self, records: int, eta_seconds: float | None) -> None:
        """Set the gauges to the restorer's progress."""
        self.records.set(records)
        self.eta_seconds.set(float("nan") if eta_seconds is None else eta_seconds)


def _counter(name: str, registry: CollectorRegistry, *values: str) -> Counter:
    """Make a counter of the table, at 0 for each of these values of its label."""
    metric = METRICS[name]
    counter = Counter(PREFIX + name, metric.meaning, metric.labels, registry=registry)
    for value in values:
        counter.labels(value)
    return counter


def _gauge(name: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(PREFIX + name, METRICS[name].meaning, METRICS[name].labels, registry=registry)


def _histogram(name: str, registry: CollectorRegistry, buckets: Sequence[float]) -> Histogram:
    return Histogram(PREFIX + name, METRICS[name].meaning, buckets=buckets, registry=registry)
