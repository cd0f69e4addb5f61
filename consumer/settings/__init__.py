"""Every setting of every process, in one class.

Read, the first wins: flags, environment (`SEGMENTER_KAFKA__GROUP_ID=...`), a TOML file (`--config`
or SEGMENTER_CONFIG), the defaults below. Durations are seconds unless the name says otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from models.labels.policy import LabelDecisionPolicy, LabelPolicy
from models.profiles.table import ProfilePolicy
from models.segments.decision import AssignmentPolicy
from schemas.events import EventType, Rfc3339
from schemas.intake import Intake
from schemas.keys import KeyForm
from schemas.label_model import MAX_LABELS
from schemas.mapping import PRESETS, EventMapping, MappingPreset
from schemas.user_labels import LabelIntake

_SECRET = re.compile(
    r"password|passphrase|secret|token|jaas|key\.pem|sasl\.oauthbearer\.config", re.IGNORECASE
)
_MASK = "********"

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


class Section(BaseModel):
    """A group of settings; an unknown name is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


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


class TopicSettings(Section):
    """Names of the topics, and how `segmenter topics create` makes them."""

    events: str = Field("user-events", min_length=1, description="Input.")
    raw_events: str | None = Field(
        None,
        min_length=1,
        description="A foreign topic whose keys or partitions cannot be trusted, which 'segmenter "
        "intake' re-keys into events; none where producers write events themselves.",
    )
    dead_letters: str = Field("user-events.dlq", min_length=1, description="Refused records.")
    changes: str = Field("segment-changes", min_length=1, description="Output.")
    memberships: str = Field(
        "segment-memberships", min_length=1, description="Each user's latest change, compacted."
    )
    profiles: str = Field("user-profiles", min_length=1, description="Changelog of the state.")
    samples: str = Field(
        "profile-samples", min_length=1, description="Feed of the trainer, one partition."
    )
    models: str = Field("segment-models", min_length=1, description="Snapshots, one partition.")
    lifecycle: str = Field(
        "segment-lifecycle",
        min_length=1,
        description="Segments created, split, merged and retired, one partition.",
    )
    labels: str = Field(
        "segment-labels",
        min_length=1,
        description="Labels of users, read where labels.enabled; as many partitions as events.",
    )
    label_dead_letters: str = Field(
        "segment-labels.dlq", min_length=1, description="Refused records of labels."
    )
    label_models: str = Field(
        "label-models", min_length=1, description="Snapshots of the label model, one partition."
    )
    drift_reference: str = Field(
        "drift-reference",
        min_length=1,
        description="What the trainer measures drift against, compacted, one partition.",
    )
    partitions: int = Field(
        12, ge=1, le=10_000, description="Partitions of input, outputs and changelog."
    )
    replication_factor: int = Field(
        -1, ge=-1, le=15, description="Replicas; -1 is the broker's default."
    )
    retention_hours: float = Field(
        -1,
        ge=-1,
        description="Hours that changes, lifecycle events and dead letters are kept; -1 is for "
        "ever.",
    )

    @model_validator(mode="after")
    def _raw_is_another(self) -> Self:
        own = {name: value for name, value in self if name != "raw_events"}
        for name, value in own.items():
            if value == self.raw_events:
                raise ValueError(
                    f"raw_events is {value!r}, which is topics.{name}: 'segmenter intake' reads "
                    "it and writes into topics.events, so it must be a topic of its own"
                )
        return self


