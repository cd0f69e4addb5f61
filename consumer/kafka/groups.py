"""Names of the consumer groups beside the workers' own, which is kafka.group_id."""

from __future__ import annotations

from consumer.settings import KafkaSettings


def trainer_group(kafka: KafkaSettings) -> str:
    """Name the consumer group of `segmenter trainer`."""
    return f"{kafka.group_id}-trainer"


def recommender_group(kafka: KafkaSettings) -> str:
    """Name the consumer group of `segmenter recommender`."""
    return f"{kafka.group_id}-recommender"


def next_profiles_group(kafka: KafkaSettings) -> str:
    """Name the group under which it is kept how far the profiles of the next model are.

    Nobody joins it. It is the transactional id of what writes them, too.
    """
    return f"{kafka.group_id}-next-profiles"


def redrive_group(kafka: KafkaSettings) -> str:
    """Name the group under which `segmenter dead-letters redrive` keeps how far it is.

    Nobody joins it. It is the transactional id of the redrive, too.
    """
    return f"{kafka.group_id}-redrive"


def rules_group(kafka: KafkaSettings) -> str:
    """Name the consumer group of `segmenter rules run`."""
    return f"{kafka.group_id}-rules"


def intake_group(kafka: KafkaSettings) -> str:
    """Name the consumer group of `segmenter intake`."""
    return f"{kafka.group_id}-intake"
