"""Names of the consumer groups beside the workers' own, which is kafka.group_id."""

from __future__ import annotations

from consumer.settings import KafkaSettings


def trainer_group(kafka: KafkaSettings) -> str:
    """Name the consumer group of `segmenter trainer`."""
    return f"{kafka.group_id}-trainer"


def intake_group(kafka: KafkaSettings) -> str:
    """Name the consumer group of `segmenter intake`."""
    return f"{kafka.group_id}-intake"
