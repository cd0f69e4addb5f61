"""What a replay notes beside its outputs, for `segmenter report`: details.json.

How long texts are, of which type and language events are, which events are nearest to each segment,
and what the latest look at drift has found. It is noted as the events pass, since embedding them
again would take as long as the replay. No text is in it: an event is named by its user, its id and
its record.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from pydantic import NonNegativeInt

from consumer.stages.segmentation.prepared import PreparedBatch
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.stages.training.drift_monitor import DriftMonitor
from models.distances import nearest
from models.drift.check import Outcome
from models.segments.model import SegmentModel
from schemas.base import Contract

LENGTHS = (0, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
"""Where the classes of lengths begin, in characters; the last one has no end."""

LEAST_CHARS = 20
"""A shorter text is typical of nothing: "thanks a lot" lies near every centre."""

_TYPICAL = 6
# Of these, those of users who are elsewhere by the end, or whose segment has moved, fall out.
_CANDIDATES = 40


class TypicalEvent(Contract):
    """An event whose text lies near a segment's centre."""

    segment: NonNegativeInt
    user_id: str
    event_id: str
    record: NonNegativeInt
    """Its number in the file of events, from 0."""
    distance: float
    """Of its embedding from the centre."""


class Measured(Contract):
    """A statistic of drift beside its threshold."""

    statistic: float
    threshold: float

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Take an outcome."""
        return cls(statistic=outcome.statistic, threshold=outcome.threshold)


class DriftFound(Contract):
    """What the latest look at drift has found.

    Attributes
    ----------
    tests
        By test, of all users.
    segments
        By segment and test, of those with enough users.
    detections
        By detector, whether it finds a change.
    reference_users, current_users
        Users compared.
    churn
        Share of the reference's users whose segment is another one now; null where not known.
    """

    tests: dict[str, Measured]
    segments: dict[int, dict[str, Measured]]
    detections: dict[str, bool]
    reference_users: NonNegativeInt
    current_users: NonNegativeInt
    churn: float | None


def drift_found(monitor: DriftMonitor) -> DriftFound | None:
    """Give what a trainer has found; None while there is nothing to compare."""
    if (report := monitor.report) is None:
        return None
    return DriftFound(
        tests={name: Measured.of(outcome) for name, outcome in report.tests.items()},
        segments={
            segment: {name: Measured.of(outcome) for name, outcome in outcomes.items()}
            for segment, outcomes in report.segments.items()
        },
        detections=dict(report.detections),
        reference_users=report.reference_users,
        current_users=report.current_users,
        churn=monitor.churn,
    )


class Details(Contract):
    """The file details.json.

    Attributes
    ----------
    types, languages
        Accepted events.
    lengths
        Texts by their length in characters once they are cleaned, one number for each of `LENGTHS`;
        those of repeated events count too.
    typical
        By segment, the nearest first; each of another user.
    drift
        Null where nothing was compared.
    """

    types: dict[str, NonNegativeInt]
    languages: dict[str, NonNegativeInt]
    lengths: list[NonNegativeInt]
    typical: list[TypicalEvent]
    drift: DriftFound | None


class _Candidate(NamedTuple):
    """An event and its vector; the heap gives up the farthest first."""

    nearness: float
    record: int
    user_id: str
    event_id: str
    vector: np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(slots=True)
class Observed:
    """Notes batches as they pass.

    Memory is for `_CANDIDATES` vectors a segment. Which event is typical is judged by the centres
    of the moment, and once more by those of the end; events before the first model are not looked
    at.
    """

    lengths: Counter[int] = field(default_factory=Counter)
    _nearest: dict[int, list[_Candidate]] = field(default_factory=dict)
    _users: dict[int, dict[str, float]] = field(default_factory=dict)

    def watch(self, batch: PreparedBatch, model: SegmentModel | None) -> None:
        """Take a batch.

        Parameters
        ----------
        batch
            Its events, with their embeddings.
        model
            The segments in force; None before the first.
        """
        events = batch.events
        sizes = np.array([len(text) for text in events.texts], np.int64)
        classes = np.searchsorted(LENGTHS, sizes, side="right") - 1
        self.lengths.update(classes.tolist())
        if model is None or not len(events):
            return
        rows, distances = nearest(batch.embeddings, model.centres)
        for row in np.flatnonzero(sizes >= LEAST_CHARS).tolist():
            self._offer(int(model.ids[rows[row]]), -float(distances[row]), row, batch)

    def _offer(self, segment: int, nearness: float, row: int, batch: PreparedBatch) -> None:
        """Keep an event if it is among the nearest, and its user's nearest one."""
        heap = self._nearest.setdefault(segment, [])
        if len(heap) >= _CANDIDATES and nearness <= heap[0].nearness:
            return
        events, known = batch.events, self._users.setdefault(segment, {})
        user = events.users[row]
        if nearness <= known.get(user, -np.inf):
            return
        if user in known:
            heap[:] = [each for each in heap if each.user_id != user]
            heapq.heapify(heap)
        made = _Candidate(
            nearness,
            batch.record_of(row).offset,
            user,
            events.event_ids[row],
            batch.embeddings[row].copy(),
        )
        known[user] = nearness
        heapq.heappush(heap, made)
        if len(heap) > _CANDIDATES:
            del known[heapq.heappop(heap).user_id]

    def typical(
        self, model: SegmentModel | None, segment_of: Mapping[str, int]
    ) -> list[TypicalEvent]:
        """Give the events nearest to each segment, of users who are in it.

        Parameters
        ----------
        model
            The segments at the end.
        segment_of
            Each user's segment.
        """
        if model is None:
            return []
        found: list[TypicalEvent] = []
        for segment in model.ids.tolist():
            own = [
                each
                for each in self._nearest.get(segment, ())
                if segment_of.get(each.user_id) == segment
            ]
            if not own:
                continue
            rows, distances = nearest(np.stack([each.vector for each in own]), model.centres)
            told = [
                TypicalEvent(
                    segment=segment,
                    user_id=each.user_id,
                    event_id=each.event_id,
                    record=each.record,
                    distance=round(float(distance), 6),
                )
                for each, row, distance in zip(own, rows, distances, strict=True)
                if model.ids[row] == segment
            ]
            found += sorted(told, key=lambda each: (each.distance, each.record))[:_TYPICAL]
        return found

    def details(self, stage: SegmentationStage, drift: DriftMonitor | None) -> Details:
        """Give all that is noted, once the replay has ended."""
        table = stage.tables[0]
        users = table.users
        segments = table.gather(users).segments.tolist()
        return Details(
            types=dict(sorted(stage.stats.accepted.items())),
            languages=dict(sorted(stage.stats.languages.items())),
            lengths=[self.lengths[each] for each in range(len(LENGTHS))],
            typical=self.typical(stage.model, dict(zip(users, segments, strict=True))),
            drift=None if drift is None else drift_found(drift),
        )
