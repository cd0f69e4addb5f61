"""Reading topics and files of another shape as user events, by a mapping in the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from schemas.base import Section
from schemas.errors import quoted
from schemas.events import MAX_ATTRIBUTES, EventType, UserEvent
from schemas.picking import (
    OPTIONAL,
    MappingError,
    hashed,
    id_of,
    is_one_step,
    is_short,
    item,
    part_of_id,
    part_of_text,
    value_at,
    without_value,
)
from schemas.presets import FORMS
from schemas.times import TimeFormat, check_pattern, format_hint, read_time

_TEXTUAL = {"text", "item_title"}
# What tells records and users apart: half of such an id would make one of two.
_IDENTIFYING = {"event_id", "user_id"}
_MAY_BE_NUMBERS = {*_IDENTIFYING, "item_id"}
_BETWEEN_TEXTS = "\n\n"
_SEVERAL = {"attributes", "related_users"}


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


class EventMapping(Section):
    """Where each field of a user event is found in a source object.

    A path is dotted ("review.author.id"). Several paths for one field are joined, by a blank line
    in `text` and `item_title`, by a colon elsewhere; of `related_users` all are taken. A field
    without a path is read under its own name, so that the empty mapping changes nothing. Where
    several paths make an id, each must have a value, save those that end in "?".
    """

    fields: dict[str, list[str]] = Field(
        default_factory=dict, description="Field of the user event: paths in the source object."
    )
    constants: dict[str, str] = Field(
        default_factory=dict, description="Field of the user event: its value in every event."
    )
    attributes: dict[str, str] = Field(
        default_factory=dict,
        description="Name of an attribute: its path in the source object. With any, these are all.",
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
        if self.attributes and "attributes" in self.fields:
            raise ValueError(
                "mapping says in fields.attributes and in attributes where attributes are: give "
                "an object that holds them all in the one, or the path of each in the other"
            )
        if several := sorted(_SEVERAL & {*self.constants}):
            raise ValueError(
                f"mapping gives {several[0]} a constant, which is one text: {several[0]} are "
                "several, so give paths"
            )
        if len(self.attributes) > MAX_ATTRIBUTES:
            raise ValueError(
                f"mapping names {len(self.attributes)} attributes; an event has {MAX_ATTRIBUTES} "
                "at most"
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
        telling = {"name", "when", "alternatives", "known_only"}
        fields = type(self).model_fields
        return all(
            getattr(self, name) == field.get_default(call_default_factory=True)
            for name, field in fields.items()
            if name not in telling
        )

    @cached_property
    def _single(self) -> list[tuple[str, str]]:
        """Fields with one path, of one step: these and their names in the source."""
        return [(name, paths[0]) for name, paths in self._paths if is_one_step(paths)]

    @cached_property
    def _several(self) -> list[tuple[str, list[str]]]:
        """The other fields, and their paths."""
        return [(name, paths) for name, paths in self._paths if not is_one_step(paths)]

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
        event = form._picked_at_once(source)
        if event is None:
            event = form._picked(source)
        if "event_id" not in event and form.event_id_from:
            event["event_id"] = form._digest(source)
        if "occurred_at" in event and form._formats != ("rfc3339",):
            event["occurred_at"] = form._time(event["occurred_at"])
        if form.attributes:
            event["attributes"] = {
                name: value
                for name, path in form.attributes.items()
                if (value := form._at(source, path)) is not None
            }
        return event

    def _picked(self, source: Mapping[str, Any]) -> dict[str, Any]:
        event: dict[str, Any] = dict(self.constants)
        for name, paths in self._paths:
            if (value := self._pick(source, name, paths)) is not None:
                event[name] = value
        return event

    def _picked_at_once(self, source: Mapping[str, Any]) -> dict[str, Any] | None:
        """Pick the fields of a record as most are; None where `_picked` has to look closer."""
        event: dict[str, Any] = dict(self.constants)
        for name, path in self._single:
            value: Any = source.get(path)
            kind = value.__class__
            if kind is str:
                if value not in self.null_values:
                    event[name] = value
                elif name == "user_id":
                    return None
            elif value is None:
                continue
            elif name in _MAY_BE_NUMBERS and (kind is int or kind is float):
                if kind is float or not is_short(value):
                    return None
                event[name] = str(value)
            else:
                event[name] = value
        for name, paths in self._several:
            parts = self._parts(source, name, paths)
            if parts is None or (parts and name in _SEVERAL):
                return None
            if parts:
                event[name] = (_BETWEEN_TEXTS if name in _TEXTUAL else ":").join(parts)
        return event

    def _parts(self, source: Mapping[str, Any], name: str, paths: list[str]) -> list[str] | None:
        """Give what a field is joined of; None where that is not plain text, or lacks a part."""
        parts = []
        for path in paths:
            value: Any = self._at(source, path)
            kind = value.__class__
            if value is None or value == "":
                if name in _IDENTIFYING and not path.endswith(OPTIONAL):
                    return None
            elif kind is str:
                parts.append(value)
            elif kind is int and is_short(value):
                parts.append(str(value))
            else:
                return None
        return parts

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
        for path in self.when:  # noqa: SIM110 - many forms are asked, most of which fit at no path
            if value_at(source, path) is None:
                return False
        return True

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
            return id_of(name, value) if name in _IDENTIFYING and is_number else item(name, value)
        found = [(path, self._at(source, path)) for path in paths]
        present = [(path, value) for path, value in found if value not in (None, "")]
        if not present:
            return None
        if name in _IDENTIFYING:
            for path, value in found:
                if value in (None, "") and not path.endswith(OPTIONAL):
                    raise without_value(path, f"fields.{name}")
            return ":".join(part_of_id(name, path, value) for path, value in present)
        if name in _SEVERAL:
            return _together(value for _, value in present)
        if name in _TEXTUAL:
            return _BETWEEN_TEXTS.join(part_of_text(name, path, value) for path, value in present)
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
            if value.__class__ is str and value:
                values.append(value)
                continue
            if value in (None, "", [], {}):
                if not path.endswith(OPTIONAL):
                    raise without_value(path, "event_id_from")
                value = None
            values.append("" if value is None else hashed(path, value))
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
        if value is None and path.endswith(OPTIONAL):
            value = value_at(source, path.removesuffix(OPTIONAL))
        return None if isinstance(value, str) and value in self.null_values else value

    def _time(self, value: object) -> object:
        try:
            return read_time(value, self._formats, self._patterns)
        except ValueError as error:
            hint = "" if self.name or "iso8601" in self._formats else format_hint(value)
            detail = f"occurred_at {error} (is {quoted(value)}){hint}"
            raise MappingError("occurred_at", detail) from None


def _together(values: Iterable[Any]) -> Any:
    """Give the values of several paths as one: objects merged, all else in a list."""
    found = list(values)
    if all(isinstance(each, dict) for each in found):
        return {name: value for each in found for name, value in each.items()}
    return [one for each in found for one in (each if isinstance(each, list) else [each])]


PRESETS: dict[MappingPreset, EventMapping] = {
    name: EventMapping(**FORMS[name]) for name in get_args(MappingPreset)
}
