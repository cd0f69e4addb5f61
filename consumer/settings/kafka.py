"""The section `kafka`, and which of its values are secrets."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

from schemas.base import Section

_SECRET = re.compile(
    r"password|passphrase|secret|token|jaas|key\.pem|sasl\.oauthbearer\.config", re.IGNORECASE
)

# What exactly-once rests on; a pass-through property must not undo it.
_RESERVED = {
    "bootstrap.servers",
    "enable.partition.eof",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",  # another name of bootstrap.servers
    "transactional.id",
}

# Properties that a setting decides, which would be overridden without a word.
_SETTINGS = {
    "auto.offset.reset": "auto_offset_reset",
    "max.poll.interval.ms": "max_poll_interval_seconds",
    "session.timeout.ms": "session_timeout_seconds",
    "transaction.timeout.ms": "transaction_timeout_seconds",
}


class KafkaSettings(Section):
    """The cluster and this process's place in it."""

    bootstrap_servers: str = Field(
        "localhost:9092", min_length=1, description="Brokers, host:port separated by commas."
    )
    group_id: str = Field(
        "segmenter",
        min_length=1,
        max_length=200,
        description="Consumer group of the workers; the trainers' is this with '-trainer', that of "
        "intake with '-intake'. "
        "Also the beginning of every transactional id.",
    )
    instance_id: str | None = Field(
        None,
        max_length=200,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Name of this process that outlives a restart (a pod's name): static group "
        "membership, and a transactional id that fences its own predecessor.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="Rebalance protocol: classic (cooperative) or consumer (KIP-848)."
    )
    session_timeout_seconds: float = Field(
        30, ge=1, le=1800, description="Seconds without a heartbeat after which a member is dead."
    )
    max_poll_interval_seconds: float = Field(
        300, ge=5, le=86400, description="Seconds without a poll after which a member is dead."
    )
    transaction_timeout_seconds: float = Field(
        10, ge=1, le=900, description="Seconds after which the broker aborts an open transaction."
    )
    revoke_seconds: float = Field(
        10,
        gt=0,
        le=300,
        description="Seconds to finish the batches under way when partitions are taken away or the "
        "process is stopped; what is not done by then is read again by the successor.",
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without offsets begins."
    )
    fail_on_data_loss: bool = Field(
        False,
        description="Refuse to go on where records are lost (retention has passed the group's "
        "offset, or the topic was made anew or truncated); else they are counted, and the group "
        "goes on with what is there.",
    )
    properties: dict[str, str] = Field(
        default_factory=dict,
        description="librdkafka properties for every client, such as security.protocol.",
    )
    consumer_properties: dict[str, str] = Field(
        default_factory=dict, description="librdkafka properties for consumers only."
    )
    producer_properties: dict[str, str] = Field(
        default_factory=dict, description="librdkafka properties for producers only."
    )
    secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="librdkafka properties that hold secrets; shown nowhere.",
    )

    @field_validator("properties", "consumer_properties", "producer_properties", "secrets")
    @classmethod
    def _not_reserved(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_RESERVED & value.keys()):
            raise ValueError(f"{taken[0]} is set by the project itself; exactly-once rests on it")
        if taken := sorted(_SETTINGS.keys() & value.keys()):
            raise ValueError(f"{taken[0]} is set by kafka.{_SETTINGS[taken[0]]}; set that instead")
        return value

    def client(self) -> dict[str, Any]:
        """Give the librdkafka configuration that all clients share."""
        secrets = {name: value.get_secret_value() for name, value in self.secrets.items()}
        return {"bootstrap.servers": self.bootstrap_servers, **self.properties, **secrets}


def is_secret(name: str) -> bool:
    """Tell whether the value of a setting must not be shown, by its dotted name."""
    return name.startswith("kafka.") and (".secrets" in name or bool(_SECRET.search(name)))
