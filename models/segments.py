"""The segment model that every worker shares, and which segment a user belongs to under it.

A worker never runs the clusterer. It holds one published `SegmentModel` and compares profiles with
its centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.distances import Floats, Ints, VectorsError, distances_to, nearest
from models.history import History
from schemas.base import decode_array, encode_array
from schemas.segment_model import SegmentModelRecord, SegmentRecord

NO_SEGMENT = -1
"""What stands for "no segment" in an array of ids; real ids are never negative."""


class SegmentModelError(ValueError):
    """A segment model or an assignment policy that contradicts itself."""


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
        In (0, 1]. Workers send the trainer the users whose `models.sample.rank` is at most this.
    samples
        Profiles learned from up to this version.
    seed
        Seed of the clustering.
    history
        Where the segments come from.

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
        if not self.embedding:
            raise SegmentModelError("embedding is empty: give the embedding model's SHA-256")

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
        )

    def to_record(self) -> SegmentModelRecord:
        """Give the model as its JSON contract; `from_record` gives back the same bits."""
        history = self.history
        return SegmentModelRecord(
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
        )

    def rows_of(self, ids: Ints) -> Ints:
        """Row of each id in the model, int64[n]; -1 for an id that is not (or no longer) in it."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1).astype(np.int64)

    def label_of(self, segment: int) -> str | None:
        """Label of a segment by its id, None where the model does not hold it."""
        row = int(self.rows_of(np.array([segment], dtype=np.int64))[0])
        return self.labels[row] if row >= 0 else None


@dataclass(frozen=True)
class AssignmentPolicy:
    """When a user changes segment. It is what keeps a user between two segments from flapping.

    Parameters
    ----------
    margin
        A user moves only when the new segment is nearer by at least this Euclidean distance.
    min_events
        Accepted events that a user needs before a first segment.
    dwell_events
        Accepted events that a user stays in a segment before moving on; 0 for none.
    max_distance
        Beyond this distance from every centre a user belongs to no segment; None: no limit. To come
        back in, the user has to be nearer than it by the margin.

    Raises
    ------
    SegmentModelError
        Where a value is out of bounds.
    """

    # Two topics of the Stack Exchange stream have their centres 0.4 to 0.9 apart. Its users keep to
    # one topic each; 0.05 saves 140 to 260 of their needless switches. With 0.1 users whom an early
    # version had put in a wrong place stayed there (V = 0.97 to 0.99, from 0.98 to 1.00).
    margin: float = 0.05
    min_events: int = 1
    dwell_events: int = 3
    max_distance: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise SegmentModelError(f"margin is {self.margin}: give a distance, 0 or more")
        if self.min_events < 1:
            raise SegmentModelError(f"min_events is {self.min_events}: give a count, 1 or more")
        if self.dwell_events < 0:
            raise SegmentModelError(f"dwell_events is {self.dwell_events}: give a count, 0 or more")
        if self.max_distance is not None and not self.max_distance > self.margin:
            raise SegmentModelError(
                f"max_distance is {self.max_distance} and margin {self.margin}: give a "
                "max_distance above the margin, or nobody could enter a segment"
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """One user's entry of `Decisions`, with None where that has NaN or `NO_SEGMENT`."""

    segment: int | None
    changed: bool
    distance: float
    previous_distance: float | None
    margin: float | None


@dataclass(frozen=True, eq=False)
class Decisions:
    """Where each of n users belongs now, and the figures that say why.

    Attributes
    ----------
    segment
        int64[n]. Id of the segment, `NO_SEGMENT` for none.
    changed
        bool[n]. The segment differs from the one before.
    distance
        float64[n]. From the profile to the centre of that segment; where there is none, to the
        nearest centre.
    previous_distance
        float64[n]. To the centre of the segment before; NaN where there was none or where the model
        no longer holds it.
    margin
        float64[n]. How much nearer the segment is than the alternative: than the segment before
        where the model still holds it (so 0 for a user who stays), else than the second nearest.
        NaN without a segment or an alternative.
    """

    segment: Ints
    changed: NDArray[np.bool_]
    distance: Floats
    previous_distance: Floats
    margin: Floats

    def at(self, row: int) -> Decision:
        """Give one user's decision in plain Python numbers."""
        segment = int(self.segment[row])
        return Decision(
            segment=None if segment == NO_SEGMENT else segment,
            changed=bool(self.changed[row]),
            distance=float(self.distance[row]),
            previous_distance=_number(self.previous_distance[row]),
            margin=_number(self.margin[row]),
        )


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def decide(  # noqa: PLR0917 - one array after the other
    vectors: ArrayLike,
    current: ArrayLike,
    events: ArrayLike,
    rested: ArrayLike,
    model: SegmentModel,
    policy: AssignmentPolicy,
) -> Decisions:
    """Decide the segment of n users, with hysteresis.

    In this order, for each user:

    1. A segment so far that the model no longer holds, or that is farther than `max_distance`,
       cannot keep its user: the nearest one takes the user, whatever the margin.
    2. A user moves to the nearest segment if that is nearer by the margin, after `min_events`
       events in all and `dwell_events` in the segment so far.
    3. A user without a segment enters the nearest one, after `min_events` events.
    4. Nobody is in a segment farther than `max_distance`.

    Deciding again with the outcome as `current` changes nothing.

    Parameters
    ----------
    vectors
        float64[n, d]. Profiles of unit length.
    current
        int64[n]. Ids of the segments so far, `NO_SEGMENT` for none.
    events
        int64[n]. Accepted events of each user, ever.
    rested
        int64[n]. Accepted events of each user since the latest change of segment.
    model
        The segments.
    policy
        The thresholds.

    Returns
    -------
    Decisions
        One entry a user.

    Raises
    ------
    VectorsError
        Where the arrays do not fit each other or the model, or are not finite.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float64)
    current = np.asarray(current, dtype=np.int64)
    events = np.asarray(events, dtype=np.int64)
    rested = np.asarray(rested, dtype=np.int64)
    for name, array in (("current", current), ("events", events), ("rested", rested)):
        if array.shape != vectors.shape[:1]:
            raise VectorsError(
                f"{name} has the shape {array.shape} for vectors of the shape {vectors.shape}: "
                "give one entry a user"
            )
    nearest_row, nearest_distance = nearest(vectors, model.centres)

    before = model.rows_of(current)
    known = before >= 0
    previous_distance = np.full(len(vectors), np.nan)
    previous_distance[known] = distances_to(vectors[known], model.centres[before[known]])

    reach = math.inf if policy.max_distance is None else policy.max_distance
    had_one = current != NO_SEGMENT
    held = known & (previous_distance <= reach)
    enough = events >= policy.min_events
    # Compared as a difference, exactly as it is published: a reader can check the decision.
    far_enough = previous_distance - nearest_distance >= policy.margin
    moves = held & enough & (rested >= policy.dwell_events) & far_enough
    forced = had_one & ~held & (nearest_distance <= reach)
    enters = ~had_one & enough & (nearest_distance <= reach - policy.margin)

    stays = held & ~moves
    row = np.where(stays, before, np.where(moves | forced | enters, nearest_row, -1))
    segment = np.where(row >= 0, model.ids[row], NO_SEGMENT)
    distance = np.where(stays, previous_distance, nearest_distance)

    margin = np.where(row >= 0, previous_distance - distance, np.nan)
    alone = (row >= 0) & ~known
    if len(model.ids) > 1 and alone.any():
        _, second = nearest(vectors[alone], model.centres, exclude=row[alone])
        margin[alone] = second - distance[alone]
    return Decisions(segment, segment != current, distance, previous_distance, margin)
