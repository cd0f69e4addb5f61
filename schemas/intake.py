"""From the bytes of a record to a user event, or to the reason why it is refused."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from schemas.base import MAX_ID_CHARS, Identifier
from schemas.dead_letters import Refusal, RefusalReason
from schemas.encodings import encoding_of
from schemas.errors import problems, quoted
from schemas.events import EventType, UserEvent, parse_rfc3339
from schemas.framing import unframe
from schemas.ids import nan_name
from schemas.keys import KeyForm, decode_key, encode_key
from schemas.leftovers import without_unusable
from schemas.mapping import EventMapping
from schemas.picking import MappingError
from schemas.sifting import (
    SiftedColumns,
    SiftedEvent,
    microseconds_of,
    sift_all_json,
    sift_fields,
    sift_json,
    user_of_json,
)
from schemas.times import format_hint

# Never quoted, not even in part: they are what people wrote.
_PRIVATE_FIELDS = {"text", "item_title"}
_JSON_TYPES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class RefusedError(Exception):
    """A record that cannot be used; it goes to the dead letters."""

    def __init__(self, reason: RefusalReason, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason=reason, field=field, detail=detail)


class _Identified(BaseModel):
    """As much of an event as tells whose it is."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    user_id: Identifier


@dataclass(frozen=True, slots=True)
class Intake:
    """What an event must satisfy beyond its contract.

    Attributes
    ----------
    mapping
        How the source's objects become user events.
    max_text_chars
        Longest text or title; what is longer is refused, since no person wrote it in one go.
    earliest
        Event times before it are refused.
    max_future_skew
        How far an event time may lie ahead of the clock.
    key
        In which form the key holds the user id.
    excluded_users, excluded_texts
        Users whose whole id fits, and texts or titles in which something does, are left out of
        everything; None for none.
    unnamed_types, unnamed_languages, unnamed_texts
        Types, languages and a pattern of texts whose words name no segment.
    """

    mapping: EventMapping
    max_text_chars: int
    earliest: datetime
    max_future_skew: timedelta
    key: KeyForm
    excluded_users: re.Pattern[str] | None = None
    excluded_texts: re.Pattern[str] | None = None
    unnamed_types: frozenset[EventType] = frozenset()
    unnamed_languages: frozenset[str] = frozenset()
    unnamed_texts: re.Pattern[str] | None = None

    def read(self, value: bytes | None, key: bytes | None, now: datetime) -> UserEvent:
        """Read one record.

        Parameters
        ----------
        value, key
            As they came from Kafka.
        now
            The clock, against which times in the future are told.

        Raises
        ------
        RefusedError
            With the reason, the field and a sentence that quotes no text.
        """
        return self.judge(value, key, now)[0]

    def judge(
        self, value: bytes | None, key: bytes | None, now: datetime
    ) -> tuple[UserEvent, tuple[str, ...]]:
        """Read one record as `read` does, and name the fields that were left out of it.

        Those are fields that nothing rests on (`schemas.leftovers`), with values that are not as
        the contract says.
        """
        event, left_out = self._validate(decode_object(value))
        check_key(
            event.user_id, key, "a user's events must share one partition", self.key, "events.key"
        )
        self._check_text(event)
        self._check_time(event, now)
        if (setting := self._excluded_by(event.user_id, event.text, event.item_title)) is not None:
            raise RefusedError(RefusalReason.EXCLUDED, f"left out by {setting}")
        return event, left_out

    def _excluded_by(self, user: str, text: str | None, title: str | None) -> str | None:
        """Name the setting by which an event is left out of everything, None where none does."""
        if self.excluded_users is not None and self.excluded_users.fullmatch(user):
            return "events.excluded_users"
        found = self.excluded_texts
        if found is not None and any(each and found.search(each) for each in (text, title)):
            return "events.excluded_texts"
        return None

    @property
    def names_all(self) -> bool:
        """Whether every text may name segments."""
        return not (self.unnamed_types or self.unnamed_languages or self.unnamed_texts)

    def names(self, kind: EventType, language: str, text: str) -> bool:
        """Tell whether a text, clean, may name segments."""
        return not (
            kind in self.unnamed_types
            or language in self.unnamed_languages
            or (self.unnamed_texts is not None and self.unnamed_texts.search(text))
        )

    def sift(
        self, value: bytes | None, key: bytes | None, now: datetime
    ) -> tuple[SiftedEvent, tuple[str, ...]]:
        """Read one record as `judge` does, which only what is not read at once comes to.

        A good event in a common form takes a fifth of the time so. The event, the fields left out
        and the refusals are the same.
        """
        event = self._sift(value)
        if event is None or not self._holds(event, key, now):
            judged, left_out = self.judge(value, key, now)
            return SiftedEvent.of(judged), left_out
        return event, ()

    def sift_all(
        self, values: Sequence[bytes | None], keys: Sequence[bytes | None], now: datetime
    ) -> tuple[SiftedColumns, list[int]]:
        """Read those of many records that `sift` reads at once.

        Returns
        -------
        tuple
            Their events, and the numbers of the other records, ascending.
        """
        if self.mapping.picks_nothing:
            sifted = sift_all_json([_payload(value) for value in values])
        else:
            sifted = SiftedColumns.of(map(self._sift, values))
        against = self._against(sifted, keys, now)
        if against:
            sifted = sifted.without(against)
        if len(sifted.numbers) == len(values):
            return sifted, []
        return sifted, sorted({*range(len(values))}.difference(sifted.numbers))

    def _against(
        self, sifted: SiftedColumns, keys: Sequence[bytes | None], now: datetime
    ) -> set[int]:
        """Tell, by place, for which events `_holds` does not."""
        own = [keys[number] for number in sifted.numbers]
        users, texts, titles, times = sifted.users, sifted.texts, sifted.titles, sifted.times
        earliest = microseconds_of(self.earliest)
        latest = microseconds_of(now) + self.max_future_skew // timedelta(microseconds=1)
        if (
            self.key == "raw"
            and own == [user.encode() for user in users]
            and max(map(len, filter(None, texts)), default=0) <= self.max_text_chars
            and max(map(len, filter(None, titles)), default=0) <= self.max_text_chars
            and earliest <= min(times, default=earliest)
            and max(times, default=latest) <= latest
            and self.excluded_users is None
            and self.excluded_texts is None
        ):
            return set()
        return {
            place
            for place, (user, text, title, time, key) in enumerate(
                zip(users, texts, titles, times, own, strict=True)
            )
            if not (earliest <= time <= latest and self._fits(user, text, title, key))
        }

    def _sift(self, value: bytes | None) -> SiftedEvent | None:
        try:
            if self.mapping.picks_nothing:
                return sift_json(_payload(value))
            source = from_json(_payload(value))
            return sift_fields(self.mapping.apply(source)) if isinstance(source, dict) else None
        except ValueError:
            return None

    def _holds(self, event: SiftedEvent, key: bytes | None, now: datetime) -> bool:
        """Tell whether there is nothing against an event; `judge` says what there is."""
        time = event.occurred_at
        return (
            self._fits(event.user_id, event.text, event.item_title, key)
            and time >= self.earliest
            and time - now <= self.max_future_skew
        )

    def _fits(self, user: str, text: str | None, title: str | None, key: bytes | None) -> bool:
        return (
            key is not None
            and (key == user.encode() if self.key == "raw" else decode_key(key, self.key) == user)
            and (text is None or len(text) <= self.max_text_chars)
            and (title is None or len(title) <= self.max_text_chars)
            and self._excluded_by(user, text, title) is None
        )

    def user_finder(self) -> Callable[[bytes | None], str]:
        """Give a function from a value to its user id alone, whatever else may be wrong with it.

        It raises RefusedError where there is no user id, or none that a user event may have.
        """
        return self._find_user

    def _find_user(self, value: bytes | None) -> str:
        try:
            if self.mapping.picks_nothing:
                return user_of_json(_payload(value))
            source = from_json(_payload(value))
            if isinstance(source, dict):
                user = self.mapping.user_of(source).get("user_id")
                if isinstance(user, str) and 0 < len(user) <= MAX_ID_CHARS:
                    return user
        except ValueError:
            pass
        return self.judge_user(value)

    def judge_user(self, value: bytes | None) -> str:
        """Find the user as `user_finder` does; only what is not found at once comes to it."""
        data = decode_object(value)
        try:
            return _Identified.model_validate(self.mapping.user_of(data)).user_id
        except MappingError as error:
            raise _unmapped(error) from None
        except ValidationError as error:
            raise refused_field(error) from None

    def key_of(self, value: bytes) -> bytes | None:
        """Give the key that a record of a file gets, or None where it has no user id."""
        user = self.user_id(value)
        return None if user is None else encode_key(user, self.key)

    def user_id(self, value: bytes) -> str | None:
        """Give the user id of a record of a file, or None where it has none."""
        try:
            return self._find_user(value)
        except RefusedError:
            return None

    def occurred_at(self, value: bytes) -> datetime | None:
        """Give the event time of a record, None where it cannot be read."""
        try:
            return parse_rfc3339(self.mapping.apply(decode_object(value)).get("occurred_at"))
        except (RefusedError, ValueError):
            return None

    def _validate(self, data: dict[str, Any]) -> tuple[UserEvent, tuple[str, ...]]:
        try:
            mapped = self.mapping.apply(data)
        except MappingError as error:
            raise _unmapped(error) from None
        try:
            return UserEvent.model_validate(mapped), ()
        except ValidationError as error:
            mended, left_out = without_unusable(mapped, error)
            if mended is None:
                raise refused_field(error) from None
        try:
            return UserEvent.model_validate(mended), left_out
        except ValidationError as error:
            raise refused_field(error) from None

    def _check_text(self, event: UserEvent) -> None:
        for name, text in (("text", event.text), ("item_title", event.item_title)):
            if text is not None and len(text) > self.max_text_chars:
                raise RefusedError(
                    RefusalReason.TEXT_TOO_LONG,
                    f"{name} has {len(text):,} characters, more than {self.max_text_chars:,}",
                    name,
                )

    def _check_time(self, event: UserEvent, now: datetime) -> None:
        if event.occurred_at < self.earliest:
            raise RefusedError(
                RefusalReason.TIME_TOO_OLD,
                f"occurred_at {event.occurred_at.isoformat()} lies before "
                f"{self.earliest.isoformat()}",
                "occurred_at",
            )
        if event.occurred_at - now > self.max_future_skew:
            raise RefusedError(
                RefusalReason.TIME_IN_FUTURE,
                f"occurred_at {event.occurred_at.isoformat()} lies more than "
                f"{self.max_future_skew} ahead of the clock",
                "occurred_at",
            )


