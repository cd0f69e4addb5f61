"""What a worker should do, said plainly: one event after the other, one user at a time.

The reference that the arrays of the segmentation stage are compared with, bit for bit.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from consumer.contract.records import Output
from consumer.settings import Settings
from consumer.stages.segmentation.prepared import EVENT_TYPES, PreparedBatch
from models.labels.decision import decide_labels
from models.labels.model import LabelModel
from models.profiles.sample import rank
from models.profiles.table import ProfileRows, from_microseconds
from models.segments.decision import decide
from models.segments.model import SegmentModel
from models.text import cut_words
from schemas.changes import (
    ChangeCause,
    ChangeReason,
    ChangeStatus,
    EventShare,
    LabelRef,
    MarginShares,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    SourceRef,
    cloudevents_headers,
)
from schemas.segment_model import NO_SEGMENT
from tests.consumer.stages.stage_data import NOW

ROW = np.array([0])


@dataclass
class OneByOne:
    """A worker's profiles, and what they come to."""

    settings: Settings
    embedding: str
    dimensions: int
    model: SegmentModel | None
    labels: LabelModel | None = None
    users: dict[str, ProfileRows] = field(default_factory=dict)
    former: dict[str, tuple[SegmentModel | None, LabelModel | None]] = field(default_factory=dict)
    """By user who was not looked at under the models: those that go on deciding."""
    counts: Counter[str] = field(default_factory=Counter)
    counted: dict[str, list[int]] = field(default_factory=dict)
    """Events of the present batch that counted, by user."""

    def take(self, model: SegmentModel, labels: LabelModel | None) -> None:
        """Take newer models, under which nobody is looked at yet."""
        self.former = dict.fromkeys(self.users, (self.model, self.labels))
        self.model, self.labels = model, labels

    def apply(self, batch: PreparedBatch) -> list[Output]:
        """Apply the events of a batch; give the records of changes, in the order of the events."""
        outputs = []
        self.counted = defaultdict(list)
        for event in range(len(batch.events)):
            outputs += self._event(batch, event)
        return outputs

    def state(self) -> dict[str, str]:
        return {
            user: rows.to_record(0, self.embedding).model_dump_json()
            for user, rows in self.users.items()
        }

    def _event(self, batch: PreparedBatch, event: int) -> Sequence[Output]:
        events, policy = batch.events, self.settings.profile
        user = events.users[event]
        memory = policy.event_memory
        nothing = ProfileRows.empty([user], self.dimensions, memory, policy.references)
        rows = self.users.setdefault(user, nothing)
        identity, time = events.hashes[[event]], events.times[[event]]
        if rows.knows(ROW, identity)[0]:
            rows.repeats[0] += 1
            self.counts["repeated"] += 1
            self.counts["edited"] += int(time[0] > rows.reference[0])
            return []
        kind = EVENT_TYPES[events.types[event]]
        weight = np.array([self.settings.events.weights[kind]], np.float64)
        keep, gain = rows.add(ROW, batch.embeddings[[event]], weight, time, policy)
        rows.remember(ROW, identity)
        offset = np.array([batch.record_of(event).offset])
        rows.refer(ROW, offset, time, identity, weight, policy)
        self.counted[user].append(event)
        threshold = 1.0 if self.model is None else self.model.sample_threshold
        if policy.words == "all" or rank(user) <= threshold:
            words = cut_words(events.texts[event], events.languages[event])
            rows.note_terms(0, words, float(keep[0]), float(gain[0]), policy.terms)
        self.counts[kind] += 1
        self.counts[f"language {events.languages[event]}"] += 1
        model, labels = self.former.get(user, (self.model, self.labels))
        return [] if model is None else self._decide(rows, batch, event, model, labels)

    def _decide(
        self,
        rows: ProfileRows,
        batch: PreparedBatch,
        event: int,
        model: SegmentModel,
        labels: LabelModel | None,
    ) -> Sequence[Output]:
        before = rows.segments.copy()
        decision = decide(
            rows.vectors(),
            before,
            rows.events,
            rows.events - rows.since,
            model,
            self.settings.assignment,
            weights=rows.weights,
        ).at(0)
        rows.versions[0] = model.version
        previous = (
            None
            if before[0] == NO_SEGMENT
            else SegmentRef(id=int(before[0]), label=rows.labels[0] or "")
        )
        label, relabelled = self._label(rows, labels)
        if not (decision.changed or relabelled):
            return []
        segment, status = previous, ChangeStatus.LABELLED
        if decision.changed:
            segment = None
            status = ChangeStatus.EXITED
            if decision.segment is not None:
                name = model.labels[model.ids.tolist().index(decision.segment)]
                segment = SegmentRef(id=decision.segment, label=name)
                status = ChangeStatus.SWITCHED if previous else ChangeStatus.ENTERED
            rows.segments[0] = NO_SEGMENT if segment is None else segment.id
            rows.labels[0] = None if segment is None else segment.label
            rows.since[0] = rows.events[0]
        rows.sequence[0] += 1
        figures = {
            name: None if value is None else round(value, 6)
            for name, value in (
                ("distance", decision.distance),
                ("previous_distance", decision.previous_distance),
                ("margin", decision.margin),
                ("confidence", decision.confidence),
            )
        }
        record = batch.record_of(event)
        change = SegmentChange(
            user_id=rows.users[0],
            sequence=int(rows.sequence[0]),
            status=status,
            segment=segment,
            previous_segment=previous,
            reason=ChangeReason.BEHAVIOUR if decision.changed else ChangeReason.LABEL_CHANGED,
            cause=ChangeCause.USER,
            changed_at=NOW,
            occurred_at=from_microseconds(int(batch.events.times[event])),
            profile=ProfileSummary(
                events=int(rows.events[0]),
                weight=float(rows.weights[0]),
                updated_at=from_microseconds(int(rows.reference[0])),
            ),
            model=ModelRef(embedding=model.embedding, version=model.version),
            source=SourceRef(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                event_id=batch.events.event_ids[event],
            ),
            label=label,
            shares=self._shares(rows, batch, segment, previous, model, figures["margin"]),
            **figures,
        )
        headers = tuple(cloudevents_headers(change, self.settings.kafka.group_id))
        value = change.model_dump_json().encode()
        topics = self.settings.topics
        return [
            Output(topic, change.user_id.encode(), value, headers)
            for topic in (topics.changes, topics.memberships)
        ]

    def _shares(
        self,
        rows: ProfileRows,
        batch: PreparedBatch,
        segment: SegmentRef | None,
        previous: SegmentRef | None,
        model: SegmentModel,
        margin: float | None,
    ) -> MarginShares | None:
        """Split the margin, number by number."""
        if segment is None or segment == previous or margin is None:
            return None
        centres = dict(zip(model.ids.tolist(), model.centres.tolist(), strict=True))
        unit = rows.vectors()[0].tolist()
        length = math.hypot(*rows.sums[0].tolist())
        near = math.dist(unit, centres[segment.id])
        others = sorted((math.dist(unit, c), n) for n, c in centres.items() if n != segment.id)
        against = previous.id if previous is not None and previous.id in centres else others[0][1]
        far = math.dist(unit, centres[against])
        half_life = self.settings.profile.half_life.total_seconds() * 1e6
        told = []
        for event in self.counted[rows.users[0]]:
            kind = EVENT_TYPES[batch.events.types[event]]
            age = int(rows.reference[0]) - int(batch.events.times[event])
            weight = self.settings.events.weights[kind] * 2 ** -(age / half_life)
            terms = zip(
                batch.embeddings[event].tolist(), centres[segment.id], centres[against], strict=True
            )
            dot = math.fsum(v * (c - d) for v, c, d in terms)
            told.append((2 * dot * weight / length / (far + near), event))
        told = [each for each in sorted(told, key=lambda each: -each[0]) if each[0] > 0][:3]
        shares = [
            EventShare(
                event_id=batch.events.event_ids[event],
                offset=batch.record_of(event).offset,
                share=round(share, 6),
            )
            for share, event in told
        ]
        squares = [math.fsum(x * x for x in centres[n]) for n in (against, segment.id)]
        own = round((squares[0] - squares[1]) / (far + near), 6) + 0.0  # no -0.0
        rest = margin - own - sum(each.share for each in shares)
        name = SegmentRef(id=against, label=model.labels[model.ids.tolist().index(against)])
        return MarginShares(against=name, events=shares, others=round(rest, 6) + 0.0, centres=own)

    def _label(self, rows: ProfileRows, labels: LabelModel | None) -> tuple[LabelRef | None, bool]:
        """Give the user's label for a change, and whether it is another one now."""
        if labels is None:
            return None, False
        previous = rows.predicted[0]
        decided = decide_labels(
            rows.vectors(),
            [previous],
            rows.events,
            rows.events - rows.label_since,
            labels,
            self.settings.labels,
        )
        rows.label_versions[0] = labels.version
        number = int(decided.row[0])
        name = None if number < 0 else labels.names[number]
        if decided.changed[0]:
            rows.predicted[0] = name
            rows.label_since[0] = rows.events[0]
        label = LabelRef(
            name=name,
            probability=None if name is None else round(float(decided.probability[0]), 6),
            previous=previous,
            version=labels.version,
        )
        return label, bool(decided.changed[0])
