"""Reading topics and files of another shape as user events, by a mapping in the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.events import UserEvent

_TEXTUAL = {"text", "item_title"}
_AS_STRING = {"event_id", "user_id", "item_id"}


MappingPreset = Literal["none", "amazon-reviews", "yelp-reviews"]
"""Well-known formats."""

TimeFormat = Literal["rfc3339", "epoch-seconds", "epoch-milliseconds", "pattern"]
"""How the source writes its times; `pattern` goes with a strptime pattern in `time_pattern`."""


class EventMapping(BaseModel):
    """Where each field of a user event is found in a source object.

    A path is dotted ("review.author.id"). Several paths for one field are joined, by a blank line
    in `text` and `item_title`, by a colon elsewhere. A field without a path is read under its own
    name, so that the empty mapping changes nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: dict[str, list[str]] = Field(
        default_factory=dict, description="Field of the user event: paths in the source object."
    )
    constants: dict[str, str] = Field(
        default_factory=dict, description="Field of the user event: its value in every event."
    )
    event_id_from: list[str] = Field(
        default_factory=list,
        description="Paths whose values, hashed, make the event_id of a source that has none.",
    )
    time_format: TimeFormat = Field("rfc3339", description="How occurred_at is written.")
    time_pattern: str | None = Field(
        None, description="strptime pattern; a time without zone is read as UTC."
    )

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        unknown = sorted({*self.fields, *self.constants} - {*UserEvent.model_fields})
        if unknown:
            raise ValueError(
                f"mapping names {unknown[0]!r}, which is no field of a user event; "
                f"the fields are {', '.join(UserEvent.model_fields)}"
            )
        if (self.time_format == "pattern") != (self.time_pattern is not None):
            raise ValueError("time_pattern goes with time_format = 'pattern', and only with it")
        return self

    @property
    def is_identity(self) -> bool:
        """Whether the source already is a user event."""
        return self == EventMapping()

    @property
    def of_user(self) -> EventMapping:
        """The part of it that finds the user id."""
        name = "user_id"
        if self.is_identity:
            return self
        return EventMapping(
            fields={name: self.fields.get(name, [name])},
            constants={name: self.constants[name]} if name in self.constants else {},
        )

    def apply(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """Pick the fields of a user event out of a source object.

        Nothing is validated here; what is absent stays absent.

        Raises
        ------
        ValueError
            If a time cannot be read in the format that the mapping names.
        """
        if self.is_identity:
            return dict(source)
        event: dict[str, Any] = dict(self.constants)
        for name in UserEvent.model_fields.keys() - self.constants.keys():
            paths = self.fields.get(name, [name])
            values = [value for path in paths if (value := value_at(source, path)) is not None]
            if values:
                event[name] = _join(name, values)
        if "event_id" not in event and self.event_id_from:
            event["event_id"] = _digest([value_at(source, path) for path in self.event_id_from])
        if "occurred_at" in event:
            event["occurred_at"] = self._time(event["occurred_at"])
        return event

    def _time(self, value: object) -> object:
        try:
            if self.time_format == "epoch-seconds":
                return datetime.fromtimestamp(_number(value), UTC)
            if self.time_format == "epoch-milliseconds":
                return datetime.fromtimestamp(_number(value) / 1000, UTC)
            if self.time_pattern is not None:
                parsed = datetime.strptime(str(value), self.time_pattern)  # noqa: DTZ007
                return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError) as error:
            pattern = f" {self.time_pattern!r}" if self.time_pattern else ""
            raise ValueError(f"is not a time in the format {self.time_format}{pattern}") from error
        return value


PRESETS: dict[MappingPreset, EventMapping] = {
    "none": EventMapping(),
    # Amazon Reviews 2023 (McAuley Lab): title and text of the review, no id of its own.
    "amazon-reviews": EventMapping(
        fields={
            "user_id": ["user_id"],
            "text": ["title", "text"],
            "item_id": ["parent_asin"],
            "rating": ["rating"],
            "occurred_at": ["timestamp"],
        },
        constants={"type": "review"},
        event_id_from=["user_id", "asin", "timestamp"],
        time_format="epoch-milliseconds",
    ),
    # Yelp Open Dataset, review.json: local times without a zone, read as UTC.
    "yelp-reviews": EventMapping(
        fields={
            "event_id": ["review_id"],
            "user_id": ["user_id"],
            "text": ["text"],
            "item_id": ["business_id"],
            "rating": ["stars"],
            "occurred_at": ["date"],
        },
        constants={"type": "review"},
        time_format="pattern",
        time_pattern="%Y-%m-%d %H:%M:%S",
    ),
}


def value_at(source: Any, path: str) -> Any:
    """Follow a dotted path; None where it leads nowhere. A key with dots in it is tried first."""
    if isinstance(source, Mapping):
        if path in source:
            return source[path]
        head, _, rest = path.partition(".")
        if rest and head in source:
            return value_at(source[head], rest)
    return None


def _join(name: str, values: list[Any]) -> Any:
    if len(values) == 1:
        value = values[0]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if name in _AS_STRING and is_number else value
    return ("\n\n" if name in _TEXTUAL else ":").join(str(value) for value in values)


def _digest(values: list[Any]) -> str:
    text = "\n".join("" if value is None else str(value) for value in values)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    return float(value)
