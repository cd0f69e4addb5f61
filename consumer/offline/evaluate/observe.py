"""Notes what an evaluation needs while a file is replayed.

Prequential, "assign, then learn": after each event the user is where the model so far puts the
profile with that event in it. That is compared with the event's label before the trainer has
learned from the event.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from consumer.contract.records import Output
from consumer.offline.evaluate.contents import Point
from consumer.offline.evaluate.tracks import Track, label_of
from consumer.offline.evaluate.users import LEAST_SCORED_USERS
from consumer.settings import TopicSettings
from consumer.stages.segmentation.prepared import PreparedBatch
from models.measures.agreement import Agreement, Confusion
from models.profiles.table import hash_event_id
from schemas.changes import SegmentChange

MOST_POINTS = 120
"""Points along the stream at most. When there are more, every second one is dropped."""

STEADY_USER = 10
"""Events of the users whose agreement is followed along the stream."""


@dataclass(slots=True)
class Observer:
    """Follows users, labels and changes through a replay.

    Memory is for users, for their changes and runs of labels, and 8 bytes and the set's overhead
    for each event's id; texts and vectors are not kept.

    Parameters
    ----------
    topics
        Names of the outputs.
    label
        Dotted path of the label in the source's records; None for no labels.
    """

    topics: TopicSettings
    label: str | None
    tracks: dict[str, Track] = field(default_factory=dict)
    events: int = 0
    without_label: int = 0
    without_segment: int = 0
    """Labelled events whose user was in no segment, as before the first model."""
    confusion: Confusion = field(default_factory=Confusion)
    """Labels of events by segment, prequential."""
    points: list[Point] = field(default_factory=list)
    _caused: dict[int, list[SegmentChange]] = field(default_factory=lambda: defaultdict(list))
    _seen: set[int] = field(default_factory=set)
    _batches: int = 0
    _spacing: int = 1
    _changes: int = 0

    def sink(self, output: Output) -> None:
        """Take an output of the replay."""
        if output.topic != self.topics.changes or output.value is None:
            return
        change = SegmentChange.model_validate_json(output.value)
        self._changes += 1
        if change.source is None:
            self._move(change)
        else:  # its turn comes with the event that caused it
            self._caused[change.source.offset].append(change)

    def watch(self, batch: PreparedBatch) -> None:
        """Take a batch of events, whose changes have come already."""
        events = batch.events
        for row, (user, event_id) in enumerate(zip(events.users, events.event_ids, strict=True)):
            record = batch.record_of(row)
            identity = hash_event_id(f"{user}\n{event_id}")
            fresh = identity not in self._seen
            track = self.tracks.setdefault(user, Track())
            label = None
            if fresh:
                self._seen.add(identity)
                label = None if self.label is None else label_of(record.value, self.label)
                track.see(label)
            # Also of an event that came again after the worker had forgotten its id.
            for change in self._caused.pop(record.offset, ()):
                self._move(change)
            if fresh:
                self.events += 1
                self._compare(label, track.segment)
        self._batches += 1

    def mark(self, segments: int) -> None:
        """Note a point of the stream, now and then.

        Parameters
        ----------
        segments
            Segments of the model in use.
        """
        if self._batches % self._spacing == 0:
            self._note(segments)

    def end(self, segments: int) -> None:
        """Note the state at the end, once users have looked at the last model."""
        self._note(segments)

    def _note(self, segments: int) -> None:
        self.points.append(
            Point(
                events=self.events,
                segments=segments,
                changes=self._changes,
                prequential=self.prequential(),
                steady_users=scored(self.users(STEADY_USER)),
            )
        )
        if len(self.points) >= MOST_POINTS:
            self.points = self.points[1::2]
            self._spacing *= 2

    def prequential(self) -> Agreement | None:
        """Give the agreement of all events so far; None while few users have a label."""
        labelled = sum(track.label is not None for track in self.tracks.values())
        return self.confusion.agreement() if labelled >= LEAST_SCORED_USERS else None

    def users(self, least_events: int) -> Confusion:
        """Compare each user's label with the user's segment at this moment.

        Left out are users without a label or without a segment, and those with fewer events.
        """
        confusion = Confusion()
        for track in self.tracks.values():
            if track.events < least_events or track.segment is None:
                continue
            if (label := track.label) is not None:
                confusion.add(label, track.segment)
        return confusion

    def with_events(self, least_events: int) -> list[Track]:
        """Give the users with so many events."""
        return [track for track in self.tracks.values() if track.events >= least_events]

    def _compare(self, label: str | None, segment: int | None) -> None:
        if label is None:
            self.without_label += 1
        elif segment is None:
            self.without_segment += 1
        else:
            self.confusion.add(label, segment)

    def _move(self, change: SegmentChange) -> None:
        segment = None if change.segment is None else change.segment.id
        cause = "" if change.cause is None else change.cause.value
        self.tracks[change.user_id].move(segment, change.status.value, change.reason.value, cause)


def scored(confusion: Confusion) -> Agreement | None:
    """Give the agreement of a comparison of users; None over too few of them."""
    return confusion.agreement() if confusion.pairs >= LEAST_SCORED_USERS else None
