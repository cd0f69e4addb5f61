"""Turns a decision into a segment change: the state's next step, and the records to write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from consumer.records import Output, Record
from consumer.settings import TopicSettings
from models.assignment import Decision
from models.profiles import ProfileRows, from_microseconds
from models.segments import NO_SEGMENT, SegmentModel
from schemas.changes import (
    ChangeReason,
    ChangeStatus,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    SourceRef,
    cloudevents_headers,
)
from schemas.events import UserEvent

# Enough to compare distances between unit vectors, and the same digits on every processor.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Cause:
    """What made the worker decide: an event with its record, or a new model."""

    at: datetime
    record: Record | None = None
    event: UserEvent | None = None

    @classmethod
    def of_event(cls, record: Record, event: UserEvent, at: datetime) -> Self:
        """Name an event as the cause."""
        return cls(at, record, event)

    @classmethod
    def of_model(cls, at: datetime) -> Self:
        """Name a new model as the cause."""
        return cls(at)

    @property
    def source(self) -> SourceRef | None:
        """The event's place, as it stands in a change."""
        if self.record is None or self.event is None:
            return None
        return SourceRef(
            topic=self.record.topic,
            partition=self.record.partition,
            offset=self.record.offset,
            event_id=self.event.event_id,
        )


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
    ) -> tuple[SegmentChange, list[Output]]:
        """Move a user to a segment.

        Sets the row's segment, label, sequence and `since`, and gives the change with its records.
        """
        before, label_before = int(rows.segments[row]), rows.labels[row]
        previous = None if before == NO_SEGMENT else SegmentRef(id=before, label=label_before or "")
        segment = None
        if decision.segment is not None:
            label = model.label_of(decision.segment) or ""
            segment = SegmentRef(id=decision.segment, label=label)
        rows.segments[row] = segment.id if segment else NO_SEGMENT
        rows.labels[row] = segment.label if segment else None
        rows.since[row] = rows.events[row]
        rows.sequence[row] += 1
        change = SegmentChange(
            user_id=rows.users[row],
            sequence=int(rows.sequence[row]),
            status=_status(previous, segment),
            segment=segment,
            previous_segment=previous,
            reason=reason,
            changed_at=cause.at,
            occurred_at=cause.event.occurred_at if cause.event else None,
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
        )
        key, value = change.user_id.encode(), change.model_dump_json().encode()
        headers = tuple(cloudevents_headers(change, self.source))
        return change, [
            Output(self.topics.changes, key, value, headers),
            Output(self.topics.memberships, key, value, headers),
        ]


def _status(previous: SegmentRef | None, segment: SegmentRef | None) -> ChangeStatus:
    if segment is None:
        return ChangeStatus.EXITED
    return ChangeStatus.ENTERED if previous is None else ChangeStatus.SWITCHED


def _figure(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
