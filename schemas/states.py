"""A user's state as a record of `user-profiles` holds it: the binary form, and JSON of before.

`docs/formats.md` has the binary form byte by byte. Here a record is read by itself;
`models.profiles.codec` reads and writes many at once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas.arrays import encode_array
from schemas.base import MAX_ID_CHARS, claimed_schema
from schemas.binary import NewerRecordError, RecordError, is_binary, open_record, section
from schemas.errors import first_problem
from schemas.profiles import (
    PROFILE_SCHEMA,
    EventReference,
    ProfileItems,
    ProfileLabels,
    ProfileRecord,
)
from schemas.segment_model import NO_SEGMENT

STATE_KIND = "P"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)

# Identity of the embedding model; W; reference time, events, repeats, segment, `events` at its
# latest change, changes, version of the segment model.
STATE = struct.Struct("<32sd7q")
LABELS = struct.Struct("<qqii")
# Offset, event time, hash of the event id, weight.
REFERENCE = struct.Struct("<qqQf")
_ID_BYTES = 8
_ITEM_BYTES = 4
_NONE = -1


class Tag(IntEnum):
    """Sections of a record; the first three are in every record, in this order."""

    STATE = 1
    VECTOR = 2
    EVENTS = 3
    SEGMENT_LABEL = 4
    WORDS = 5
    LABELS = 6
    REFERENCES = 7
    ITEMS = 8


ALWAYS = (Tag.STATE, Tag.VECTOR, Tag.EVENTS)


class Precision(IntEnum):
    """Flags of the vector's section: how its numbers are kept."""

    FLOAT32 = 0
    FLOAT16 = 1


DTYPES = {Precision.FLOAT32: "<f4", Precision.FLOAT16: "<f2"}


@dataclass(slots=True)
class Rest:
    """What a record has behind the sections that every record has.

    Attributes
    ----------
    label
        The label that the segment was published with.
    terms
        The user's typical words with weights.
    given, predicted, label_since, label_version
        The user's labels, as in `ProfileLabels`.
    references
        Those of events, one after the other, each as REFERENCE has it.
    items
        What was recommended last and the items that the user has, uint32 one after the other.
    extra
        Whole sections that this version does not know.
    """

    label: str | None = None
    terms: dict[str, float] = field(default_factory=dict)
    given: str | None = None
    predicted: str | None = None
    label_since: int = 0
    label_version: int = 0
    extra: bytes = b""
    references: bytes = b""
    items: bytes = b""

    @property
    def labelled(self) -> bool:
        """Whether anything is known of the user's labels."""
        known = self.given is not None or self.predicted is not None
        return known or bool(self.label_since or self.label_version)

    def read(self, tag: int, flags: int, payload: bytes) -> bool:
        """Take one section in; tell whether this version knows it.

        Raises
        ------
        RecordError
            If it cannot be read.
        """
        if tag not in _OPTIONAL:
            return False
        if flags:
            raise NewerRecordError(f"flags {flags} of section {tag}, which this one does not know")
        try:
            if tag == Tag.SEGMENT_LABEL:
                self.label = payload.decode()
            elif tag == Tag.WORDS:
                self.terms = read_words(payload)
            elif tag == Tag.REFERENCES:
                self.references = _checked_references(payload)
            elif tag == Tag.ITEMS:
                self.items = _checked_items(payload)
            else:
                self._read_labels(payload)
        except (struct.error, UnicodeDecodeError, OverflowError):
            raise RecordError(f"its section {tag} is not of the form that it should have") from None
        return True

    def _read_labels(self, payload: bytes) -> None:
        self.label_since, self.label_version, given, predicted = LABELS.unpack_from(payload)
        if self.label_since < 0 or self.label_version < 0:
            raise RecordError("a number of its labels is below 0")
        start, middle = LABELS.size, LABELS.size + max(given, 0)
        if middle + max(predicted, 0) != len(payload):
            raise RecordError("the lengths of its labels do not fit")
        self.given = None if given == _NONE else payload[start:middle].decode()
        self.predicted = None if predicted == _NONE else payload[middle:].decode()

    def sections(self) -> bytes:
        """Give the sections that hold this."""
        parts = []
        if self.references:
            parts.append(section(Tag.REFERENCES, self.references))
        if self.items:
            parts.append(section(Tag.ITEMS, self.items))
        if self.label is not None:
            parts.append(section(Tag.SEGMENT_LABEL, self.label.encode()))
        if self.terms:
            parts.append(section(Tag.WORDS, words(self.terms)))
        if self.labelled:
            texts = [t if t is None else t.encode() for t in (self.given, self.predicted)]
            lengths = (_NONE if text is None else len(text) for text in texts)
            head = LABELS.pack(self.label_since, self.label_version, *lengths)
            parts.append(section(Tag.LABELS, head + b"".join(text or b"" for text in texts)))
        return b"".join((*parts, self.extra))


