"""The output contract: one change of a user's segment, a CloudEvent on `segment-changes`.

The same record, compacted by user, is the topic `segment-memberships`: each user's latest change.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Identifier, Open, Published, Sha256, schema_id
from schemas.cloudevents import EventHeaders, binary_headers, structured
from schemas.events import Rfc3339

CHANGE_TYPE = "segmenter.segment.changed.v1"
CHANGE_SCHEMA = schema_id("segment-changes")

# Namespace of the ids below; made once with uuid4. Another one would give every change a new id.
_CHANGE_NAMESPACE = uuid.UUID("6b0d8f4e-3b0c-4f0e-9a55-0f1f4c1d7f52")
_NAMESPACE_DIGEST = hashlib.sha1(_CHANGE_NAMESPACE.bytes, usedforsecurity=False)


class ChangeStatus(StrEnum):
    """What happened to the membership."""

    ENTERED = "entered"
    SWITCHED = "switched"
    EXITED = "exited"
    LABELLED = "labelled"
    """The segment stays, only the label is another one."""


class ChangeReason(StrEnum):
    """Why it happened."""

    BEHAVIOUR = "behaviour"
    """An event of the user."""
    FIRST_ASSIGNMENT = "first_assignment"
    """A new version of the segments, the first under which a user who waited belongs to one."""
    MODEL_UPDATE = "model_update"
    """A new version of the segments, whose lines run elsewhere."""
    SEGMENT_MERGED = "segment_merged"
    """A new version in which the user's segment went into another one, and the user with it."""
    SEGMENT_SPLIT = "segment_split"
    """A new version in which the user's segment fell apart; the user is in another part of it."""
    ROLLBACK = "rollback"
    """Somebody who runs the system has put an earlier version of the segments in force again."""

    LABEL_CHANGED = "label_changed"
    """The segment stays; the label that is predicted for the user is another one."""

    INACTIVE = "inactive"
    """The user was silent for so long that all that was known of him is let go."""


class ChangeCause(StrEnum):
    """Whose doing it is."""

    USER = "user"
    """What the user did, or no longer does, under the segments as they were."""
    MODEL = "model"
    """What was learned anew: the user did nothing for it."""
    OPERATOR = "operator"
    """What somebody who runs the system asked for."""


_CAUSES = {
    ChangeReason.BEHAVIOUR: ChangeCause.USER,
    ChangeReason.FIRST_ASSIGNMENT: ChangeCause.USER,
    ChangeReason.INACTIVE: ChangeCause.USER,
    ChangeReason.MODEL_UPDATE: ChangeCause.MODEL,
    ChangeReason.SEGMENT_MERGED: ChangeCause.MODEL,
    ChangeReason.SEGMENT_SPLIT: ChangeCause.MODEL,
    ChangeReason.ROLLBACK: ChangeCause.OPERATOR,
}
_STATUSES, _REASONS = frozenset(ChangeStatus), frozenset(ChangeReason)
_ALL_CAUSES = frozenset(ChangeCause)


def cause_of(reason: ChangeReason, *, by_event: bool, by_operator: bool = False) -> ChangeCause:
    """Give whose doing a change is, by its reason and whether an event of the user's made it.

    `by_operator` says that the version under which it was decided is one that somebody asked for:
    what would be the model's doing is theirs.

    Each user is looked at under a new version before events of theirs count under it; until then
    they count under the version before. So an event moves a user only if it does so under the
    version that last decided on them.
    """
    if reason is ChangeReason.LABEL_CHANGED:
        return ChangeCause.USER if by_event else ChangeCause.MODEL
    cause = _CAUSES[reason]
    return ChangeCause.OPERATOR if by_operator and cause is ChangeCause.MODEL else cause


class SegmentRef(Published):
    """A segment by its stable id, and what it was called at that moment."""

    id: int = Field(ge=0, description="Stable; never used again for another segment.")
    label: str = Field(description="Typical words of the segment; may change while the id stays.")


class LabelRef(Published):
    """The label that was predicted for a user, from what others with a given label are like."""

    name: str | None = Field(description="Null where none is likely enough.")
    probability: float | None = Field(
        ge=0, le=1, description="That the label is right, by the label model; null without one."
    )
    previous: str | None = Field(description="The label in the change before; null for none.")
    version: int = Field(ge=1, description="Version of the label model.")


