"""What a report is made of: plain data, filled from topics or from a replay's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from consumer.offline.outcome import Counts
from consumer.page import told
from consumer.report.user_map import UserMap
from models.measures.agreement import Agreement
from schemas.changes import ChangeReason, ChangeStatus, SegmentChange
from schemas.lifecycle import LifecycleEvent, TransitionType
from schemas.segment_model import SegmentModelRecord, SegmentRecord


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a run took.

    Attributes
    ----------
    seconds
        From the first event sent to the last one committed.
    startup_seconds
        Before them: Kafka, models, processes.
    settling_seconds
        After them, until the segments were settled.
    """

    seconds: float
    startup_seconds: float = 0.0
    settling_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """What came out, by kind.

    `flows` counts the moves by the users' own behaviour, by the ids (from, to).
    """

    entered: int
    switched_by_behaviour: int
    switched_by_model: int
    exited: int
    flows: Mapping[tuple[int, int], int]

    @property
    def total(self) -> int:
        """Number of all changes."""
        return self.entered + self.switched_by_behaviour + self.switched_by_model + self.exited


@dataclass(frozen=True, slots=True)
class UserText:
    """What a user wrote, or the title of what he looked at, verbatim but for markup."""

    event_id: str
    occurred_at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Story:
    """One user: all of the changes in order, and the texts."""

    user_id: str
    changes: Sequence[SegmentChange]
    texts: Sequence[UserText]


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that the summary, the picture and the page show.

    Parameters
    ----------
    source
        Where the events came from, in a few words.
    counts, timing, changes
        Figures of the run.
    refused
        Records that were refused by reason, the commonest first.
    model
        The latest segments.
    map
        The users, their segments, and the ways of those who moved.
    typical_texts
        A few texts near the centre of each segment, by id.
    story
        A user to tell about.
    agreement, against
        Where labels are known: agreement with them, and which they are, and of whom.
    paths
        What the run wrote, by what it is.
    lifecycle
        What became of segments, in the order in which it happened.
    """

    source: str
    counts: Counts
    timing: Timing
    refused: Mapping[str, int]
    changes: ChangeCounts
    model: SegmentModelRecord
    map: UserMap
    typical_texts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    story: Story | None = None
    agreement: Agreement | None = None
    against: str = ""
    paths: Mapping[str, Path] = field(default_factory=dict)
    lifecycle: Sequence[LifecycleEvent] = ()

    @property
    def events_per_second(self) -> float:
        """Events by the seconds that they took; 0 where no time was measured."""
        return self.counts.records / self.timing.seconds if self.timing.seconds > 0 else 0.0

    def label(self, segment: int) -> str:
        """Label of a segment by its id; its number where the latest model no longer holds it."""
        return self.map.labels.get(segment, f"former segment {segment}")

    def lives(self) -> dict[TransitionType, int]:
        """Count lifecycle events by type; types that did not come are left out."""
        counts = Counter(event.type for event in self.lifecycle)
        return {kind: counts[kind] for kind in TransitionType if counts[kind]}


def further_words(record: SegmentRecord, limit: int = 10) -> list[str]:
    """Give the typical words that the label, made of the first ones, does not say already."""
    said = set(record.label.split(", "))
    return [word for word in record.words if word not in said][:limit]


def count_changes(changes: Iterable[SegmentChange]) -> ChangeCounts:
    """Count changes by kind, in one pass."""
    by_status: Counter[ChangeStatus] = Counter()
    moves = 0
    flows: Counter[tuple[int, int]] = Counter()
    for change in changes:
        by_status[change.status] += 1
        if change.reason is ChangeReason.BEHAVIOUR:
            moves += change.status is ChangeStatus.SWITCHED
            if change.segment and change.previous_segment:
                flows[change.previous_segment.id, change.segment.id] += 1
    return ChangeCounts(
        entered=by_status[ChangeStatus.ENTERED],
        switched_by_behaviour=moves,
        switched_by_model=by_status[ChangeStatus.SWITCHED] - moves,
        exited=by_status[ChangeStatus.EXITED],
        flows=dict(flows),
    )


def top_flows(changes: ChangeCounts, limit: int = 5) -> list[tuple[int, int, int]]:
    """Give the busiest ways between segments, as (from, to, users), in a fixed order."""
    ways = sorted(changes.flows.items(), key=lambda item: (-item[1], item[0]))
    return [(old, new, count) for (old, new), count in ways[:limit]]


def tell_life(data: ReportData, event: LifecycleEvent) -> str:
    """Tell in a few words what became of a segment."""
    return told.tell_life(event, data.label)
