"""What a worker tells of a sampled user, of which the recommender counts users by attribute.

Two records of `recommendation-parts` are of one user: the attributes of the latest event that had
any, and the segment that the user is in. `docs/formats.md` has the form byte by byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from pydantic_core import from_json, to_json

from schemas.binary import HEAD, MAGIC, VERSION, RecordError, open_record, seal, section

SAMPLED_USER_KIND = "A"
_KEY = re.compile(rb"user/([0-9a-f]{14})/(attributes|segment)")
_UPTO, _SEGMENT = struct.Struct("<d"), struct.Struct("<i")
_STEPS = 2**53


class SampledTag(IntEnum):
    """Sections: the first is in every record, and one of the others."""

    UPTO = 1
    SEGMENT = 2
    ATTRIBUTES = 3


@dataclass(frozen=True, slots=True)
class SampledUser:
    """What one record tells.

    Attributes
    ----------
    upto
        Rank up to which users are sampled, as the worker knew it; in (0, 1].
    segment
        The user's, -1 for none; None in a record of attributes.
    attributes
        By name; None in a record of a segment.
    """

    upto: float
    segment: int | None = None
    attributes: Mapping[str, str] | None = None

    @property
    def what(self) -> str:
        """Which of the two records it is."""
        return "segment" if self.attributes is None else "attributes"


def sampled_key(rank: float, what: str) -> bytes:
    """Give the key of a user's record.

    Parameters
    ----------
    rank
        Of the user, a multiple of 2**-53 in (0, 1]: it stands in place of the id.
    what
        `attributes` or `segment`.
    """
    return b"user/%014x/%s" % (round(rank * _STEPS), what.encode())


def read_sampled_key(key: bytes | None) -> tuple[float, str] | None:
    """Give the rank and which record it is; None for keys of other records."""
    found = _KEY.fullmatch(key or b"")
    return None if found is None else (int(found[1], 16) / _STEPS, found[2].decode())


def encode_sampled_user(rank: float, user: SampledUser) -> tuple[bytes, bytes]:
    """Write one record; gives its key and its value."""
    body = HEAD.pack(MAGIC, ord(SAMPLED_USER_KIND), VERSION)
    body += section(SampledTag.UPTO, _UPTO.pack(user.upto))
    if user.attributes is None:
        body += section(
            SampledTag.SEGMENT, _SEGMENT.pack(-1 if user.segment is None else user.segment)
        )
    else:
        body += section(SampledTag.ATTRIBUTES, to_json(dict(sorted(user.attributes.items()))))
    key = sampled_key(rank, user.what)
    return key, seal(body, key)


def read_sampled_user(key: bytes, value: bytes) -> SampledUser:
    """Read one record.

    Raises
    ------
    NewerRecordError
        If a newer version has written it.
    RecordError
        If it cannot be read.
    """
    sections = {each.tag: each.payload for each in open_record(SAMPLED_USER_KIND, key, value)}
    try:
        [upto] = _UPTO.unpack(sections[SampledTag.UPTO])
        if (payload := sections.get(SampledTag.ATTRIBUTES)) is not None:
            attributes = from_json(payload)
            return SampledUser(upto, attributes={str(k): str(v) for k, v in attributes.items()})
        [segment] = _SEGMENT.unpack(sections[SampledTag.SEGMENT])
        return SampledUser(upto, segment=segment)
    except (KeyError, ValueError, AttributeError, struct.error):
        raise RecordError("a section is missing or not of the form it should have") from None