class ProfileSummary(Published):
    """How much the decision rests on."""

    events: int = Field(ge=0, description="Events counted for this user, ever.")
    weight: float = Field(ge=0, description="Decayed sum of event weights at `updated_at`.")
    updated_at: Rfc3339 = Field(description="Event time of the latest event in the profile.")


class ModelRef(Published):
    """Which models decided."""

    embedding: Sha256 = Field(description="Identity of the embedding model.")
    version: int = Field(ge=1, description="Version of the segment model.")


class SourceRef(Published):
    """The record of `user-events` that caused a change of behaviour."""

    topic: str = Field(description="Name of the topic.")
    partition: int = Field(ge=0, description="Partition of the record.")
    offset: int = Field(ge=0, description="Offset of the record.")
    event_id: Identifier = Field(description="The event's own id.")


class EventShare(Published):
    """What one event adds to a margin."""

    event_id: Identifier = Field(description="The event's own id.")
    offset: int = Field(ge=0, description="Offset in the partition that `source` names.")
    share: float = Field(description="Above 0 where it pushes towards the segment.")


class MarginShares(Published):
    """What makes the margin of a change: all of these add up to it, to the last digit.

    Which events stand here by name depends on which were in the transaction of the change, so it
    may differ where the same events come in other transactions. Their sum, with `others`, does not.
    """

    against: SegmentRef = Field(
        description="The segment that the margin is over: the previous one where the model still "
        "holds it, else the second nearest."
    )
    events: list[EventShare] = Field(
        max_length=3,
        description="Of the user's events in the same transaction, up to the one that caused the "
        "change, the three that pushed most.",
    )
    others: float = Field(description="All other events of the user, together.")
    centres: float = Field(
        description="No event's: how the two centres lie to one without any event."
    )


class SegmentChange(Published):
    """A user entered, switched or left a segment, and why."""

    user_id: Identifier = Field(description="Whose segment changed; also the key of the record.")
    sequence: int = Field(
        ge=1,
        description="1 for a user's first change, then one more each; 1 again for the first one "
        "after `inactive`.",
    )
    status: Annotated[ChangeStatus, Open()] = Field(
        description="What happened. Later versions may have further values."
    )
    segment: SegmentRef | None = Field(description="Null when the user left without another.")
    previous_segment: SegmentRef | None = Field(description="Null when there was none.")
    reason: Annotated[ChangeReason, Open()] = Field(
        description="Why it happened. Later versions may have further values."
    )
    # Left out of changes from before there was this field, which are compared byte for byte.
    cause: Annotated[ChangeCause, Open()] | None = Field(
        None,
        description="Whose doing it is; absent in older changes. Later versions may have further "
        "values.",
        exclude_if=lambda value: value is None,
    )
    changed_at: Rfc3339 = Field(description="When the change was decided (processing time).")
    occurred_at: Rfc3339 | None = Field(
        description="Event time of the event that caused it; null where none did."
    )
    distance: float | None = Field(
        ge=0,
        description="Euclidean distance of the unit profile vector to the segment's centre; to the "
        "nearest centre where the user left. Null after `inactive`.",
    )
    previous_distance: float | None = Field(
        ge=0, description="Likewise to the previous segment; null where that is gone or was none."
    )
    margin: float | None = Field(
        description="How much nearer the segment is: than the previous one where the model still "
        "holds it, else than the second nearest. Null where the user left."
    )
    confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="How sure it is that the user belongs to the segment rather than to another "
        "one: the share of such changes that are right, where calibrated. Null where the user "
        "left, and in changes from before there was this field.",
    )
    profile: ProfileSummary = Field(description="How much the decision rests on.")
    model: ModelRef = Field(description="Which models decided.")
    source: SourceRef | None = Field(
        description="The record of `user-events` that caused it; null where none did."
    )
    # Left out where the group learns no labels: its changes are as they were before there were any.
    label: LabelRef | None = Field(
        None,
        description="The predicted label; absent while there is no label model.",
        exclude_if=lambda value: value is None,
    )
    shares: MarginShares | None = Field(
        None,
        description="What makes the margin; absent where no event caused the change, where there "
        "is no margin, and in older changes.",
        exclude_if=lambda value: value is None,
    )

    @model_validator(mode="after")
    def _status_fits_segments(self) -> Self:
        if not self.is_known:
            return self  # of a later version, which knows what fits
        by_event = self.source is not None
        fitting = {
            cause_of(self.reason, by_event=by_event, by_operator=asked) for asked in (False, True)
        }
        if self.cause is not None and self.cause not in fitting:
            raise ValueError(f"cause {self.cause} does not fit the reason {self.reason}")
        if (self.status is ChangeStatus.LABELLED) != (self.reason is ChangeReason.LABEL_CHANGED):
            raise ValueError(f"status {self.status} does not fit the reason {self.reason}")
        if self.status is ChangeStatus.LABELLED:
            if self.segment != self.previous_segment:
                raise ValueError(f"status {self.status} does not fit two different segments")
            if self.label is None or self.label.name == self.label.previous:
                raise ValueError(f"status {self.status} needs a label that differs")
            return self
        if self.reason is ChangeReason.INACTIVE:
            # Also of a user who was in none: that the count of changes begins anew must be told.
            if self.status is not ChangeStatus.EXITED or self.segment is not None:
                raise ValueError(f"status {self.status} does not fit the reason {self.reason}")
            return self
        expected = {
            (False, True): ChangeStatus.ENTERED,
            (True, True): ChangeStatus.SWITCHED,
            (True, False): ChangeStatus.EXITED,
        }.get((self.previous_segment is not None, self.segment is not None))
        if self.status is not expected:
            raise ValueError(f"status {self.status} does not fit the two segments")
        return self

    @property
    def is_known(self) -> bool:
        """Whether this version knows what happened and why.

        Of any other change it can say neither what fits it nor which id it has.
        """
        known = self.status in _STATUSES and self.reason in _REASONS
        return known and (self.cause is None or self.cause in _ALL_CAUSES)

    @property
    def id(self) -> str:
        """The CloudEvents id: a UUIDv5 of what caused the change, so that a retry gives the same.

        The cause is the event, or the version of the model, that of the labels where only the label
        changed, or since when the user is silent. The user's sequence number is part of
        it: an event id that comes again after the dedupe memory has forgotten it is a new cause.
        """
        if self.source:
            cause = f"event:{self.source.event_id}"
        elif self.label is not None and self.reason is ChangeReason.LABEL_CHANGED:
            cause = f"label-model:{self.label.version}"
        elif self.reason is ChangeReason.INACTIVE:
            cause = f"inactive:{self.profile.updated_at.isoformat()}"
        else:
            cause = f"model:{self.model.version}"
        return change_id(self.user_id, cause, self.sequence)


