"""What is told of a group, as `segmenter status --json` writes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Fact(BaseModel):
    """Something that was so at the moment of the question."""

    model_config = ConfigDict(frozen=True)


class Member(Fact):
    """A process in a group, and what it has."""

    name: str = Field(description="kafka.instance_id, else the member id that Kafka has given it.")
    host: str
    partitions: list[int] = Field(description="Of the group's input.")


class Partition(Fact):
    """A partition of a group's input."""

    number: int
    member: str | None = Field(description="Who has it; null for nobody.")
    committed: int | None = Field(description="The group's offset; null where it has none yet.")
    end: int = Field(description="The offset behind the last record.")
    lag_records: int = Field(
        description="Offsets not committed. Markers of producers' transactions count where nothing "
        "lies behind them."
    )
    waits_seconds: float | None = Field(
        description="For how long the first of them has waited, by its time; 0 without a lag, null "
        "where it cannot be read."
    )


class Group(Fact):
    """A consumer group, or the lack of one."""

    role: str
    group_id: str
    state: str = Field(description="As Kafka has it, in small letters; `dead` for one that is not.")
    topic: str = Field(description="Its input.")
    members: list[Member]
    partitions: list[Partition]
    records_per_second: float | None = Field(
        description="Committed while it was asked; null where that was too short to tell."
    )
    written_per_second: float | None = Field(description="Of its input, likewise.")
    lag_records: int
    waits_seconds: float | None = Field(description="The longest of its partitions.")
    seconds_to_go: float | None = Field(
        description="Until the lag is worked off, at these rates; null where it never is, or that "
        "cannot be told."
    )
    resetting: bool = Field(
        default=False, description="Whether 'segmenter reset' was begun and is not done."
    )


class Model(Fact):
    """The newest segment model."""

    version: int
    segments: int
    published_seconds: float | None = Field(description="How long ago; null where not known.")
    rollback_of: int | None = Field(
        None, description="The version that it puts in force again; null where it was learned."
    )


class Frozen(Fact):
    """Whether an operator keeps the trainer from learning new versions of the segment model."""

    frozen: bool
    since: datetime | None = Field(None, description="null where it is not frozen.")
    cause: str | None = Field(None, description="freeze, rollback or migrate; null likewise.")


class EmbeddingSwitch(Fact):
    """How far a running group is on its way from one embedding model to another."""

    former: str = Field(description="Identity of the model that it is leaving.")
    next: str = Field(description="Identity of the model that it is to have.")
    held: list[int] = Field(description="Partitions whose worker holds both.")
    switched: list[int] = Field(description="Partitions that are of the next one.")
    partitions: int = Field(description="How many there are.")


class Refused(Fact):
    """A refused record, without what was in it."""

    reason: str
    field: str | None
    topic: str
    partition: int
    offset: int
    seconds: float | None = Field(description="How long ago it was refused.")


class Drift(Fact):
    """What drift is measured against."""

    reference_set: str | None = Field(description="When it was complete; null: being collected.")
    model_version: int


class DriftTest(Fact):
    """A test of drift, as a trainer has it."""

    statistic: float | None = Field(None, description="null while nothing can be compared.")
    threshold: float | None = Field(None, description="What the statistic is to stay below.")
    alarm: bool = False


class Endpoint(Fact):
    """A process that was asked over HTTP."""

    address: str
    role: str | None = None
    ready: bool | None = Field(None, description="null where it does not answer.")
    told: dict[str, Any] = Field(default_factory=dict, description="What /readyz says.")
    drift_alarms: list[str] = Field(
        default_factory=list, description="Tests in alarm, of a trainer."
    )
    drift: dict[str, DriftTest] = Field(
        default_factory=dict, description="Its tests, by name; empty where drift is not looked at."
    )
    problem: str | None = Field(None, description="Why it does not answer.")


class Status(Fact):
    """All of it."""

    at: str
    cluster_id: str | None
    groups: list[Group]
    model: Model | None
    frozen: Frozen | None = Field(
        None, description="null where the topic is not there that says so."
    )
    embedding_switch: EmbeddingSwitch | None = Field(
        None, description="null where no worker holds two embedding models."
    )
    refused: list[Refused] = Field(description="The last ones, the newest first.")
    drift: Drift | None
    endpoints: list[Endpoint]
    attention: list[str] = Field(description="What asks for somebody, in words; empty: nothing.")
