"""Why records were refused, counted and told: reasons, one example of each, and what may help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from consumer.contract.records import Record
from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.shared.dead_letters import OF_THE_MODEL
from schemas.dead_letters import Refusal, RefusalReason
from schemas.events import UserEvent
from schemas.intake import Intake, RefusedError, decode_object
from schemas.mapping import PRESETS, EventMapping
from schemas.picking import value_at

_SHOWN = 5
_SHOWN_NAMES = 12
_LONGEST_NAME = 40

_HINTS = {
    RefusalReason.INVALID_UTF8: "save the file in UTF-8",
    RefusalReason.NO_TEXT: "events need words: name the field that holds them, in "
    "events.mapping.fields.text",
    RefusalReason.TEXT_TOO_LONG: "events.max_text_chars sets the longest text",
    RefusalReason.TIME_TOO_OLD: "events.earliest sets the earliest time; are these seconds read "
    "as milliseconds?",
    RefusalReason.TIME_IN_FUTURE: "events.max_future_skew_seconds sets how far ahead a time may "
    "lie; are these milliseconds read as seconds?",
    **OF_THE_MODEL,
}

# Told of what was read as an event: another format would read it no better.
_OF_EVENTS = {
    RefusalReason.NO_TEXT,
    RefusalReason.EMBEDDING_FAILED,
    RefusalReason.UNKNOWN_WORDS,
    RefusalReason.UNEXPECTED,
}


@dataclass(frozen=True, slots=True)
class RefusedCount:
    """Records refused for one reason.

    Attributes
    ----------
    reason, field
        As in their dead letters.
    count
        How many.
    topic, record
        The first of them: its topic, and its number in the file, from 0.
    detail
        The sentence of the first.
    """

    reason: str
    field: str | None
    count: int
    topic: str
    record: int
    detail: str


@dataclass(slots=True)
class Refusals:
    """Counts refused records by reason and field; keeps the first of each."""

    _counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _first: dict[tuple[str, str, str], tuple[Record, Refusal]] = field(default_factory=dict)

    def watch(self, batch: PreparedBatch) -> None:
        """Count those of a batch, of labels too."""
        for record, refusal in batch.refused():
            self.add(record, refusal)
        for label in batch.labels:
            if isinstance(label.outcome, Refusal):
                self.add(label.record, label.outcome)

    def add(self, record: Record, refusal: Refusal) -> None:
        """Count one."""
        kind = (record.topic, refusal.reason.value, refusal.field or "")
        self._counts[kind] += 1
        self._first.setdefault(kind, (record, refusal))

    def counts(self) -> list[RefusedCount]:
        """Give the counts, the commonest first."""
        found = []
        for (topic, reason, name), count in self._ordered():
            record, refusal = self._first[topic, reason, name]
            found.append(
                RefusedCount(reason, name or None, count, topic, record.offset, refusal.detail)
            )
        return found

    def by_reason(self) -> dict[str, int]:
        """Give how many were refused for each reason, the commonest first."""
        counts: Counter[str] = Counter()
        for each in self.counts():
            counts[each.reason] += each.count
        return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))

    def hint(self, intake: Intake, topic: str) -> str | None:
        """Say what may help with the commonest reason among events; None where nothing is known.

        Parameters
        ----------
        intake
            As the events were read.
        topic
            That of the events.
        """
        for kind, _ in self._ordered():
            if kind[0] == topic:
                record, refusal = self._first[kind]
                return hint_for(refusal, record.value, intake)
        return None

    def _ordered(self) -> list[tuple[tuple[str, str, str], int]]:
        return sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))


def sentences(counts: Sequence[RefusedCount], places: Iterable[str]) -> list[str]:
    """Tell the counts, one sentence a reason.

    Parameters
    ----------
    counts
        The commonest first.
    places
        Where the first record of each is, as in "on line 3".
    """
    told = []
    for each, place in zip(counts[:_SHOWN], places, strict=False):
        about = f" ({each.field})" if each.field else ""
        told.append(f"{each.count:,} {each.reason}{about}, first {place}: {each.detail}")
    if rest := counts[_SHOWN:]:
        told.append(f"{sum(each.count for each in rest):,} for {len(rest):,} other reasons")
    return told


def hint_for(refusal: Refusal, value: bytes | None, intake: Intake) -> str | None:
    """Say what may help with a refused record; no value of it is quoted.

    Parameters
    ----------
    refusal
        Why it was refused.
    value
        The record.
    intake
        How it was read. Known formats are tried in place of its mapping.
    """
    try:
        found = decode_object(value)
    except RefusedError:
        if (value or b"").startswith(b"["):
            return "a row of a table has as many cells as its header, and a line of JSON one object"
        return _HINTS.get(refusal.reason)
    if _is_of_nobody(refusal, found):
        return None
    presets = [] if refusal.reason in _OF_EVENTS else _presets_that_read(value or b"", intake)
    if presets:
        return f"the records can be read with --events.preset {presets[0]}"
    if refusal.reason is RefusalReason.MISSING_FIELD and refusal.field is not None:
        return _where_to_find(refusal.field, found)
    return _HINTS.get(refusal.reason)


def _is_of_nobody(refusal: Refusal, found: Mapping[str, Any]) -> bool:
    """Tell whether the form is the right one, and its user stands for no value."""
    path = refusal.field or ""
    missing = refusal.reason is RefusalReason.MISSING_FIELD and path not in UserEvent.model_fields
    return missing and value_at(found, path) is not None


def _where_to_find(field: str, found: Mapping[str, Any]) -> str:
    """Say what a record has, of which a field or a path of the mapping is missing."""
    names = [name for name in found if len(name) <= _LONGEST_NAME and name.isprintable()]
    has = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    if field not in UserEvent.model_fields:  # a path of the mapping
        return f"the record has the fields {has or 'of no name'}"
    where = f"in events.mapping.fields where {field} is found"
    if field == "type":
        where += ', or in events.mapping.constants what it always is, as in type = "review"'
    return (
        f"the record has the fields {has or 'of no name'}: set events.preset where it is of a "
        f"known format, else say {where}"
    )


def _presets_that_read(value: bytes, intake: Intake) -> list[str]:
    """Name the known formats that a record is of, other than the one it was read in."""
    names: list[str] = []
    for name, mapping in PRESETS.items():
        if mapping in (intake.mapping, EventMapping()):
            continue
        other = replace(intake, mapping=mapping)
        try:
            other.read(value, other.key_of(value), datetime.now(UTC))
        except RefusedError as error:
            if not _is_of_nobody(error.refusal, decode_object(value)):
                continue
        names.append(name)
    return names
