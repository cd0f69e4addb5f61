"""What is committed beside an offset: what a successor, or `segmenter verify`, must know of it.

Kafka keeps a short text with every committed offset. So what is in it is read by whoever goes on
from there, and cannot be behind or ahead of the offset.

Offsets go with their topic: the brokers forget them when it is deleted. Then a state without an
offset is all that is left, and looks like that of a group whose offsets have expired. So the same
is written into a header of the state's changelog, once in each transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from consumer.report.wording import times

_FORMER = "partitions="


class LossReason(StrEnum):
    """Why a group's position was gone."""

    RETENTION = "retention"
    """The log begins behind it: records were removed before they were read."""
    RECREATED = "recreated"
    """The topic was deleted and made anew."""
    TRUNCATED = "truncated"
    """The log ends before it, or goes on otherwise: a leader that lacked records was elected."""


class Loss(BaseModel):
    """How often a position was gone for one reason, and how many records were never read."""

    model_config = ConfigDict(frozen=True)

    records: int = Field(ge=0)
    """Offsets, so markers of transactions count too. Of a topic that is gone only what was known to
    wait in it."""
    times: int = Field(ge=1)
    last: datetime


class OffsetMetadata(BaseModel):
    """What goes with the committed offset of one partition.

    Fields that a later version adds are passed over.
    """

    model_config = ConfigDict(frozen=True)

    partitions: int | None = None
    """Of the topic, so that a later start notices when an operator has raised it."""
    topic_id: str | None = None
    """Which topic of that name the offset is of (KIP-516)."""
    cluster_id: str | None = None
    """In which cluster. A copy in another one has another id, and is no other topic for that."""
    first: int | None = None
    """Where the group began in it; None where an earlier version did not say."""
    lost: Mapping[str, Loss] = Field(default_factory=dict)
    """By reason, since the group began; never forgotten."""
    resets: int = 0
    """How often `segmenter reset` has sent the group elsewhere and emptied its state."""
    resetting: bool = False
    """Whether a reset was begun and has not come to its end: nobody may go on from here."""
    settings: Mapping[str, str] | None = None
    """Of the member that has committed, as `consumer.settings.agreed` gives them; None where an
    earlier version did not say."""

    embedding: str | None = None
    """Of which embedding model the state of the partition is, as far as members have told since a
    running group's model was changed for the first time."""
    held: tuple[str, ...] = ()
    """The embedding models of the member that has committed: the former and the next one, while a
    running group's model is changed; likewise."""

    @classmethod
    def read(cls, text: str | None) -> OffsetMetadata:
        """Read what `write` wrote, or an earlier version; empty for what is of another program."""
        text = text or ""
        count = text.removeprefix(_FORMER)
        if count != text and count.isdecimal():
            return cls(partitions=int(count))
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls()

    def write(self) -> str:
        """Give the text that is committed."""
        return self.model_dump_json(exclude_defaults=True)

    def with_loss(self, reason: LossReason, records: int, at: datetime) -> OffsetMetadata:
        """Count that the position was gone once more."""
        before = self.lost.get(reason)
        loss = Loss(
            records=records + (before.records if before else 0),
            times=1 + (before.times if before else 0),
            last=at,
        )
        return self.model_copy(update={"lost": {**self.lost, reason.value: loss}})

    @property
    def begun_anew(self) -> int:
        """How often offsets began to name other records than before, or were gone through anew."""
        reasons = (LossReason.RECREATED, LossReason.TRUNCATED)
        made = sum(self.lost[reason].times for reason in reasons if reason in self.lost)
        return made + self.resets

    def losses(self, place: str) -> list[str]:
        """Tell each loss in a sentence, and resets."""
        resets = f"{place}: the group was reset {times(self.resets)} ('segmenter reset')"
        return [resets] * bool(self.resets) + [
            f"{place}: {_SENTENCES.get(reason, reason)}, {times(loss.times)}, last on "
            f"{loss.last:%Y-%m-%d %H:%M} UTC; {loss.records:,} records are known to be never read"
            for reason, loss in self.lost.items()
        ]


INPUTS_HEADER = "inputs"
"""Of records of a changelog: the metadata by input topic, of the partition of the same number."""

# What the next member makes anew.
_NOT_IN_HEADERS = {"settings", "embedding", "held"}
_INPUTS = TypeAdapter(dict[str, OffsetMetadata])


def write_inputs(inputs: Mapping[str, OffsetMetadata]) -> bytes:
    """Give the header's value."""
    return _INPUTS.dump_json(
        dict(inputs), exclude_defaults=True, exclude={"__all__": _NOT_IN_HEADERS}
    )


def read_inputs(headers: Iterable[tuple[str, bytes]]) -> dict[str, OffsetMetadata]:
    """Read the header of a record, empty where it has none that can be read."""
    value = dict(headers).get(INPUTS_HEADER, b"{}")
    try:
        return _INPUTS.validate_json(value)
    except ValidationError:
        return {}


_SENTENCES: dict[str, str] = {
    LossReason.RETENTION: "records were removed by retention before the group read them",
    LossReason.RECREATED: "the topic was made anew, and what was unread of the former one is gone",
    LossReason.TRUNCATED: "the log was truncated behind the group, which read again from there",
}
