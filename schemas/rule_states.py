"""What `segmenter rules run` knows of a user: its changelog on `rule-states`, in binary.

The frame is that of `schemas.binary`, of the kind U; docs/formats.md has the sections byte by byte.
A process holds its users' states as these records, so what it holds is what it would read back.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pydantic_core import from_json, to_json

from schemas.binary import (
    CHECKSUM,
    HEAD,
    MAGIC,
    SECTION,
    VERSION,
    RecordError,
    open_record,
    seal,
    section,
)

KIND = "U"

_HEAD = HEAD.pack(MAGIC, ord(KIND), VERSION)
_STATE = struct.Struct("<qqqQqq")


class Tag(IntEnum):
    """Sections of a record."""

    STATE = 1
    HISTORY = 2
    KNOWN = 3
    MEMBERS = 4


_FIRST = Tag.STATE.to_bytes(2, "little")


@dataclass(slots=True)
class RuleState:
    """A user's state.

    Attributes
    ----------
    first, last
        Times of the first and of the latest event, microseconds since 1970; 0 where there was none.
    evaluated
        The time for which `members` is right.
    digest
        Tells by which rules.
    sequence
        Changes published.
    profile_events
        Events in the profile that was read last.
    history
        Events, as `models.rules.history.EVENT` has them.
    attributes, segment, label, words
        What else is known; -1 for no segment.
    members
        Names of the rules whose segments the user belongs to, in their order.
    extra
        Sections that this version does not know, as they stood in the record.
    """

    first: int = 0
    last: int = 0
    evaluated: int = 0
    digest: int = 0
    sequence: int = 0
    profile_events: int = 0
    history: bytes = b""
    attributes: Mapping[str, str] = field(default_factory=dict)
    segment: int = -1
    label: str | None = None
    words: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    extra: bytes = b""

    def encode(self, key: bytes) -> bytes:
        """Write the record that stands under the user's key."""
        body = _HEAD + section(
            Tag.STATE,
            _STATE.pack(
                *(self.first, self.last, self.evaluated, self.digest),
                *(self.sequence, self.profile_events),
            ),
        )
        if self.history:
            body += section(Tag.HISTORY, self.history)
        if self.attributes or self.segment >= 0 or self.label is not None or self.words:
            known = [self.attributes, self.segment, self.label, self.words]
            body += section(Tag.KNOWN, to_json(known))
        if self.members:
            body += section(Tag.MEMBERS, to_json(self.members))
        return seal(body + self.extra, key)

    @classmethod
    def decode(cls, key: bytes, value: bytes) -> RuleState:
        """Read a record.

        Raises
        ------
        RecordError
            If it is damaged, of another kind, or of a newer version.
        """
        open_record(KIND, key, value)
        return cls.of_own(value)

    @classmethod
    def of_own(cls, value: bytes) -> RuleState:
        """Read a record that this process has written or checked.

        Raises
        ------
        RecordError
            If its state is not as it should be.
        """
        state, place, end = cls(), HEAD.size, len(value) - CHECKSUM.size
        if value[place : place + 2] != _FIRST:
            raise RecordError("it has no state where that should be")
        while place < end:
            tag, _, length = SECTION.unpack_from(value, place)
            begin, place = place, place + SECTION.size + length
            payload = value[begin + SECTION.size : place]
            if tag == Tag.STATE:
                if len(payload) != _STATE.size:
                    raise RecordError("its state has another length")
                numbers = _STATE.unpack(payload)
                state.first, state.last, state.evaluated, state.digest = numbers[:4]
                state.sequence, state.profile_events = numbers[4:]
            elif tag == Tag.HISTORY:
                state.history = payload
            elif tag == Tag.KNOWN:
                state.attributes, state.segment, state.label, words = from_json(payload)
                state.words = tuple(words)
            elif tag == Tag.MEMBERS:
                state.members = tuple(from_json(payload))
            else:
                state.extra += value[begin:place]
        return state