_OPTIONAL = frozenset(
    (Tag.SEGMENT_LABEL, Tag.WORDS, Tag.LABELS, Tag.REFERENCES, Tag.ITEMS),
)


def _checked_items(payload: bytes) -> bytes:
    """Give what a section of items holds; raises RecordError."""
    if not payload or len(payload) % _ITEM_BYTES:
        raise RecordError("its section of items has none, or ends amid a number")
    first, had = payload[:_ITEM_BYTES], payload[_ITEM_BYTES:]
    if not (np.frombuffer(had, "<u4").all() and (had or any(first))):
        raise RecordError("a number of its items is 0")
    return payload


def _checked_references(payload: bytes) -> bytes:
    """Give what a section of references holds; raises struct.error or RecordError."""
    if not payload:
        raise RecordError("its section of references has none")
    for offset, time, identity, weight in REFERENCE.iter_unpack(payload):
        sound = offset >= 0 and identity and isfinite(weight) and weight >= 0
        if not (sound and EARLIEST <= time <= LATEST):
            raise RecordError("a number of its references is out of range")
    return payload


def words(terms: dict[str, float]) -> bytes:
    """Write words with their weights, in their order."""
    texts = [term.encode() for term in terms]
    count = len(texts)
    return b"".join(
        (
            struct.pack(f"<I{count}d{count}I", count, *terms.values(), *map(len, texts)),
            *texts,
        )
    )


def read_words(payload: bytes) -> dict[str, float]:
    """Read what `words` wrote; raises struct.error, UnicodeDecodeError or RecordError."""
    (count,) = struct.unpack_from("<I", payload)
    numbers = struct.unpack_from(f"<{count}d{count}I", payload, 4)
    places = list(accumulate(numbers[count:], initial=4 + 12 * count))
    if places[-1] != len(payload):
        raise RecordError("the lengths of its words do not fit")
    if not all(map(isfinite, numbers[:count])):
        raise RecordError("a weight of its words is no finite number")
    texts = [payload[start:end].decode() for start, end in pairwise(places)]
    return dict(zip(texts, numbers[:count], strict=True))


@dataclass(slots=True)
class UserState:
    """What a record says of a user.

    Attributes
    ----------
    user, embedding
        Whose it is, and the identity of the embedding model in hexadecimal digits.
    vector
        S, float32 (d,) or float16 (d,), as it is recorded.
    weight, reference
        W, and the time of both in microseconds since 1970.
    events, repeats
        Events counted and not counted.
    ring
        Hashes of event ids, uint64 (k,): that of event number e, from 0 on, is at e % k.
    segment, since, sequence, version
        Segment or NO_SEGMENT, `events` at its latest change, number of changes, segment model.
    rest
        What not every record has.
    """

    user: str
    embedding: str
    vector: NDArray[np.generic]
    weight: float
    reference: int
    events: int
    repeats: int
    ring: NDArray[np.uint64]
    segment: int
    since: int
    sequence: int
    version: int
    rest: Rest

    def to_record(self) -> ProfileRecord:
        """Give it as the contract that it has in JSON, which has no place for other sections."""
        rest, labels = self.rest, None
        if rest.labelled:
            labels = ProfileLabels(
                given=rest.given,
                predicted=rest.predicted,
                since_event=rest.label_since,
                model_version=rest.label_version,
            )
        turn = self.events % len(self.ring) if len(self.ring) else 0
        return ProfileRecord(
            user_id=self.user,
            embedding=self.embedding,
            vector=encode_array(self.vector, "<f4"),
            weight=self.weight,
            reference_time=EPOCH + timedelta(microseconds=self.reference),
            events=self.events,
            repeats=self.repeats,
            recent_events=encode_array(np.roll(self.ring, -turn), "<u8"),
            terms=rest.terms,
            segment=None if self.segment == NO_SEGMENT else self.segment,
            segment_label=rest.label,
            segment_since_event=self.since,
            sequence=self.sequence,
            model_version=self.version,
            labels=labels,
            references=[
                EventReference(
                    offset=offset,
                    occurred_at=EPOCH + timedelta(microseconds=time),
                    event_hash=f"{identity:016x}",
                    weight=weight,
                )
                for offset, time, identity, weight in REFERENCE.iter_unpack(rest.references)
            ],
            items=items_of(rest.items),
        )