def _payload(value: bytes | None) -> bytes:
    """Give the JSON of a value: all of it, most often."""
    return (value if value[0] else unframe(value)[0]) if value else b""


def decode_object(value: bytes | None) -> dict[str, Any]:
    """Read the value of a record as one JSON object, out of a schema registry's framing too.

    Raises
    ------
    RefusedError
        If there is none, or it is not UTF-8, not JSON, or no object.
    """
    if value is None:
        raise RefusedError(RefusalReason.MISSING_VALUE, "the record has no value")
    payload, schema_id = unframe(value)
    try:
        return _decode(payload)
    except RefusedError as error:
        if (encoding := encoding_of(value)) is not None:
            raise RefusedError(
                RefusalReason.INVALID_UTF8,
                f"the value is in {encoding[:6].upper()}; have it written in UTF-8",
            ) from None
        if schema_id is None:
            raise
        raise RefusedError(
            RefusalReason.INVALID_JSON,
            f"{error.refusal.detail}; the value is in a schema registry's framing, of schema id "
            f"{schema_id}: Avro and Protobuf are not read, have it written as JSON (JSON Schema) "
            "or converted on the way",
        ) from None


def _decode(value: bytes) -> dict[str, Any]:
    value = value.removeprefix(codecs.BOM_UTF8)
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(
            RefusalReason.INVALID_UTF8, f"byte {error.start} is not valid UTF-8"
        ) from None
    try:
        # NaN is no JSON, but where nobody reads it, it harms nobody. Where it is read, the field
        # that holds it is refused, or left out.
        data = from_json(value)
    except ValueError as error:
        # The parser's messages give a place and what it expected there, never the input.
        raise RefusedError(RefusalReason.INVALID_JSON, f"not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise RefusedError(
            RefusalReason.INVALID_JSON, f"must be a JSON object, is {_JSON_TYPES[type(data)]}"
        )
    return data


