"""Turns a decision into a segment change: the state's next step, and the records to write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from consumer.contract.records import Output, Record
from consumer.settings import TopicSettings
from models.profiles.table import ProfileRows, from_microseconds
from models.segments.decision import Decision
from models.segments.model import SegmentModel
from schemas.changes import (
    ChangeReason,
    ChangeStatus,
    LabelRef,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    SourceRef,
    cloudevents_headers,
)
from schemas.segment_model import NO_SEGMENT

# Enough to compare distances between unit vectors, and the same digits on every processor.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Cause:
    """What made the worker decide: an event, or a new model."""

    at: datetime
    source: SourceRef | None = None
    """The event's place."""
    occurred_at: datetime | None = None

    @classmethod
    def of_event(cls, record: Record, event_id: str, occurred_at: datetime, at: datetime) -> Self:
        """Name an event as the cause."""
        source = SourceRef(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            event_id=event_id,
        )
        return cls(at, source, occurred_at)

    @classmethod
    def of_model(cls, at: datetime) -> Self:
        """Name a new model as the cause."""
        return cls(at)


@dataclass(frozen=True, slots=True)
class ChangeWriter:
    """Writes changes to `segment-changes` and `segment-memberships`."""

    topics: TopicSettings
    source: str
    """The CloudEvents source: which application decided."""

    def write(
        self,
        rows: ProfileRows,
        row: int,
        decision: Decision,
        cause: Cause,
        model: SegmentModel,
        *,
        reason: ChangeReason,
        label: LabelRef | None = None,
    ) -> tuple[SegmentChange, list[Output]]:
        """Move a user to a segment; where the reason is the label alone, only tell that.

        Sets the row's sequence, and where the user moves the segment with its label and `since`.
        The predicted label is only told: `Labelling.publish` sets it. Gives the change with its
        records.
        """
        previous = segment = _segment_of(rows, row)
        status = ChangeStatus.LABELLED
        if reason is not ChangeReason.LABEL_CHANGED:
            segment = None
            if decision.segment is not None:
                name = model.label_of(decision.segment) or ""
                segment = SegmentRef(id=decision.segment, label=name)
            rows.segments[row] = segment.id if segment else NO_SEGMENT
            rows.labels[row] = segment.label if segment else None
            rows.since[row] = rows.events[row]
            status = _status(previous, segment)
        rows.sequence[row] += 1
        change = SegmentChange(
            user_id=rows.users[row],
            sequence=int(rows.sequence[row]),
            status=status,
            segment=segment,
            previous_segment=previous,
            reason=reason,
            changed_at=cause.at,
            occurred_at=cause.occurred_at,
            distance=_figure(decision.distance),
            previous_distance=_figure(decision.previous_distance),
            margin=_figure(decision.margin),
            confidence=_figure(decision.confidence),
            profile=ProfileSummary(
                events=int(rows.events[row]),
                weight=float(rows.weights[row]),
                updated_at=from_microseconds(int(rows.reference[row])),
            ),
            model=ModelRef(embedding=model.embedding, version=model.version),
            source=cause.source,
            label=label,
        )
        key, value = change.user_id.encode(), change.model_dump_json().encode()
        headers = tuple(cloudevents_headers(change, self.source))
        return change, [
            Output(self.topics.changes, key, value, headers),
            Output(self.topics.memberships, key, value, headers),
        ]


def _segment_of(rows: ProfileRows, row: int) -> SegmentRef | None:
    """Give the segment that a user is in, under the label that it was published with."""
    segment = int(rows.segments[row])
    return None if segment == NO_SEGMENT else SegmentRef(id=segment, label=rows.labels[row] or "")


def _status(previous: SegmentRef | None, segment: SegmentRef | None) -> ChangeStatus:
    if segment is None:
        return ChangeStatus.EXITED
    return ChangeStatus.ENTERED if previous is None else ChangeStatus.SWITCHED


def _figure(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
