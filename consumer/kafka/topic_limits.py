"""What topics take: looked at before the start, so that no record stops a process later.

A broker refuses a batch of records that is larger than its topic's max.message.bytes. For a dead
letter that would mean: the record is refused, its dead letter too, and each start comes to the same
record again. So dead letters are cut to what their topic takes. And librdkafka gathers records into
batches of up to 1 MB whatever the topic takes (Java's producer splits a batch that is refused,
librdkafka does not), so batches are held to the smallest topic.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka.admin import ResourceType

from consumer.kafka.clients import MAX_MESSAGE_BYTES
from consumer.kafka.cluster import Cluster
from consumer.kafka.topic_table import Role
from consumer.kafka.topics import TopicError, name_of, own_topics
from consumer.settings import Settings
from schemas.dead_letters import BESIDE_VALUE_BYTES

logger = logging.getLogger(__name__)

_TOPIC = ResourceType.TOPIC
_PROPERTY = "max.message.bytes"
_BATCH_SIZE = "batch.size"
# librdkafka's default.
_BATCH_BYTES = 1_000_000
# A batch's own header, and what librdkafka does not count.
_BATCH_OVERHEAD_BYTES = 1024
# The shortest value for which dead_letters.max_value_bytes may be set.
_LEAST_VALUE_BYTES = 1024
LEAST_LETTER_BYTES = BESIDE_VALUE_BYTES + _LEAST_VALUE_BYTES
"""What a topic of dead letters has to take at least; with less no process starts."""


def written_topics(settings: Settings, role: Role) -> list[str]:
    """Name the topics that a role writes to."""
    return [name_of(each, settings) for each in own_topics(settings) if role in each.writers]


def message_limits(
    settings: Settings, names: Iterable[str], cluster: Cluster | None = None
) -> dict[str, int]:
    """Ask for the longest batch that each topic takes, in bytes.

    A topic that this client may not ask about, or of which its brokers do not tell, is left out:
    what it takes is seen when it refuses.
    """
    cluster = cluster or Cluster(settings.kafka)
    found = {name: cluster.properties(_TOPIC, name).get(_PROPERTY) for name in dict.fromkeys(names)}
    return {name: int(value) for name, value in found.items() if value}


def retention_ms(settings: Settings, name: str, cluster: Cluster | None = None) -> int | None:
    """Give how long a topic keeps records, None where that is for ever or cannot be seen."""
    config = (cluster or Cluster(settings.kafka)).properties(_TOPIC, name)
    if "delete" not in config.get("cleanup.policy", ""):
        return None
    kept = int(config.get("retention.ms", -1))
    return kept if kept >= 0 else None


def fit_topics(settings: Settings, limits: Mapping[str, int]) -> Settings:
    """Give the settings under which no dead letter and no batch is larger than its topic takes.

    Parameters
    ----------
    settings
        As they are.
    limits
        Bytes that the topics take which the process writes to.

    Raises
    ------
    TopicError
        If a topic takes so little that a dead letter could not say what it is of.
    """
    topics = settings.topics
    letters = {
        name: limits[name]
        for name in (topics.dead_letters, topics.label_dead_letters)
        if name in limits
    }
    dead_letters = settings.dead_letters
    for name, limit in letters.items():
        fits = limit - BESIDE_VALUE_BYTES
        if limit < LEAST_LETTER_BYTES:
            raise TopicError(
                f"topic {name} takes records of {limit:,} bytes ({_PROPERTY}), too little for a "
                f"dead letter: raise that to {LEAST_LETTER_BYTES:,} or more"
            )
        if settings.dead_letters.values and fits < settings.dead_letters.max_value_bytes:
            logger.warning(
                "dead letters on %s are cut to %d bytes, as it takes records of %d (%s), less than "
                "dead_letters.max_value_bytes = %d",
                *(name, fits, limit, _PROPERTY, settings.dead_letters.max_value_bytes),
            )
            most = min(fits, dead_letters.max_value_bytes)
            dead_letters = dead_letters.model_copy(update={"max_value_bytes": most})
    kafka = settings.kafka
    batch = min(limits.values(), default=MAX_MESSAGE_BYTES) - _BATCH_OVERHEAD_BYTES
    if _BATCH_SIZE not in kafka.properties | kafka.producer_properties and batch < _BATCH_BYTES:
        properties = kafka.producer_properties | {_BATCH_SIZE: str(max(batch, 1))}
        kafka = kafka.model_copy(update={"producer_properties": properties})
    return settings.model_copy(update={"kafka": kafka, "dead_letters": dead_letters})
