"""Reading topics and files of another shape as user events, by a mapping in the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.errors import quoted
from schemas.events import EventType, UserEvent
from schemas.ids import nan_name, number_as_id
from schemas.presets import FORMS
from schemas.times import TimeFormat, check_pattern, format_hint, read_time

_TEXTUAL = {"text", "item_title"}
# What tells records and users apart: half of such an id would make one of two.
_IDENTIFYING = {"event_id", "user_id"}
_OPTIONAL = "?"


MappingPreset = Literal[
    "none",
    "amazon-reviews",
    "amazon-reviews-2018",
    "amazon-reviews-2014",
    "yelp-reviews",
    "steam-reviews",
    "google-local",
    "goodreads-reviews",
    "google-play",
    "app-store",
    "reddit",
    "auto",
]
"""Well-known formats; `auto` tells them apart by each record alone."""


class MappingError(ValueError):
    """A source object that cannot be read as the mapping says.

    Attributes
    ----------
    field
        The field of the user event, or the path in the source, that it is about.
    missing
        Whether something is not there, rather than not as it should be.
    """

    def __init__(self, field: str, detail: str, *, missing: bool = False) -> None:
        super().__init__(detail)
        self.field = field
        self.missing = missing


class EventMapping(BaseModel):
    """Where each field of a user event is found in a source object.

    A path is dotted ("review.author.id"). Several paths for one field are joined, by a blank line
    in `text` and `item_title`, by a colon elsewhere. A field without a path is read under its own
    name, so that the empty mapping changes nothing. Where several paths make an id, each must have
    a value, save those that end in "?".
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
        description="Paths whose values, hashed, make the event_id of a source that has none. Each "
        "must have a value; one that ends in ? may be absent, but not all.",
    )
    time_format: TimeFormat | list[TimeFormat] = Field(
        "rfc3339", description="How occurred_at is written; of several the first that fits."
    )
    time_pattern: str | list[str] | None = Field(
        None, description="strptime patterns; a time without zone is read as UTC."
    )
    null_values: list[str] = Field(
        default_factory=list, description='Texts that stand for no value, such as "[deleted]".'
    )
    name: str = Field("", description="What messages call this form.")
    when: list[str] = Field(
        default_factory=list, description="Paths that tell a record of this form: all have a value."
    )
    alternatives: list[EventMapping] = Field(
        default_factory=list,
        description="Other forms of record in the same input; the first whose `when` fits is taken "
        "where this one's does not, and where none fits the nearest.",
    )
    known_only: bool = Field(
        False, description="Refuse a record that fits no form, rather than take the nearest."
    )

    @field_validator("event_id_from", "null_values", "when", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("fields", mode="before")
    @classmethod
    def _one_path_or_several(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: [path] if isinstance(path, str) else path for name, path in value.items()}

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        unknown = sorted({*self.fields, *self.constants} - {*UserEvent.model_fields})
        if unknown:
            raise ValueError(
                f"mapping names {unknown[0]!r}, which is no field of a user event; "
                f"the fields are {', '.join(UserEvent.model_fields)}"
            )
        if "event_id" in self.constants:
            raise ValueError(
                "mapping gives every event the same event_id, so that only a user's first would "
                "count; name its path in fields.event_id, or paths in event_id_from"
            )
        if (kind := self.constants.get("type", EventType.REVIEW)) not in {*EventType}:
            raise ValueError(
                f"mapping gives every event the type {kind!r}, which is none; the types are "
                f"{', '.join(EventType)}"
            )
        if not self._formats:
            raise ValueError("time_format must name at least one format")
        if ("pattern" in self._formats) != bool(self._patterns):
            raise ValueError("time_pattern goes with time_format = 'pattern', and only with it")
        for pattern in self._patterns:
            check_pattern(pattern)
        return self

    @cached_property
    def _formats(self) -> tuple[TimeFormat, ...]:
        return (self.time_format,) if isinstance(self.time_format, str) else (*self.time_format,)

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        if self.time_pattern is None:
            return ()
        return (self.time_pattern,) if isinstance(self.time_pattern, str) else (*self.time_pattern,)

    @cached_property
    def is_identity(self) -> bool:
        """Whether the source already is a user event."""
        return self == EventMapping()

    @cached_property
    def picks_nothing(self) -> bool:
        """Whether every record is read as the user event that it is."""
        return not self.when and self._picks_nothing

    @cached_property
    def _picks_nothing(self) -> bool:
        """Whether a record of this form is a user event, whatever other forms there are."""
        bare = {"name": "", "when": [], "alternatives": [], "known_only": False}
        return self.model_copy(update=bare).is_identity

    @cached_property
    def _paths(self) -> list[tuple[str, list[str]]]:
        names = UserEvent.model_fields.keys() - self.constants.keys()
        return [
            (name, self.fields.get(name, [name]))
            for name in UserEvent.model_fields
            if name in names
        ]

    def apply(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """Pick the fields of a user event out of a source object.

        Nothing is validated here that a user event is validated for; what is absent stays absent.

        Raises
        ------
        MappingError
            If a time cannot be read in the formats that the mapping names, an id cannot be made,
            or the record is of no form that is known.
        """
        form = self._form_of(source)
        if form._picks_nothing:
            return dict(source)
        event: dict[str, Any] = dict(form.constants)
        for name, paths in form._paths:
            if (value := form._pick(source, name, paths)) is not None:
                event[name] = value
        if "event_id" not in event and form.event_id_from:
            event["event_id"] = form._digest(source)
        if "occurred_at" in event and form._formats != ("rfc3339",):
            event["occurred_at"] = form._time(event["occurred_at"])
        return event

    def user_of(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """Pick the user id alone, whatever else may be wrong; empty where there is none.

        Raises
        ------
        MappingError
            If the id cannot be made, or the record is of no form that is known.
        """
        name = "user_id"
        form = self._form_of(source)
        if name in form.constants:
            return {name: form.constants[name]}
        if form._picks_nothing:
            return {name: source[name]} if name in source else {}
        value = form._pick(source, name, form.fields.get(name, [name]))
        return {} if value is None else {name: value}

    def _form_of(self, source: Mapping[str, Any]) -> EventMapping:
        return self if not self.when or self._fits(source) else self._other_form(source)

    def _fits(self, source: Mapping[str, Any]) -> bool:
        return all(value_at(source, path) is not None for path in self.when)

    def _other_form(self, source: Mapping[str, Any]) -> EventMapping:
        """Choose another form for a record, by the record alone."""
        for form in self.alternatives:
            if form._fits(source):
                return form
        forms = (self, *self.alternatives)
        there = [[value_at(source, path) is not None for path in form.when] for form in forms]
        nearest = max(range(len(forms)), key=lambda i: (sum(there[i]) / len(there[i]), -i))
        form = forms[nearest]
        if self.known_only:
            missing = form.when[there[nearest].index(False)]
            near = (
                f"nearest to {form.name}, without its {missing!r}; " if any(there[nearest]) else ""
            )
            known = ", ".join(each.name for each in forms)
            raise MappingError(
                missing,
                f"the record is of no form that is known: {near}these are {known}",
                missing=True,
            )
        return form

    def _pick(self, source: Mapping[str, Any], name: str, paths: list[str]) -> Any:
        """Give the value of a field, None where it is absent."""
        if len(paths) == 1:
            value = self._at(source, paths[0])
            if name == "user_id" and value is None:
                self._check_somebody(source, paths[0])
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return _id_of(name, value) if name in _IDENTIFYING and is_number else _item(name, value)
        found = [(path, self._at(source, path)) for path in paths]
        present = [(path, value) for path, value in found if value not in (None, "")]
        if not present:
            return None
        if name in _IDENTIFYING:
            for path, value in found:
                if value in (None, "") and not path.endswith(_OPTIONAL):
                    raise _without_value(path, f"fields.{name}")
            return ":".join(_part_of_id(name, path, value) for path, value in present)
        if name in _TEXTUAL:
            return "\n\n".join(_part_of_text(name, path, value) for path, value in present)
        return ":".join(str(value) for _, value in present)

    def _check_somebody(self, source: Mapping[str, Any], path: str) -> None:
        value = value_at(source, path)
        if isinstance(value, str) and value in self.null_values:
            raise MappingError(
                path,
                f"the record is of no user: {path!r} is {value!r}, which stands for no value",
                missing=True,
            )

    def _digest(self, source: Mapping[str, Any]) -> str:
        values = []
        for path in self.event_id_from:
            value = self._at(source, path)
            if value in (None, "", [], {}):
                if not path.endswith(_OPTIONAL):
                    raise _without_value(path, "event_id_from")
                value = None
            values.append("" if value is None else _hashed(path, value))
        if not any(values):
            paths = ", ".join(map(repr, self.event_id_from))
            raise MappingError(
                "event_id",
                f"event_id cannot be made: no path of event_id_from has a value ({paths})",
                missing=True,
            )
        text = "\n".join(values).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=16).hexdigest()

    def _at(self, source: Mapping[str, Any], path: str) -> Any:
        value = value_at(source, path)
        if value is None and path.endswith(_OPTIONAL):
            value = value_at(source, path.removesuffix(_OPTIONAL))
        return None if isinstance(value, str) and value in self.null_values else value

    def _time(self, value: object) -> object:
        try:
            return read_time(value, self._formats, self._patterns)
        except ValueError as error:
            hint = "" if self.name or "iso8601" in self._formats else format_hint(value)
            detail = f"occurred_at {error} (is {quoted(value)}){hint}"
            raise MappingError("occurred_at", detail) from None


PRESETS: dict[MappingPreset, EventMapping] = {
    name: EventMapping(**FORMS[name]) for name in get_args(MappingPreset)
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


def _id_of(name: str, value: float) -> str:
    try:
        return number_as_id(value)
    except ValueError as error:
        raise MappingError(name, f"{name}: {error}") from None


def _item(name: str, value: Any) -> Any:
    """Give a value as it is, the number of an item as text; one that is no id is left out later."""
    if name == "item_id" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return number_as_id(value)
        except ValueError:
            return value
    return value


def _part_of_id(name: str, path: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _id_of(name, value)
    if not isinstance(value, str):
        raise MappingError(name, f"{name}: {path!r} must be a string or a whole number")
    return value


def _part_of_text(name: str, path: str, value: Any) -> str:
    if (no_number := nan_name(value)) is not None:
        raise MappingError(name, f"{name}: {path!r} is {no_number}, no text")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise MappingError(name, f"{name}: {path!r} must be a string")
    return str(value)


def _hashed(path: str, value: Any) -> str:
    """Give the text that a value has in the hash: the same for 104 and 104.0."""
    if not isinstance(value, float) or (not value.is_integer() and nan_name(value) is None):
        return str(value)
    try:
        return number_as_id(value)
    except ValueError as error:
        raise MappingError(path, f"event_id cannot be made: {path!r}: {error}") from None


def _without_value(path: str, where: str) -> MappingError:
    return MappingError(
        path,
        f"{where.removeprefix('fields.').removesuffix('_from')} cannot be made: the path {path!r} "
        f"of {where} has no value; mend its spelling, or write {path + _OPTIONAL!r} where it may "
        "be absent",
        missing=True,
    )