def refused_field(error: ValidationError) -> RefusedError:
    """Give the refusal for the first field that is not as the contract says."""
    first = problems(error)[0]
    name = first.place[0] if first.place else None
    if first.kind == "missing":
        return RefusedError(RefusalReason.MISSING_FIELD, f"field {name} is missing", name)
    if (no_number := nan_name(first.given)) is not None:
        detail = f"{name}: is {no_number}; give it a value, or leave it out where it may be absent"
        return RefusedError(RefusalReason.INVALID_FIELD, detail, name)
    shown = "" if name in _PRIVATE_FIELDS else f" (is {quoted(first.given)})"
    hint = format_hint(first.given) if name == "occurred_at" else ""
    return RefusedError(RefusalReason.INVALID_FIELD, f"{name}: {first.message}{shown}{hint}", name)


def _unmapped(error: MappingError) -> RefusedError:
    reason = RefusalReason.MISSING_FIELD if error.missing else RefusalReason.INVALID_FIELD
    return RefusedError(reason, str(error), error.field)


def check_key(
    user_id: str, key: bytes | None, why: str, form: KeyForm = "raw", setting: str = "events.key"
) -> None:
    """Refuse a record whose key is not the user id.

    Parameters
    ----------
    user_id, key
        What is to be the same.
    why
        What rests on it.
    form, setting
        The form of the key, and the setting that says so.
    """
    if key is None:
        remedy = "; 'segmenter intake' gives keys to an input" if setting == "events.key" else ""
        raise RefusedError(
            RefusalReason.MISSING_KEY,
            f"the record has no key; it must be the user_id{remedy}",
            "key",
        )
    if decode_key(key, form) == user_id:
        return
    other: KeyForm = "raw" if form == "json" else "json"
    if decode_key(key, other) == user_id:
        raise RefusedError(RefusalReason.KEY_MISMATCH, other_form(other, setting), "key")
    raise RefusedError(
        RefusalReason.KEY_MISMATCH,
        f"the key {quoted(key.decode('utf-8', 'replace'))} is not the user_id "
        f"{quoted(user_id)}; {why}",
        "key",
    )


def other_form(form: KeyForm, setting: str) -> str:
    """Say that keys hold the user id in another form than set; quotes nothing."""
    said = "as JSON, in quotes or as a number" if form == "json" else "as it is, and not as JSON"
    return f"the key is the user_id {said}: set {setting} = {form}"


OTHER_FORMS = frozenset(
    other_form(form, setting)
    for form in get_args(KeyForm)
    for setting in ("events.key", "labels.key")
)
"""All that `other_form` can say."""
