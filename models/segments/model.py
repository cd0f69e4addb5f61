"""The segment model that every worker shares.

A worker never runs the clusterer. It holds one published `SegmentModel` and compares profiles with
its centres (`models.segments.decision`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Self

import numpy as np

from models.distances import Floats, Ints
from models.segments.history import History
from schemas.arrays import decode_array, encode_array
from schemas.segment_model import (
    LEARNED_SCHEMA,
    ROLLED_BACK_SCHEMA,
    SEGMENT_MODEL_SCHEMA,
    SegmentModelRecord,
    SegmentRecord,
)


class SegmentModelError(ValueError):
    """A segment model that contradicts itself."""


@dataclass(frozen=True, eq=False)
class SegmentModel:
    """One published version of the segments: all that a worker needs to assign users.

    Rows are in the order of ascending ids. The arrays are the model's own and read-only.

    Parameters
    ----------
    version
        1 for the first, one more for each later one.
    embedding
        SHA-256 of the embedding model whose space the centres lie in.
    ids
        int64[K]. An id means the same segment in every version and is never given to another.
    centres
        float64[K, d]. Means of unit vectors, so not unit vectors themselves.
    radii
        float64[K]. Root mean square distance of the members from their centre.
    sizes
        int64[K]. Members in the sample of users.
    labels
        A short name each, such as "hops, brewing, ale".
    words
        The typical words of each, the most typical first.
    since
        The version in which each id appeared first.
    next_id
        The id that the next new segment gets.
    sample_threshold
        In (0, 1]. Workers send the trainer the users whose `models.profiles.sample.rank` is at most
        this.
    samples
        Profiles learned from up to this version.
    seed
        Seed of the clustering.
    history
        Where the segments come from.
    learner
        What the trainer's clusterer holds beside the centres, as JSON
        (`models.clustering.learner`); None where that is not known. Workers have no use for it.
    rollback_of
        The version that this one puts in force again (`models.segments.rollback`); None where it
        was learned.
    migrated_from
        The embedding model of the version before, where this one brings the group to another one
        (`models.segments.carry_over`); None in all others.

    Raises
    ------
    SegmentModelError
        Where the fields contradict each other.
    """

    version: int
    embedding: str
    ids: Ints
    centres: Floats
    radii: Floats
    sizes: Ints
    labels: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    since: tuple[int, ...]
    next_id: int
    sample_threshold: float
    samples: int
    seed: int
    history: History = field(default_factory=History)
    learner: str | None = None
    rollback_of: int | None = None
    migrated_from: str | None = None

    def __post_init__(self) -> None:
        for name, dtype in (
            ("ids", np.int64),
            ("centres", np.float64),
            ("radii", np.float64),
            ("sizes", np.int64),
        ):
            own = np.array(getattr(self, name), dtype=dtype, order="C")
            own.setflags(write=False)
            object.__setattr__(self, name, own)
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        if self.centres.ndim != 2 or not self.centres.size:
            raise SegmentModelError(
                f"centres has the shape {self.centres.shape}: give at least one segment, and one "
                "row of numbers a segment"
            )
        count = len(self.centres)
        for name in ("ids", "radii", "sizes"):
            shape = getattr(self, name).shape
            if shape != (count,):
                raise SegmentModelError(
                    f"{name} has the shape {shape} for {count} centres: give one number a segment"
                )
        for name in ("labels", "words", "since"):
            given = len(getattr(self, name))
            if given != count:
                raise SegmentModelError(
                    f"{name} has {given} entries for {count} centres: give one a segment"
                )

    def _check_values(self) -> None:
        for name in ("centres", "radii"):
            if not np.isfinite(getattr(self, name)).all():
                raise SegmentModelError(f"{name} holds NaN or an infinity: give finite numbers")
        for name in ("radii", "sizes"):
            lowest = getattr(self, name).min()
            if lowest < 0:
                raise SegmentModelError(f"{name} holds {lowest}: give no negative number")
        if self.ids[0] < 0 or (np.diff(self.ids) <= 0).any() or self.ids[-1] >= self.next_id:
            raise SegmentModelError(
                f"ids is {self.ids.tolist()} with next_id {self.next_id}: give ascending ids, "
                "none twice, from 0 up to below next_id"
            )
        if self.version < 1:
            raise SegmentModelError(f"version is {self.version}: count versions from 1")
        if not all(1 <= born <= self.version for born in self.since):
            raise SegmentModelError(
                f"since is {self.since} in version {self.version}: give versions from 1 up to it"
            )
        if not 0 < self.sample_threshold <= 1:
            raise SegmentModelError(
                f"sample_threshold is {self.sample_threshold}: give a share in (0, 1]"
            )
        if self.samples < 0:
            raise SegmentModelError(f"samples is {self.samples}: give a count, 0 or more")
        if self.rollback_of is not None and not 1 <= self.rollback_of < self.version:
            raise SegmentModelError(
                f"rollback_of is {self.rollback_of} in version {self.version}: give an earlier one"
            )
        if not self.embedding:
            raise SegmentModelError("embedding is empty: give the embedding model's SHA-256")

    @cached_property
    def middle(self) -> Floats:
        """Mean of the centres, float64[d], whatever their sizes.

        So no segment is the middle itself because most users are in it.
        """
        middle: Floats = np.add.reduce(self.centres, axis=0) / len(self.centres)
        return middle

    @property
    def dimension(self) -> int:
        """Length d of the vectors that the model compares."""
        return int(self.centres.shape[1])

    @classmethod
    def from_record(cls, record: SegmentModelRecord) -> Self:
        """Take a model from its JSON contract.

        Raises
        ------
        SegmentModelError
            Where the record contradicts itself.
        """
        centres = [decode_array(segment.centre, "<f8") for segment in record.segments]
        for segment, centre in zip(record.segments, centres, strict=True):
            if len(centre) != record.dimensions:
                raise SegmentModelError(
                    f"centre of segment {segment.id} has {len(centre)} numbers where dimensions "
                    f"says {record.dimensions}: publish the model again"
                )
        return cls(
            version=record.version,
            embedding=record.embedding,
            ids=np.array([segment.id for segment in record.segments]),
            centres=np.stack(centres),
            radii=np.array([segment.radius for segment in record.segments]),
            sizes=np.array([segment.size for segment in record.segments]),
            labels=tuple(segment.label for segment in record.segments),
            words=tuple(tuple(segment.words) for segment in record.segments),
            since=tuple(segment.since for segment in record.segments),
            next_id=record.next_id,
            sample_threshold=record.sample_threshold,
            samples=record.samples,
            seed=record.seed,
            history=History.from_record(record),
            learner=record.learner,
            rollback_of=record.rollback_of,
            migrated_from=record.migrated_from,
        )

    def to_record(self) -> SegmentModelRecord:
        """Give the model as its JSON contract; `from_record` gives back the same bits."""
        history = self.history
        schema: Literal[2, 3, 4] = LEARNED_SCHEMA
        if self.rollback_of is not None:
            schema = ROLLED_BACK_SCHEMA
        if self.migrated_from is not None:
            schema = SEGMENT_MODEL_SCHEMA
        return SegmentModelRecord(
            schema_version=schema,
            version=self.version,
            embedding=self.embedding,
            dimensions=self.dimension,
            segments=[
                SegmentRecord(
                    id=segment,
                    label=self.labels[row],
                    words=list(self.words[row]),
                    centre=encode_array(self.centres[row], "<f8"),
                    radius=float(self.radii[row]),
                    size=int(self.sizes[row]),
                    since=self.since[row],
                    parents=list(history.parents.get(segment, ())),
                    survival=history.survival.get(segment),
                    overlap=history.overlap.get(segment),
                )
                for row, segment in enumerate(self.ids.tolist())
            ],
            next_id=self.next_id,
            sample_threshold=self.sample_threshold,
            samples=self.samples,
            seed=self.seed,
            transitions=list(history.transitions),
            retired=list(history.retired),
            learner=self.learner,
            rollback_of=self.rollback_of,
            migrated_from=self.migrated_from,
        )

    def rows_of(self, ids: Ints) -> Ints:
        """Row of each id in the model, int64[n]; -1 for an id that is not (or no longer) in it."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1).astype(np.int64)

    def label_of(self, segment: int) -> str | None:
        """Label of a segment by its id, None where the model does not hold it."""
        return self._labels_by_id.get(segment)

    @cached_property
    def _labels_by_id(self) -> dict[int, str]:
        return dict(zip(self.ids.tolist(), self.labels, strict=True))
