"""The line in the log that tells how far a process is."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from consumer.telemetry.metrics import LoopMetrics
from consumer.telemetry.progress import Reading, read, sentence, telling

BEGUN = Reading(at=0.0, records=100, lag=1000, partitions=2, restoring=0, restored=1.0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"records": 700, "lag": 400}, "20 records/s; 400 behind, 20 s to go; 2 partitions"),
        ({"records": 700, "lag": 1600}, "20 records/s; 1,600 behind, and more; 2 partitions"),
        ({"lag": 1000}, "0 records/s; 1,000 behind; 2 partitions"),
        ({"records": 1100, "lag": 0}, "33 records/s; 0 behind; 2 partitions"),
        # The lag is that of other partitions: nothing can be said of it.
        (
            {"records": 700, "lag": 400, "partitions": 1},
            "20 records/s; 400 behind; 1 partition",
        ),
        (
            {"restoring": 2, "restored": 0.25},
            "0 records/s; 1,000 behind; 2 partitions; reading 2 back, 25% done",
        ),
    ],
)
def test_what_was_done_and_what_waits_is_told(changes: dict[str, float], told: str):
    assert sentence(BEGUN, replace(BEGUN, **{"at": 30.0, **changes})) == told


def test_it_is_read_from_the_metrics_of_the_loop():
    metrics = LoopMetrics(CollectorRegistry())
    metrics.behind(0, 5, None)
    metrics.behind(3, 7, None)
    metrics.records.labels(0).inc(3)
    metrics.records.labels(3).inc(4)
    metrics.partitions.set(2)
    metrics.restoring.set(1)
    metrics.restore_share.set(0.5)
    assert read(metrics, 1.0) == Reading(1.0, 7, 12, 2, 1, 0.5)


def test_a_line_is_written_again_and_again_until_the_end(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    metrics = LoopMetrics(CollectorRegistry())
    with telling(metrics, 0.01):
        while len(caplog.messages) < 3:
            time.sleep(0.01)
    count = len(caplog.messages)
    with telling(metrics, None):
        pass
    assert len(caplog.messages) == count
    assert set(caplog.messages) == {"0 records/s; 0 behind; 0 partitions"}
