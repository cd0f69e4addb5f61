"""The label of a user, as JSON on `segment-labels`, and how a record of it is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from schemas.base import Identifier
from schemas.dead_letters import RefusalReason
from schemas.events import Rfc3339
from schemas.intake import RefusedError, check_key, decode_object, refused_field
from schemas.keys import KeyForm, decode_key

MAX_LABEL_CHARS = 64


def _is_a_name(label: str) -> str:
    if label != label.strip() or not label.isprintable():
        raise ValueError(
            "must be printable, without blanks at its ends: else two labels would look alike"
        )
    return label


LabelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_LABEL_CHARS),
    AfterValidator(_is_a_name),
]
"""A label: the name of a segment that people have given."""


class UserLabel(BaseModel):
    """What segment a user is known to belong to; null withdraws what was said before.

    The record's key must be the `user_id`. For each user the last record of the topic holds, so the
    topic may be compacted; a record without a value withdraws the label too. Unknown fields are
    ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    user_id: Identifier = Field(description="Whose label it is; also the key of the record.")
    label: LabelName | None = Field(description="The segment's name; null withdraws it.")
    labelled_at: Rfc3339 = Field(description="When the label was given, RFC 3339 with a zone.")


@dataclass(frozen=True, slots=True)
class LabelGiven:
    """What a record says: from now on the user has this label, or none."""

    user_id: str
    label: str | None


@dataclass(frozen=True, slots=True)
class LabelIntake:
    """What a label must satisfy beyond its contract.

    Attributes
    ----------
    max_future_skew
        How far `labelled_at` may lie ahead of the clock.
    key
        In which form the key holds the user id.
    """

    max_future_skew: timedelta
    key: KeyForm

    def read(self, value: bytes | None, key: bytes | None, now: datetime) -> LabelGiven:
        """Read one record.

        Parameters
        ----------
        value, key
            As they came from Kafka. A value of None withdraws the label of the key's user.
        now
            The clock, against which times in the future are told.

        Raises
        ------
        RefusedError
            With the reason, the field and a sentence that says what is wrong.
        """
        if value is None:
            return LabelGiven(_user_of(key, self.key), None)
        data = decode_object(value)
        try:
            found = UserLabel.model_validate(data)
        except ValidationError as error:
            raise refused_field(error) from None
        check_key(
            found.user_id,
            key,
            "a user's label must be on the partition of the user's events",
            self.key,
            "labels.key",
        )
        if found.labelled_at - now > self.max_future_skew:
            raise RefusedError(
                RefusalReason.TIME_IN_FUTURE,
                f"labelled_at {found.labelled_at.isoformat()} lies more than "
                f"{self.max_future_skew} ahead of the clock",
                "labelled_at",
            )
        return LabelGiven(found.user_id, found.label)


def _user_of(key: bytes | None, form: KeyForm) -> str:
    """Give the user whose label a record without a value withdraws."""
    if not key:
        raise RefusedError(
            RefusalReason.MISSING_KEY, "the record has no key; it must be the user_id", "key"
        )
    user = decode_key(key, form)
    if not user:
        form_name = "the user_id as JSON" if form == "json" else "the user_id"
        raise RefusedError(
            RefusalReason.INVALID_FIELD, f"the key cannot be read; it must be {form_name}", "key"
        )
    return user
