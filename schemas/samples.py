"""A sampled profile as a record of `profile-samples` holds it: the binary form, and JSON of before.

`docs/formats.md` has the binary form byte by byte; `models.profiles.sample_codec` writes it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas.arrays import decode_array, encode_array
from schemas.base import claimed_schema
from schemas.binary import NewerRecordError, RecordError, is_binary, open_record
from schemas.errors import first_problem
from schemas.profiles import SAMPLE_SCHEMA, ProfileSample
from schemas.states import EARLIEST, EPOCH, LATEST, read_user, read_words

SAMPLE_KIND = "S"

# Identity of the embedding model, W, time of the latest event, 1 where segments are learned of it.
SAMPLE = struct.Struct("<32sdqq")


class SampleTag(IntEnum):
    """Sections of a record; the first two are in every record, in this order."""

    SAMPLE = 1
    VECTOR = 2
    WORDS = 5
    LABEL = 7
    LATEST = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """What the trainer learns from.

    Attributes
    ----------
    user, embedding
        Whose it is, and the identity of the embedding model in hexadecimal digits.
    vector
        S/|S|, float32 (d,).
    weight, updated_at
        W of the profile, and event time of its latest event.
    terms
        The user's typical words with weights.
    label
        The user's label, where one was given.
    sampled
        Whether segments are learned from it.
    latest
        Embedding of the user's latest text, float16, None where that is not known.
    """

    user: str
    embedding: str
    vector: NDArray[np.float32]
    weight: float
    updated_at: datetime
    terms: dict[str, float] = field(default_factory=dict)
    label: str | None = None
    sampled: bool = True
    latest: NDArray[np.float16] | None = None

    def to_record(self) -> ProfileSample:
        """Give it as the contract that it has in JSON."""
        return ProfileSample(
            user_id=self.user,
            embedding=self.embedding,
            vector=encode_array(self.vector, "<f4"),
            weight=self.weight,
            terms=self.terms,
            updated_at=self.updated_at,
            label=self.label,
            sampled=self.sampled,
            latest=None if self.latest is None else encode_array(self.latest, "<f2"),
        )

    @classmethod
    def of_record(cls, record: ProfileSample) -> Sample:
        """Take over what was read of JSON.

        Raises
        ------
        RecordError
            If a vector ends amid a number.
        """
        latest = record.latest
        return cls(
            record.user_id,
            record.embedding,
            _array("vector", record.vector, "<f4").astype(np.float32),
            record.weight,
            record.updated_at,
            record.terms,
            record.label,
            record.sampled,
            None if latest is None else _array("latest text", latest, "<f2").astype(np.float16),
        )


def _array(what: str, text: str, dtype: str) -> NDArray[np.generic]:
    try:
        return decode_array(text, dtype)
    except ValueError as error:
        raise RecordError(f"its {what}: {error}") from None


def read_sample(key: bytes, value: bytes) -> Sample:
    """Read a record in either form.

    Raises
    ------
    NewerRecordError
        If a newer version has written it.
    RecordError
        If it cannot be read.
    """
    if is_binary(value):
        return _read_binary(key, value)
    try:
        return Sample.of_record(ProfileSample.model_validate_json(value))
    except ValidationError as error:
        if (schema := claimed_schema(value)) > SAMPLE_SCHEMA:
            raise NewerRecordError(f"schema {schema}; this one knows {SAMPLE_SCHEMA}") from None
        raise RecordError(first_problem(error)) from None


def _read_binary(key: bytes, value: bytes) -> Sample:
    found = open_record(SAMPLE_KIND, key, value)
    sections = {each.tag: each for each in found}
    if len(sections) < len(found):
        raise RecordError("a section is there twice")
    user = read_user(key)
    known = {tag: sections[tag].payload for tag in SampleTag if tag in sections}
    if any(sections[tag].flags for tag in known):
        raise NewerRecordError("flags of a section that this one does not know")
    for tag in (SampleTag.SAMPLE, SampleTag.VECTOR):
        if tag not in known:
            raise RecordError(f"its section {tag.value} ({tag.name.lower()}) is missing")
    latest = known.get(SampleTag.LATEST)
    try:
        embedding, weight, updated, sampled = SAMPLE.unpack(known[SampleTag.SAMPLE])
        label = known.get(SampleTag.LABEL)
        terms = known.get(SampleTag.WORDS)
        if not (isfinite(weight) and weight >= 0 and EARLIEST <= updated <= LATEST):
            raise RecordError("its weight or its time is out of range")
        return Sample(
            user,
            embedding.hex(),
            np.frombuffer(known[SampleTag.VECTOR], "<f4"),
            weight,
            EPOCH + timedelta(microseconds=updated),
            {} if terms is None else read_words(terms),
            None if label is None else label.decode(),
            bool(sampled),
            None if latest is None else np.frombuffer(latest, "<f2"),
        )
    except RecordError:
        raise
    except (struct.error, ValueError, OverflowError):
        raise RecordError("a section is not of the form that it should have") from None
