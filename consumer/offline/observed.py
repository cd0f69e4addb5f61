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
# Users whose latest text is a candidate for whatever segments there are by the end.
_USERS = 2_000


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
    """An event and its vector; `nearness` is to the centre of the moment, more is nearer."""

    nearness: float
    record: int
    user_id: str
    event_id: str
    vector: np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(slots=True)
class Observed:
    """Notes batches as they pass.

    Which event may be typical is judged by the centres of the moment, which says little of segments
    that are born late. So the latest texts of some users, those with the lowest hashes, are
    candidates too; all are judged once more by the centres of the end. Memory is for `_CANDIDATES`
    vectors a segment, and for `_USERS`.
    """

    lengths: Counter[int] = field(default_factory=Counter)
    _nearest: dict[int, dict[str, _Candidate]] = field(default_factory=dict)
    _latest: dict[str, _Candidate] = field(default_factory=dict)
    _ranks: list[tuple[float, str]] = field(default_factory=list)

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
        long = np.flatnonzero(sizes >= LEAST_CHARS)
        rows, distances = (
            (np.zeros(len(events), np.int64), np.full(len(events), np.inf))
            if model is None or not len(events)
            else nearest(batch.embeddings, model.centres)
        )
        for row in long.tolist():
            made = _Candidate(
                -float(distances[row]),
                batch.record_of(row).offset,
                events.users[row],
                events.event_ids[row],
                batch.embeddings[row],
            )
            self._keep_latest(made, float(events.ranks[row]))
            if model is not None:
                self._keep_nearest(made, int(model.ids[rows[row]]))

    def _keep_latest(self, made: _Candidate, rank: float) -> None:
        """Keep an event as its user's latest, if the user is among those with the lowest hashes."""
        if made.user_id not in self._latest:
            if len(self._latest) >= _USERS:
                if rank >= -self._ranks[0][0]:
                    return
                del self._latest[heapq.heappop(self._ranks)[1]]
            heapq.heappush(self._ranks, (-rank, made.user_id))
        self._latest[made.user_id] = made._replace(vector=made.vector.copy())

    def _keep_nearest(self, made: _Candidate, segment: int) -> None:
        """Keep an event if it is among the nearest, and its user's nearest one."""
        kept = self._nearest.setdefault(segment, {})
        known = kept.get(made.user_id)
        if known is not None and made.nearness <= known.nearness:
            return
        if known is None and len(kept) >= _CANDIDATES:
            farthest = min(kept.values(), key=lambda each: (each.nearness, -each.record))
            if made.nearness <= farthest.nearness:
                return
            del kept[farthest.user_id]
        kept[made.user_id] = made._replace(vector=made.vector.copy())

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
        candidates = {
            each.record: each
            for group in (self._latest, *self._nearest.values())
            for each in group.values()
            if each.user_id in segment_of
        }
        if model is None or not candidates:
            return []
        order = [candidates[record] for record in sorted(candidates)]
        rows, distances = nearest(np.stack([each.vector for each in order]), model.centres)
        found: list[TypicalEvent] = []
        for row, segment in enumerate(model.ids.tolist()):
            own: dict[str, TypicalEvent] = {}
            for place in np.flatnonzero(rows == row)[
                np.argsort(distances[rows == row], kind="stable")
            ].tolist():
                each = order[place]
                if segment_of[each.user_id] == segment and each.user_id not in own:
                    own[each.user_id] = TypicalEvent(
                        segment=segment,
                        user_id=each.user_id,
                        event_id=each.event_id,
                        record=each.record,
                        distance=round(float(distances[place]), 6),
                    )
                if len(own) == _TYPICAL:
                    break
            found += own.values()
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