def change_id(user_id: str, cause: str, sequence: int) -> str:
    """Give the id of a user's change by its cause, see `SegmentChange.id`."""
    name = f"{user_id}\n{cause}\n{sequence}".encode()
    digest = _NAMESPACE_DIGEST.copy()
    digest.update(name)
    text = digest.hexdigest()
    # As `uuid.uuid5` does, which takes four times as long.
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def change_headers(
    identity: str, source: str, user_id: str, time: datetime, cause: ChangeCause | None
) -> EventHeaders:
    """Kafka headers of CloudEvents 1.0 in binary mode for the change of such an id.

    The cause is an extension attribute: subscribers that want the users' own changes alone need not
    read the others.
    """
    headers = _headers_of(source, time, cause).copy()
    headers[_ID_AT] = ("ce_id", identity.encode())
    headers[_SUBJECT_AT] = ("ce_subject", user_id.encode())
    return headers


# Those of a batch differ in the id and the user alone.
@lru_cache(maxsize=16)
def _headers_of(source: str, time: datetime, cause: ChangeCause | None) -> EventHeaders:
    headers = binary_headers(
        event_id="",
        source=source,
        event_type=CHANGE_TYPE,
        data_schema=CHANGE_SCHEMA,
        subject="",
        time=time,
    )
    return headers if cause is None else [*headers, ("ce_cause", cause.encode())]


_NAMES = [name for name, _ in _headers_of("", datetime(1970, 1, 1, tzinfo=UTC), None)]
_ID_AT, _SUBJECT_AT = _NAMES.index("ce_id"), _NAMES.index("ce_subject")


def cloudevents_headers(change: SegmentChange, source: str) -> EventHeaders:
    """Kafka headers of CloudEvents 1.0 in binary mode for one change."""
    return change_headers(change.id, source, change.user_id, change.changed_at, change.cause)


def structured_cloudevent(change: SegmentChange, source: str) -> dict[str, object]:
    """Give one change as CloudEvents 1.0 in structured JSON mode, for files."""
    return structured(cloudevents_headers(change, source), change)
