"""The benchmark of a restore, small, on a real Kafka."""

from __future__ import annotations

from pathlib import Path

from benchmarks import restore
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import PARTITIONS, settings_for


def test_it_compares_restores_with_and_without_checkpoints(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    given = f"--users 300 --tail 20 --rounds 1 --partitions {PARTITIONS}"
    arguments = restore.parse(given.split())
    figures = restore.measure(settings_for(broker.bootstrap_servers), arguments, tmp_path)
    assert (figures["users"], figures["rounds"]) == (300, 1)
    assert figures["checkpoint_bytes"] > 300 * restore.DIMENSIONS * 4
    assert figures["changelog_seconds"] > 0
    assert figures["checkpoint_seconds"] > 0