class EventSettings(Section):
    """How records of the input become user events, and what is refused."""

    preset: MappingPreset = Field(
        "none", description="A known format of the input; auto tells them apart by each record."
    )
    mapping: EventMapping = Field(
        default_factory=EventMapping,
        description="Where the fields of an event are found in a source object, by dotted paths.",
    )
    key: KeyForm = Field(
        "raw",
        description="Form of the keys: raw is the user_id as it is, json is the user_id as a JSON "
        "string or number, as JSON converters and REST bridges write it.",
    )
    partitioner: Literal["murmur2", "crc32", "any"] = Field(
        "murmur2",
        description="What puts keys into partitions: murmur2 (Java's), crc32 (librdkafka's "
        "default); records that lie elsewhere are counted and told of. any looks at none.",
    )
    max_text_chars: int = Field(
        100_000, ge=1, le=10_000_000, description="Longest text accepted, in characters."
    )
    earliest: Rfc3339 = Field(
        datetime(1990, 1, 1, tzinfo=UTC), description="Event times before it are refused."
    )
    max_future_skew_seconds: float = Field(
        3600, ge=0, description="Seconds that an event time may lie ahead of the clock."
    )
    weights: dict[EventType, float] = Field(
        default_factory=lambda: {
            EventType.REVIEW: 1.0,
            EventType.COMMENT: 1.0,
            EventType.QUESTION: 1.0,
            EventType.ANSWER: 1.0,
            EventType.RATING: 0.5,
            EventType.PURCHASE: 1.0,
            EventType.VIEW: 0.2,
            EventType.CLICK: 0.1,
        },
        description="How far an event of each type moves a profile, relative to 1.",
    )

    @field_validator("weights")
    @classmethod
    def _complete_and_positive(cls, value: dict[EventType, float]) -> dict[EventType, float]:
        for kind, weight in value.items():
            if not 0 < weight <= 1000:
                raise ValueError(f"the weight of {kind} is {weight}, must be above 0, at most 1000")
        return {kind: value.get(kind, 1.0) for kind in EventType}

    @model_validator(mode="after")
    def _one_mapping(self) -> Self:
        if self.preset != "none" and not self.mapping.is_identity:
            raise ValueError("set either events.preset or events.mapping, not both")
        return self

    def intake(self) -> Intake:
        """Give the reader of records that these settings describe."""
        preset = PRESETS[self.preset]
        return Intake(
            mapping=self.mapping if preset.is_identity else preset,
            max_text_chars=self.max_text_chars,
            earliest=self.earliest,
            max_future_skew=timedelta(seconds=self.max_future_skew_seconds),
            key=self.key,
        )


class EmbeddingSettings(Section):
    """The embedding model and where it runs."""

    model: str = Field(
        "default",
        min_length=1,
        description="'default' (all-MiniLM-L6-v2), a local folder, a hub id, or an exported model.",
    )
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto",
        description="Arithmetic; auto is an exported model's own, else int8 on the CPU and fp16 on "
        "a GPU.",
    )
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="Where the model runs; auto takes a GPU that can be used."
    )
    allow_cpu_fallback: bool = Field(
        False,
        description="Go on with the CPU where the GPU that device asks for cannot be used, in "
        "place of refusing to start.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="Cores that embed on the CPU; all of them when not set."
    )
    batch_tokens: int = Field(
        16_384, ge=1, le=1_048_576, description="Tokens in a batch on a GPU at most."
    )
    gpu_sessions: int = Field(1, ge=1, le=16, description="Batches that run side by side on a GPU.")
    long_texts: Literal["truncate", "chunk"] = Field(
        "truncate",
        description="What becomes of a text beyond the model's longest input: truncate keeps its "
        "beginning, chunk cuts it up and takes the mean. Other vectors: another embedding model.",
    )
    max_chunks: int = Field(
        16,
        ge=1,
        le=1024,
        description="Chunks of a text at most, the rest is truncated. It is part of the embedding "
        "model's identity where long_texts is chunk.",
    )
    cache_texts: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Vectors kept of the texts seen last, 1.5 kB each with 384 dimensions; a text "
        "that comes again is not embedded again. 0 keeps none.",
    )

    @model_validator(mode="after")
    def _int8_on_the_cpu(self) -> Self:
        if self.precision == "int8" and self.device in ("cuda", "tensorrt"):
            raise ValueError(
                f"precision is int8, which is for CPUs, and device is {self.device}: "
                "set precision to fp16 or auto, or device to cpu"
            )
        return self


class ProfileSettings(Section):
    """How users' profiles fade."""

    # Reviews are rare: with 30 days most profiles are one text, which is mostly noise. On the Stack
    # Exchange stream offline k-means reaches a V-measure of 0.93 at 30 days and 1.00 at 180.
    half_life_days: float = Field(
        180, gt=0, le=36_500, description="Days after which an event counts half."
    )
    event_memory: int = Field(
        64, ge=1, le=65_536, description="Latest event ids remembered for each user."
    )
    terms: int = Field(16, ge=0, le=256, description="Typical words kept for each user.")

    def policy(self) -> ProfilePolicy:
        """Give the policy that the profiles compute with."""
        return ProfilePolicy(
            half_life=timedelta(days=self.half_life_days),
            event_memory=self.event_memory,
            terms=self.terms,
        )


