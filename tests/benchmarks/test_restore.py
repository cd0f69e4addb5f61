"""The benchmark of a restore, small, on a real Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import restore
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import PARTITIONS, settings_for


@pytest.mark.parametrize("half", [False, True])
def test_it_compares_restores_with_and_without_checkpoints(
    broker: EmbeddedKafka, tmp_path: Path, half: bool
) -> None:
    given = f"--users 300 --tail 20 --rounds 1 --partitions {PARTITIONS}"
    arguments = restore.parse(given.split())
    settings = settings_for(broker.bootstrap_servers)
    figures = restore.measure(settings, arguments, tmp_path, half=half)
    bytes_of_vector = restore.DIMENSIONS * (2 if half else 4)
    assert figures["record_bytes"] - bytes_of_vector < 250
    assert figures["checkpoint_bytes"] > 300 * bytes_of_vector
    assert figures["changelog_seconds"] > 0
    assert figures["checkpoint_seconds"] > 0
