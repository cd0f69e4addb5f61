"""A user's state: the changelog `user-profiles`, and the trainer's feed `profile-samples`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Base64, Contract, Identifier, Sha256
from schemas.events import Rfc3339

PROFILE_SCHEMA: Literal[1] = 1

# 2 added the latest text. Version 1 lacks it and is read as if there were none; a reader of version
# 1 would refuse the new field, hence the number.
SAMPLE_SCHEMA: Literal[2] = 2


class ProfileLabels(Contract):
    """What a worker must know of a user's labels: the one given, and the one published."""

    given: str | None = Field(None, description="The label that came on `segment-labels`.")
    predicted: str | None = Field(None, description="The label published last.")
    since_event: int = Field(
        0, ge=0, description="The value of `events` at the latest change of the published label."
    )
    model_version: int = Field(
        0, ge=0, description="Label model of the latest decision; 0 before the first."
    )


def _is_none(value: object) -> bool:
    return value is None


class EventReference(Contract):
    """Where the input has an event that is in the profile."""

    offset: int = Field(
        ge=0, description="Offset in the partition of the input that has the changelog's number."
    )
    occurred_at: Rfc3339 = Field(description="Event time.")
    event_hash: str = Field(
        pattern="^[0-9a-f]{16}$",
        description="BLAKE2b-64 of the event id, little-endian, as a number in hexadecimal digits.",
    )
    weight: float = Field(
        ge=0, description="Weight of the event at its own time: that of its type, in float32."
    )


class ProfileItems(Contract):
    """What is known of a user's items, where items are recommended to users."""

    shown: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="Digest of the items published for the user last; 0 for none: the low 32 bits "
        "of XXH3-64 of their digests, each 4 bytes.",
    )
    had: Base64 = Field(
        "",
        description="The items that the user's events named, the latest first: the low 32 bits of "
        "XXH3-64 of each id, little-endian uint32.",
    )


def _is_empty(value: list[EventReference]) -> bool:
    return not value


class ProfileRecord(Contract):
    """All that a worker must know of a user to go on where another one stopped.

    The vector is the decayed sum S(t) = sum of w_i * 2^-((t - t_i)/h) * e_i at the reference time,
    in the very float32 that the worker computes with: state read back is the state that was held,
    bit for bit.
    """

    schema_version: Literal[1] = Field(PROFILE_SCHEMA, description="Version of this format.")
    user_id: Identifier = Field(description="Whose profile it is; also the key of the record.")
    embedding: Sha256 = Field(description="Identity of the embedding model; never mixed.")
    vector: Base64 = Field(description="S, little-endian float32.", repr=False)
    weight: float = Field(ge=0, description="W, likewise decayed.")
    reference_time: Rfc3339 = Field(description="The time t of S and W: the latest event time.")
    events: int = Field(ge=0, description="Events counted, ever.")
    repeats: int = Field(ge=0, description="Events not counted since their id had been seen.")
    recent_events: Base64 = Field(
        description="BLAKE2b-64 of the latest event ids, oldest first, little-endian uint64."
    )
    terms: dict[str, float] = Field(description="The user's typical words with decayed weights.")
    segment: int | None = Field(description="Id of the user's segment.")
    segment_label: str | None = Field(
        description="The label it was published with; a later change quotes it as the previous one."
    )
    segment_since_event: int = Field(
        ge=0, description="The value of `events` at the latest change of segment."
    )
    sequence: int = Field(ge=0, description="Number of changes published for the user.")
    model_version: int = Field(
        0, ge=0, description="Segment model of the latest decision; 0 before the first."
    )
    # Left out where there is nothing to say, so that workers without labels, former ones among
    # them, read and write what they always did.
    labels: ProfileLabels | None = Field(
        None, description="The user's labels; absent where there are none.", exclude_if=_is_none
    )
    references: list[EventReference] = Field(
        default_factory=list,
        description="The events that weigh most, the heaviest first; absent where none are kept.",
        exclude_if=_is_empty,
    )
    items: ProfileItems | None = Field(
        None,
        description="The user's items; absent where none are kept.",
        exclude_if=_is_none,
    )


class ProfileSample(Contract):
    """The present profile of a sampled user, for the trainer."""

    schema_version: Literal[1, 2] = Field(SAMPLE_SCHEMA, description="Version of this format.")
    user_id: Identifier = Field(description="Whose profile it is; also the key of the record.")
    embedding: Sha256 = Field(description="Identity of the embedding model.")
    vector: Base64 = Field(description="S/|S|, little-endian float32.", repr=False)
    weight: float = Field(ge=0, description="W of the profile: how much it rests on.")
    terms: dict[str, float] = Field(description="The user's typical words with decayed weights.")
    updated_at: Rfc3339 = Field(description="Event time of the latest event in the profile.")
    label: str | None = Field(
        None, description="The user's label, where one was given.", exclude_if=_is_none
    )
    sampled: bool = Field(
        True,
        description="Whether the user's hash is in the sample; others are sent for their label "
        "only, and are not clustered.",
        exclude_if=bool,
    )
    latest: Base64 | None = Field(
        default=None,
        description="Embedding of the user's latest text, little-endian float16, to tell drift by; "
        "null where that is not known.",
        repr=False,
    )