class AssignmentSettings(Section):
    """When a user enters, changes and leaves a segment."""

    margin: float = Field(
        0.05,
        ge=0,
        le=2,
        description="A user moves only when the new segment is nearer by this Euclidean distance "
        "between the unit profile vector and the centres.",
    )
    min_events: int = Field(1, ge=1, description="Events before a user enters a first segment.")
    dwell_events: int = Field(
        6, ge=0, description="Events after a change before behaviour moves a user again."
    )
    max_distance: float | None = Field(
        None, gt=0, le=2, description="Farther than this from every centre: in no segment."
    )
    min_confidence: float = Field(
        0,
        ge=0,
        lt=1,
        description="Confidence without which a user neither enters a segment nor moves to "
        "another; 0 for none.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.policy()  # says what contradicts what
        return self

    def policy(self) -> AssignmentPolicy:
        """Give the policy that the worker decides by."""
        return AssignmentPolicy(
            margin=self.margin,
            min_events=self.min_events,
            dwell_events=self.dwell_events,
            max_distance=self.max_distance,
            min_confidence=self.min_confidence,
        )


# By what each is replaced: docs/clustering.md has the figures.
_ALGORITHMS_THAT_WENT = {"streamkmeans": "kmeans", "clustream": "kmeans", "denstream": "dbstream"}


class TrainingSettings(Section):
    """How the trainer learns the segments."""

    segments: int | Literal["auto"] = Field(
        6, description="Number of segments, 1 to 4096; auto finds it."
    )
    max_segments: int = Field(
        50, ge=2, le=4096, description="Segments at most where their number is found."
    )
    algorithm: Literal["kmeans", "dbstream"] = Field(
        "kmeans",
        description="Which of River's clusterers learns. dbstream finds the number of segments "
        "itself, by density, whatever segments is.",
    )
    projection: Literal["none", "random", "pca"] = Field(
        "none", description="Whether the clusterer learns in fewer dimensions."
    )
    projection_dimensions: int = Field(
        32, ge=1, le=4096, description="How many, where training.projection is not none."
    )
    sample_users: int = Field(
        3000, ge=10, le=1_000_000, description="Users, picked by hash, that the trainer holds."
    )
    warmup_users: int = Field(
        200, ge=1, le=1_000_000, description="Sampled users before the first segments are made."
    )
    reseed_every: int = Field(
        1000, ge=1, description="Samples between two searches for better centres."
    )
    idle_seconds: float = Field(
        2.0, gt=0, description="Seconds without a sample after which the trainer settles."
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of everything that is random.")

    @field_validator("algorithm", mode="before")
    @classmethod
    def _none_that_went(cls, value: object) -> object:
        if isinstance(value, str) and (instead := _ALGORITHMS_THAT_WENT.get(value)):
            raise ValueError(
                f"is {value!r}, which segmenter no longer has: take {instead}, and segments that "
                "go on keep their ids"
            )
        return value

    @field_validator("segments", mode="before")
    @classmethod
    def _count_or_auto(cls, value: object) -> int | str:
        # One sentence instead of one for each type that the field may have.
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if value == "auto" or (type(value) is int and 1 <= value <= 4096):
            return value
        raise ValueError(f"is {value!r}: give a number of segments from 1 to 4096, or auto")

    @model_validator(mode="after")
    def _enough_users(self) -> Self:
        if self.segments_given is not None and self.sample_users < 2 * self.segments_given:
            raise ValueError(
                f"sample_users is {self.sample_users} for {self.segments} segments: "
                f"keep {2 * self.segments_given} users or more"
            )
        if self.warmup_users > self.sample_users:
            raise ValueError(
                f"warmup_users is {self.warmup_users}, more than the {self.sample_users} "
                "sample_users that can be held"
            )
        return self

    @property
    def segments_given(self) -> int | None:
        """The number of segments, None where it is to be found."""
        return None if self.segments == "auto" else self.segments


class LabelSettings(Section):
    """Segments that people have named: learned from users whose label is known."""

    # Off, since it asks for topics, and rights on them, that a group without labels has no use for;
    # and an upgrade changes nothing for those who do not ask for it.
    enabled: bool = Field(
        False, description="Read labels, learn from them, and publish the label of each user."
    )
    key: KeyForm = Field("raw", description="Form of the keys of labels, as events.key.")
    classifier: Literal["logistic", "softmax", "svm"] = Field(
        "logistic", description="Which of River's linear classifiers learns."
    )
    max_labels: int = Field(
        50, ge=2, le=MAX_LABELS, description="Labels learned at most; further ones are left out."
    )
    remembered_users: int = Field(
        300, ge=1, le=100_000, description="Labelled users of each label that the trainer holds."
    )
    rehearsals: int = Field(
        1,
        ge=0,
        le=100,
        description="Remembered users, of each label alike, learned again with each profile.",
    )
    publish_every: int = Field(
        500, ge=1, description="Labelled profiles between two versions of the label model at least."
    )
    min_events: int = Field(1, ge=1, description="Events before a user gets a first label.")
    min_probability: float = Field(
        0.5, ge=0, le=1, description="A label that is less likely is not published."
    )
    margin: float = Field(
        0.2, ge=0, lt=1, description="How much likelier than the present label another must be."
    )
    dwell_events: int = Field(
        3, ge=0, description="Events after a change of label before behaviour changes it again."
    )

    def learning(self, seed: int) -> LabelPolicy:
        """Give the policy that the trainer learns by."""
        return LabelPolicy(
            classifier=self.classifier,
            max_labels=self.max_labels,
            remembered_users=self.remembered_users,
            rehearsals=self.rehearsals,
            publish_every=self.publish_every,
            seed=seed,
        )

    def decision(self) -> LabelDecisionPolicy:
        """Give the policy that the worker decides by."""
        return LabelDecisionPolicy(
            min_events=self.min_events,
            min_probability=self.min_probability,
            margin=self.margin,
            dwell_events=self.dwell_events,
        )


class DriftSettings(Section):
    """How the trainer tells that users write of other things than before."""

    enabled: bool = Field(
        True, description="Whether workers send sampled users' latest texts, and the trainer looks."
    )
    # With 500 users a shift of a tenth of what users write was missed by most looks; 2,000 of a
    # sample of 3,000 take long to come.
    users: int = Field(
        1000, ge=20, le=10_000, description="Users in the reference, and of today, to be compared."
    )
    min_users: int = Field(
        100,
        ge=20,
        le=10_000,
        description="With so many users it is done too, where so few of the sampled users write.",
    )
    segment_users: int = Field(
        50, ge=10, description="Users that a segment needs on either side to be compared by itself."
    )
    every: int = Field(250, ge=1, description="Samples between two looks.")
    significance: float = Field(
        0.0002,
        gt=0,
        lt=0.5,
        description="Chance of a false alarm, of any test, while today's users change once.",
    )
    retrain: bool = Field(
        False,
        description="Whether an alarm makes the trainer look for better segments at once, and "
        "collect a new reference.",
    )
    reference_days: float | None = Field(
        None,
        gt=0,
        description="Days, by event time, after which today's users become the reference; none "
        "keeps it.",
    )
    reference_epoch: int = Field(
        0, ge=0, description="Another number than before has a new reference collected."
    )

    @model_validator(mode="after")
    def _enough_users(self) -> Self:
        if self.min_users > self.users:
            raise ValueError(
                f"min_users is {self.min_users}, more than the {self.users} users to compare"
            )
        return self


class BatchSettings(Section):
    """How much goes into one transaction."""

    max_records: int = Field(512, ge=1, le=100_000, description="Records in a batch at most.")
    max_wait_seconds: float = Field(
        0.5, gt=0, le=60, description="Seconds that a batch waits to fill."
    )
    prepare_timeout_seconds: float = Field(
        300,
        gt=0,
        le=86400,
        description="Seconds after which a batch that is still not embedded ends the process: a "
        "device that hangs cannot be interrupted.",
    )
    reassign_users: int = Field(
        2000, ge=1, le=100_000, description="Users looked at in one transaction on a new model."
    )


class DeadLetterSettings(Section):
    """What becomes of records that cannot be used."""

    max_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The worker stops when more than this share of the latest records is refused; "
        "1 never stops it.",
    )
    window: int = Field(1000, ge=1, description="How many of the latest records that looks at.")
    min_records: int = Field(200, ge=1, description="Records before the share is looked at.")
    max_unexpected: int = Field(
        20,
        ge=0,
        description="The worker stops when more than so many of the latest records made the "
        "program itself fail: the machine or the program is to blame, not the records.",
    )
    max_value_bytes: int = Field(
        8_388_608, ge=1024, description="Longest value kept; of a longer one only the beginning."
    )


class HttpSettings(Section):
    """The port of /metrics, /healthz and /readyz."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - pods need it
    port: int | None = Field(
        None, ge=0, le=65535, description="Port; 0 picks a free one, none serves nothing."
    )
    live_seconds: float = Field(
        60, gt=0, description="Seconds without a turn of the loop after which /healthz fails."
    )


class RestoreSettings(Section):
    """Reading the state back from its changelog."""

    no_progress_seconds: float = Field(
        60, gt=0, description="Seconds without a record after which the worker gives up."
    )
    accept_lost_offsets: bool = Field(
        False,
        description="Begin where kafka.auto_offset_reset says although the changelog holds state "
        "and the group has no offset: events count again, or are skipped.",
    )
    checkpoint_dir: Path | None = Field(
        None,
        description="Folder on a lasting volume for local checkpoints of the state; none keeps "
        "no checkpoints.",
    )
    checkpoint_seconds: float = Field(
        60, gt=0, description="Seconds between two checkpoints of a partition at least."
    )
    # A changelog's tombstone may be cleaned away delete.retention.ms (24 h by default) after it was
    # written, and a checkpoint from before it would bring its user back. Half of that leaves room
    # for clocks that differ and for the reading itself.
    checkpoint_max_age_hours: float = Field(
        12,
        gt=0,
        description="Older checkpoints are not used; must be below the changelog's "
        "delete.retention.ms.",
    )


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level.")
    format: Literal["text", "json"] = Field("text", description="Lines for people or machines.")


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(
        env_prefix="SEGMENTER_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    embedding: EmbeddingSettings = Field(default_factory=EmbeddingSettings)
    profile: ProfileSettings = Field(default_factory=ProfileSettings)
    assignment: AssignmentSettings = Field(default_factory=AssignmentSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    restore: RestoreSettings = Field(default_factory=RestoreSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _timing_chain(self) -> Self:
        kafka = self.kafka
        if kafka.transaction_timeout_seconds >= kafka.max_poll_interval_seconds:
            raise ValueError(
                f"kafka.transaction_timeout_seconds ({kafka.transaction_timeout_seconds}) must be "
                f"below kafka.max_poll_interval_seconds ({kafka.max_poll_interval_seconds})"
            )
        return self

    def labels_intake(self) -> LabelIntake:
        """Give the reader of labels that these settings describe."""
        return LabelIntake(timedelta(seconds=self.events.max_future_skew_seconds), self.labels.key)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; the file is the one that SEGMENTER_CONFIG names."""
        _check_environment(settings_cls)
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if path := os.environ.get(CONFIG_VARIABLE):
            if not Path(path).is_file():
                raise SettingsFileError(f"the settings file {path} does not exist")
            try:
                sources.append(TomlConfigSettingsSource(settings_cls, path))
            except (OSError, ValueError) as error:  # no TOML, no UTF-8
                raise SettingsFileError(f"cannot read the settings file {path}: {error}") from error
        return tuple(sources)

    def masked(self) -> dict[str, Any]:
        """Give the effective settings as JSON-ready values, secrets masked."""
        return _mask(self.model_dump(mode="json"))


CONFIG_VARIABLE = "SEGMENTER_CONFIG"


class SettingsFileError(ValueError):
    """The settings file is not there, or is no TOML."""


class SettingsNameError(ValueError):
    """A variable of the environment names a section that there is none of.

    Attributes
    ----------
    variable
        Its name.
    """

    def __init__(self, variable: str, sections: Iterable[str]) -> None:
        super().__init__(
            f"the environment's {variable} names no section of settings; "
            f"the sections are {', '.join(sections)}"
        )
        self.variable = variable


def _check_environment(settings_cls: type[BaseSettings]) -> None:
    """Refuse a misspelt section; within a section, pydantic refuses unknown names itself.

    Only names with the double underscore are ours: a cluster's service links (SEGMENTER_PORT) are
    not.
    """
    for name in sorted(os.environ):
        prefix, _, rest = name.upper().partition("_")
        section, delimiter, _ = rest.partition("__")
        known = settings_cls.model_fields
        if prefix == "SEGMENTER" and delimiter and section.lower() not in known:
            raise SettingsNameError(name, known)


def is_secret(name: str) -> bool:
    """Tell whether the value of a setting must not be shown, by its dotted name."""
    return name.startswith("kafka.") and (".secrets" in name or bool(_SECRET.search(name)))


def _mask(settings: dict[str, Any]) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            masked[name] = _mask(value)
        # A secret is a string; embedding.batch_tokens is none.
        elif isinstance(value, str) and _SECRET.search(name):
            masked[name] = _MASK
        else:
            masked[name] = value
    return masked
