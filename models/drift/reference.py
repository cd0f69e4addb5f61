"""The reference: the latest texts of users as they were once, and how long a stretch they took."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from models.distances import Floats, Ints
from models.drift.check import Texts
from schemas.arrays import decode_array, encode_array
from schemas.drift import DriftReferenceRecord

Halves = NDArray[np.float16]


class DriftError(ValueError):
    """Arrays that make up no reference."""


@dataclass(frozen=True, eq=False)
class DriftReference:
    """What later users are compared with; without users it is still being collected.

    Attributes
    ----------
    embedding
        Identity of the embedding model.
    epoch
        The operator's number for it.
    begin, end
        Offsets of the trainer's feed: of the first text that counts, and behind the last one.
    users
        float64[n], in the order in which their texts came.
    vectors
        float16[n, d]. What is compared with them is rounded as they are.
    segments
        int64[n]. Ids of the segments of the users' profiles then.
    set_at
        The latest event time of these users.
    model_version
        The version that `segments` go by.
    """

    embedding: str
    epoch: int = 0
    begin: int = 0
    end: int = 0
    users: Floats = field(default_factory=lambda: np.empty(0))
    vectors: Halves = field(default_factory=lambda: np.empty((0, 0), np.float16))
    segments: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    set_at: datetime | None = None
    model_version: int = 0

    def __post_init__(self) -> None:
        count = len(self.users)
        if self.vectors.ndim != 2 or len(self.vectors) != count or len(self.segments) != count:
            raise DriftError(
                f"a reference of {count} users has {len(self.segments)} segments and vectors of "
                f"the shape {self.vectors.shape}: give one of each a user"
            )
        if (self.set_at is None) != self.collecting:
            raise DriftError("a reference has a time when, and only when, it has users")

    @property
    def collecting(self) -> bool:
        """Whether its users are still to come."""
        return not len(self.users)

    @property
    def stretch(self) -> int:
        """Offsets of the feed that it took."""
        return self.end - self.begin

    @property
    def texts(self) -> Texts:
        """The texts, to compare others with."""
        return Texts(self.users, self.vectors.astype(np.float64))

    def begun_at(self, offset: int, epoch: int) -> DriftReference:
        """Give a new one, of the same embedding model, collected from an offset on."""
        return DriftReference(self.embedding, epoch, offset, offset)

    @classmethod
    def from_record(cls, record: DriftReferenceRecord) -> DriftReference:
        """Take a reference from its JSON contract.

        Raises
        ------
        ValueError
            Where the record contradicts itself.
        """
        users = decode_array(record.users, "<f8").astype(np.float64)
        vectors = decode_array(record.vectors, "<f2").astype(np.float16)
        return cls(
            record.embedding,
            record.epoch,
            record.begin,
            record.end,
            users,
            vectors.reshape(len(users), record.dimensions),
            decode_array(record.segments, "<i8").astype(np.int64),
            record.set_at,
            record.model_version,
        )

    def to_record(self) -> DriftReferenceRecord:
        """Give the reference as its JSON contract; `from_record` gives back the same bits."""
        return DriftReferenceRecord(
            embedding=self.embedding,
            epoch=self.epoch,
            begin=self.begin,
            end=self.end,
            set_at=self.set_at,
            model_version=self.model_version,
            dimensions=self.vectors.shape[1],
            users=encode_array(self.users, "<f8"),
            vectors=encode_array(self.vectors, "<f2"),
            segments=encode_array(self.segments, "<i8"),
        )
