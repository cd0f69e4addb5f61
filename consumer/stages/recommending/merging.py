"""The parts of all partitions in the segments of one partition, and what they merge to."""

from __future__ import annotations

import base64
from datetime import timedelta

import numpy as np

from consumer.contract.records import Output, Record
from consumer.contract.stage import StageError
from models.profiles.table import from_microseconds
from models.recommendation.moments import Moments
from models.recommendation.partials import EVERYBODY, Partial, PartialsError, merge
from models.recommendation.parts import decode_part, faded_to, same_length
from models.recommendation.policy import RecommendationPolicy
from schemas.binary import NewerRecordError, RecordError
from schemas.recommendations import (
    RatingFigures,
    RecommendedItem,
    SegmentRecommendations,
    recommendations_key,
)

_MICROSECOND = timedelta(microseconds=1)


class PartBook:
    """Parts by segment and partition, as records: a part is read where it is merged.

    What is known of all users is written to every partition, since each segment's popularity is
    smoothed by it; and it tells of a partition that it has nothing in a segment, or no more.

    Parameters
    ----------
    everybody
        Whether what leads among all users is merged here, too.

    Attributes
    ----------
    dirty
        Segments of which a part has come since they were merged last, in that order.
    """

    def __init__(self, *, everybody: bool) -> None:
        self.dirty: list[int] = []
        self._everybody = everybody
        self._parts: dict[int, dict[int, Record]] = {EVERYBODY: {}}
        # Of what is known of all users: where it was read, and its give.
        self._gives: dict[int, tuple[int, int]] = {}

    @property
    def segments(self) -> list[int]:
        """Segments of which there are parts."""
        return [each for each in self._parts if each != EVERYBODY]

    @property
    def records(self) -> list[Record]:
        """The latest parts, as records."""
        return [each for parts in self._parts.values() for each in parts.values() if each.value]

    def note(self, record: Record) -> None:
        """Take a part in, but where a later one is known; a null value takes it out.

        Raises
        ------
        StageError
            If its key is none.
        """
        segment, partition = read_part_key(record)
        parts = self._parts.setdefault(segment, {})
        known = parts.get(partition)
        if known is not None and known.offset >= record.offset:
            return
        parts[partition] = record
        touched = [segment]
        if segment == EVERYBODY:
            touched = [*self._parts][not self._everybody :]
        self.dirty += [each for each in touched if each not in self.dirty]

    def parts(self, segment: int) -> list[Partial]:
        """Read what all partitions know of a segment; empty where none knows of it.

        Raises
        ------
        StageError
            If a part cannot be read.
        """
        wholes, own = self._parts[EVERYBODY], self._parts[segment]
        # What is known of all users comes last of all that a partition gives away: a part that was
        # not given with it, and lies before it, was not given again, so the partition has nothing
        # there any more. Until it comes the parts of the give before hold, or new ones that are
        # there already.
        found = {}
        for number, record in own.items():
            if record.value:
                part, whole = _read(record), wholes.get(number)
                if whole is None or record.offset > whole.offset or part.give == self._give(number):
                    found[number] = part
        if not found:
            return []
        others = {
            number: _read(each)
            for number, each in wholes.items()
            if each.value and number not in found
        }
        return [*(others | found).values()]

    def _give(self, partition: int) -> int:
        """Tell with which of its gives came what a partition knows of all users."""
        record = self._parts[EVERYBODY][partition]
        known = self._gives.get(partition)
        if known is None or known[0] != record.offset:
            give = _read(record).give if record.value else 0
            known = self._gives[partition] = record.offset, give
        return known[1]

    def given(self, partition: int) -> Partial | None:
        """Read what a partition gave away last of all users; None where it never did.

        Raises
        ------
        StageError
            If it cannot be read.
        """
        record = self._parts[EVERYBODY].get(partition)
        return None if record is None or record.value is None else _read(record)

    def end(self, segment: int) -> int:
        """Give the offset behind the latest part that a segment's merging looks at."""
        both = [*self._parts[segment].values(), *self._parts[EVERYBODY].values()]
        return max((each.offset + 1 for each in both), default=0)

    def merged(self, segment: int) -> None:
        """Note that a segment's parts are merged."""
        self.dirty.remove(segment)


def read_part_key(record: Record) -> tuple[int, int]:
    """Give the segment and the partition of a part.

    Raises
    ------
    StageError
        If the key names none.
    """
    try:
        segment, partition = map(int, (record.key or b"").split(b"/"))
    except ValueError:
        raise StageError(f"{record.place} is no part: its key is not 'segment/partition'") from None
    return segment, partition


def _read(record: Record) -> Partial:
    try:
        return decode_part(record.key or b"", record.value or b"")[0]
    except NewerRecordError as error:
        raise StageError(
            f"{record.place} was written by a newer version ({error}): upgrade this process"
        ) from None
    except RecordError as error:
        raise StageError(f"{record.place} is no part: {error}") from None


def merged_parts(
    book: PartBook, segment: int, policy: RecommendationPolicy
) -> SegmentRecommendations | None:
    """Merge the parts of a segment; None where none is left.

    Parts of partitions that have long been silent are left out: they have faded away.

    Raises
    ------
    StageError
        If an item is in two of them.
    """
    parts = book.parts(segment)
    at = max((part.at for part in parts), default=0)
    silent = policy.silent_after // _MICROSECOND
    kept = [part for part in parts if at - part.at <= silent]
    if not kept:
        return None
    faded = [faded_to(part, at, policy.half_life) for part in same_length(kept)]
    try:
        merged = merge(faded, policy.top, policy.prior_weight)
    except PartialsError as error:
        raise StageError(
            f"the parts of segment {segment} contradict each other: {error}; were events written "
            "with another number of partitions?"
        ) from None
    top = merged.tops[segment]
    place = list(merged.tops).index(segment)
    there = top.scores > 0
    ratings = _figures(top.ratings)
    names = [merged.items[item] for item in top.items.tolist()]
    written = merged.vectors[top.items]
    spoken = (written != 0).any(axis=1).tolist() if written.shape[1] else [False] * len(names)
    return SegmentRecommendations(
        segment=None if segment == EVERYBODY else segment,
        as_of=from_microseconds(at),
        items=[
            RecommendedItem(
                item_id=name,
                score=score,
                popularity=weight,
                ratings=rating,
                vector=base64.b64encode(vector.astype("<f2").tobytes()).decode() if said else None,
            )
            for name, score, weight, rating, vector, said, kept_too in zip(
                names,
                top.scores.tolist(),
                top.weights.tolist(),
                ratings,
                written,
                spoken,
                there.tolist(),
                strict=True,
            )
            if kept_too
        ],
        popularity=top.total,
        ratings=_figures(merged.segment_ratings)[place],
        exact=min(top.exact, int(np.count_nonzero(there))),
        slack=top.slack,
        partitions=len(kept),
        parts_end=book.end(segment),
    )


def merged_output(book: PartBook, segment: int, policy: RecommendationPolicy, topic: str) -> Output:
    """Give the record of a segment: what its parts merge to, a tombstone where none is left."""
    found = merged_parts(book, segment, policy)
    key = recommendations_key(None if segment == EVERYBODY else segment)
    return Output(topic, key, None if found is None else found.model_dump_json().encode())


def _figures(moments: Moments) -> list[RatingFigures]:
    return [
        RatingFigures(weight=weight, mean=mean, variance=variance)
        for weight, mean, variance in zip(
            moments.weight.tolist(), moments.mean.tolist(), moments.variance().tolist(), strict=True
        )
    ]