def items_of(items: bytes) -> ProfileItems | None:
    """Read what a section of items holds; None of one that is not there."""
    if not items:
        return None
    numbers = np.frombuffer(items, "<u4")
    return ProfileItems(shown=int(numbers[0]), had=encode_array(numbers[1:], "<u4"))


def read_user(key: bytes) -> str:
    """Read the user from a record's key.

    Raises
    ------
    RecordError
        If there is none.
    """
    try:
        user = key.decode()
    except UnicodeDecodeError:
        raise RecordError("its key is not UTF-8") from None
    if not 1 <= len(user) <= MAX_ID_CHARS:
        raise RecordError(f"its key has {len(user)} characters, not 1 to {MAX_ID_CHARS}")
    return user


def read_state(key: bytes, value: bytes) -> UserState:
    """Read a binary record.

    Raises
    ------
    NewerRecordError
        If a newer version has written it.
    RecordError
        If it cannot be read.
    """
    sections = open_record(STATE_KIND, key, value)
    user = read_user(key)
    found: dict[int, Any] = {}
    rest = Rest()
    for tag, flags, payload, whole in sections:
        if tag in found:
            raise RecordError(f"its section {tag} is there twice")
        if tag in ALWAYS:
            found[tag] = (flags, payload)
        elif rest.read(tag, flags, payload):
            found[tag] = None
        else:
            rest.extra += whole
    for tag in ALWAYS:
        if tag not in found:
            raise RecordError(f"its section {tag.value} ({tag.name.lower()}) is missing")
    (state_flags, state), (precision, vector), (ring_flags, ring) = (found[t] for t in ALWAYS)
    if state_flags or ring_flags or precision not in DTYPES:
        raise NewerRecordError("flags of a section that this one does not know")
    if len(state) != STATE.size:
        raise RecordError(f"its state has {len(state)} bytes, not {STATE.size}")
    dtype = np.dtype(DTYPES[precision])
    if len(vector) % dtype.itemsize or len(ring) % _ID_BYTES:
        raise RecordError("its vector or its ids of events end amid a number")
    embedding, weight, reference, events, repeats, segment, *latest = STATE.unpack(state)
    if not (isfinite(weight) and weight >= 0 and EARLIEST <= reference <= LATEST):
        raise RecordError("its weight or its time is out of range")
    if min(events, repeats, segment - NO_SEGMENT, *latest) < 0 or len(ring) > _ID_BYTES * events:
        raise RecordError("its counts are below 0, or it has more ids of events than events")
    since, sequence, version = latest
    return UserState(
        user,
        embedding.hex(),
        np.frombuffer(vector, dtype),
        weight=weight,
        reference=reference,
        events=events,
        repeats=repeats,
        ring=np.frombuffer(ring, "<u8"),
        segment=segment,
        since=since,
        sequence=sequence,
        version=version,
        rest=rest,
    )


def read_profile(key: bytes, value: bytes) -> ProfileRecord:
    """Read a record in either form; raises as `read_state`."""
    if is_binary(value):
        return read_state(key, value).to_record()
    try:
        return ProfileRecord.model_validate_json(value)
    except ValidationError as error:
        if (schema := claimed_schema(value)) > PROFILE_SCHEMA:
            raise NewerRecordError(f"schema {schema}; this one knows {PROFILE_SCHEMA}") from None
        raise RecordError(first_problem(error)) from None
