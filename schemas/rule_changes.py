"""The output of rules: a user came to fulfil a rule, or ceases to; a CloudEvent on `rule-changes`.

The same record stands on `rule-memberships` under the user and the rule, compacted, for as long as
the user fulfils it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Identifier, Open, Published, schema_id
from schemas.changes import ChangeCause, SourceRef, change_id
from schemas.cloudevents import EventHeaders, binary_headers
from schemas.events import Rfc3339

RULE_CHANGE_TYPE = "segmenter.rule.changed.v1"
RULE_CHANGE_SCHEMA = schema_id("rule-changes")

RULE_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
"""No name has a "|", behind which it stands in the keys of memberships."""


class RuleStatus(StrEnum):
    """What happened."""

    ENTERED = "entered"
    EXITED = "exited"


class RuleReason(StrEnum):
    """Why it happened."""

    BEHAVIOUR = "behaviour"
    """An event of the user."""
    TIME_PASSED = "time_passed"
    """Something has left a window of the rule."""
    PROFILE = "profile"
    """The user's learned segment, label or words are others."""
    RULE_CHANGED = "rule_changed"
    """The rule is new, another one by now, or gone."""
    INACTIVE = "inactive"
    """All that was known of the user is let go."""


_CAUSES = {
    RuleReason.BEHAVIOUR: {ChangeCause.USER},
    RuleReason.TIME_PASSED: {ChangeCause.USER},
    RuleReason.PROFILE: {ChangeCause.USER, ChangeCause.MODEL},
    RuleReason.RULE_CHANGED: {ChangeCause.OPERATOR},
    RuleReason.INACTIVE: {ChangeCause.USER},
}
_STATUSES, _REASONS, _ALL_CAUSES = map(frozenset, (RuleStatus, RuleReason, ChangeCause))


def rule_cause(reason: RuleReason, *, by_event: bool) -> ChangeCause:
    """Give whose doing a change is; `by_event` says that the profile has events that are new."""
    causes = _CAUSES[reason]
    if len(causes) == 1:
        return next(iter(causes))
    return ChangeCause.USER if by_event else ChangeCause.MODEL


class RuleChange(Published):
    """A user entered or left the segment of a rule, and why."""

    user_id: Identifier = Field(description="Who; also the key of the record.")
    sequence: int = Field(
        ge=1,
        description="1 for a user's first change by any rule, then one more each; 1 again for the "
        "first one after `inactive`.",
    )
    rule: Annotated[str, Field(pattern=RULE_NAME)] = Field(description="Name of the rule.")
    status: Annotated[RuleStatus, Open()] = Field(
        description="What happened. Later versions may have further values."
    )
    reason: Annotated[RuleReason, Open()] = Field(
        description="Why it happened. Later versions may have further values."
    )
    cause: Annotated[ChangeCause, Open()] = Field(
        description="Whose doing it is. Later versions may have further values."
    )
    changed_at: Rfc3339 = Field(description="When it was decided (processing time).")
    effective_at: Rfc3339 = Field(
        description="The event time from which on it is so: the latest that the partition had "
        "reached, or when something left a window."
    )
    occurred_at: Rfc3339 | None = Field(
        description="Event time of the event that caused it; null where none did."
    )
    facts: dict[str, bool | int | float | str | None] = Field(
        description="What the rule read of the user at that time, by how it stands in the rule; "
        "empty where the rule is gone, or the user."
    )
    source: SourceRef | None = Field(
        description="The record of `user-events` that caused it; null where none did."
    )

    @model_validator(mode="after")
    def _reason_fits(self) -> Self:
        if not self.is_known:
            return self  # of a later version, which knows what fits
        if self.cause not in _CAUSES[self.reason]:
            raise ValueError(f"cause {self.cause} does not fit the reason {self.reason}")
        if (self.source is not None) != (self.reason is RuleReason.BEHAVIOUR):
            raise ValueError(f"the source does not fit the reason {self.reason}")
        if self.reason is RuleReason.INACTIVE and self.status is not RuleStatus.EXITED:
            raise ValueError(f"status {self.status} does not fit the reason {self.reason}")
        return self

    @property
    def is_known(self) -> bool:
        """Whether this version knows what happened and why."""
        known = self.status in _STATUSES and self.reason in _REASONS
        return known and self.cause in _ALL_CAUSES

    @property
    def id(self) -> str:
        """The CloudEvents id, the same again for the same change."""
        return rule_change_id(self.user_id, self.rule, self.effective_at, self.sequence)


def rule_change_id(user: str, rule: str, effective_at: datetime, sequence: int) -> str:
    """Give the id of a change: a UUIDv5 of user, rule, since when it is so, and sequence."""
    return change_id(user, f"rule:{rule}\n{effective_at.isoformat()}", sequence)


def membership_key(user: str, rule: str) -> bytes:
    """Give the key of a membership: the user, `|`, and the rule's name."""
    return f"{user}|{rule}".encode()


def rule_headers(
    identity: str, source: str, user: str, time: datetime, cause: ChangeCause
) -> EventHeaders:
    """Kafka headers of CloudEvents 1.0 in binary mode, with the cause as an extension."""
    return [
        *binary_headers(
            event_id=identity,
            source=source,
            event_type=RULE_CHANGE_TYPE,
            data_schema=RULE_CHANGE_SCHEMA,
            subject=user,
            time=time,
        ),
        ("ce_cause", cause.encode()),
    ]
