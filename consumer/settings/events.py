"""The section `events`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Section
from schemas.events import EventType, Rfc3339
from schemas.intake import Intake
from schemas.keys import KeyForm
from schemas.mapping import PRESETS, EventMapping, MappingPreset


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
    language_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of users, by hash, for whose texts the language detector is asked where "
        "hint, script and English words do not tell. Counted as not_looked_at for the others, "
        "unless their words are kept.",
    )
    earliest: Rfc3339 = Field(
        datetime(1990, 1, 1, tzinfo=UTC), description="Event times before it are refused."
    )
    max_future_skew_seconds: float = Field(
        3600, ge=0, le=1e11, description="Seconds that an event time may lie ahead of the clock."
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

    excluded_users: str | None = Field(
        None,
        min_length=1,
        description="Pattern (of Python's re): events of users whose whole id fits it are left out "
        "of everything, as dead letters.",
    )
    excluded_texts: str | None = Field(
        None,
        min_length=1,
        description="Pattern that excludes events so by what is found in their text or title.",
    )
    unnamed_types: frozenset[EventType] = Field(
        frozenset(), description="Types of events whose texts name no segment."
    )
    unnamed_languages: frozenset[str] = Field(
        frozenset(), description="Languages, by code, whose texts name no segment."
    )
    unnamed_texts: str | None = Field(
        None,
        min_length=1,
        description="Pattern: texts, once clean, in which it is found name no segment.",
    )

    @field_validator("excluded_users", "excluded_texts", "unnamed_texts")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        try:
            _pattern(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no pattern of Python's re: {error}") from None
        return value

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
            excluded_users=_pattern(self.excluded_users),
            excluded_texts=_pattern(self.excluded_texts),
            unnamed_types=self.unnamed_types,
            unnamed_languages=self.unnamed_languages,
            unnamed_texts=_pattern(self.unnamed_texts),
        )


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return None if text is None else re.compile(text)
