"""Turns a decision into a segment change: the state's next step, and the records to write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from consumer.contract.records import Output, Record
from consumer.settings import TopicSettings
from consumer.stages.segmentation.standings import Moment
from models.distances import ROWS_AT_ONCE
from models.profiles.table import ProfileRows, from_microseconds
from models.segments.decision import Decision, Decisions
from models.segments.model import SegmentModel
from models.segments.rounding import DIGITS, rounded
from models.segments.shares import split_margins
from schemas.changes import (
    ChangeReason,
    ChangeStatus,
    LabelRef,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    cause_of,
    change_headers,
    change_id,
    cloudevents_headers,
)
from schemas.segment_model import NO_SEGMENT

Rows = NDArray[np.int64]

MOST_SHARES = 3
"""Events of which a change tells the shares."""


class Change(NamedTuple):
    """What a change is counted by, and the segment behind it."""

    status: ChangeStatus
    reason: ChangeReason
    segment: int


class Pushes(NamedTuple):
    """What made profiles what they are at k moments, as far as their transaction knows it.

    Attributes
    ----------
    totals
        The profiles' sums, float32 (k, d).
    vectors, weights
        Of the users' events of the transaction, up to then: float32 (m, d), and their faded
        weights, float64 (m,).
    owners
        Of which moment each is, int64 (m,), ascending.
    event_ids, offsets
        Theirs.
    """

    totals: NDArray[np.float32]
    vectors: NDArray[np.float32]
    weights: NDArray[np.float64]
    owners: Rows
    event_ids: list[str]
    offsets: list[int]


@dataclass(slots=True)
class Cause:
    """What made the worker decide: an event, or a new model.

    Nobody changes one, though Python would let it: to make a frozen one takes three times as long.
    """

    at: datetime
    record: Record | None = None
    """The event's."""
    event_id: str | None = None
    occurred_at: datetime | None = None

    @classmethod
    def of_event(
        cls,
        record: Record,
        event_id: str,
        occurred_at: datetime,
        at: datetime,
    ) -> Self:
        """Name an event as the cause."""
        return cls(at, record, event_id, occurred_at)

    @classmethod
    def of_model(cls, at: datetime) -> Self:
        """Name a new model as the cause."""
        return cls(at)

    @property
    def source(self) -> dict[str, object] | None:
        """The event's place, as a `SourceRef`'s fields."""
        if self.record is None:
            return None
        return {
            "topic": self.record.topic,
            "partition": self.record.partition,
            "offset": self.record.offset,
            "event_id": self.event_id,
        }


@dataclass(frozen=True, slots=True)
class ChangeWriter:
    """Writes changes to `segment-changes` and `segment-memberships`.

    It writes what `SegmentChange` says, field by field, without an object of the contract: to make
    and check one took as long as all else that an event of a new user does. That the contract
    reads and writes the same bytes is a test's to show.
    """

    topics: TopicSettings
    source: str
    """The CloudEvents source: which application decided."""

    def write(  # noqa: PLR0917 - what a change rests on
        self,
        rows: ProfileRows,
        row: int,
        moment: Moment,
        decision: Decision,
        cause: Cause,
        model: SegmentModel,
        *,
        reason: ChangeReason,
        label: LabelRef | None = None,
        shares: dict[str, Any] | None = None,
    ) -> tuple[Change, list[Output]]:
        """Move a user to a segment; where the reason is the label alone, only tell that.

        Sets the row's sequence, and where the user moves the segment with its label and `since`,
        which is the moment's. The predicted label is only told: `Labelling.publish` sets it, and
        `shares` are those of `shares_of`; the decision's figures are told as they are. Gives the
        change with its records.
        """
        previous = segment = _segment_of(rows, row)
        status = ChangeStatus.LABELLED
        if reason is not ChangeReason.LABEL_CHANGED:
            segment = None
            if decision.segment is not None:
                name = model.label_of(decision.segment) or ""
                segment = {"id": decision.segment, "label": name}
            rows.segments[row] = NO_SEGMENT if decision.segment is None else decision.segment
            rows.labels[row] = None if segment is None else segment["label"]
            rows.since[row] = moment.events
            status = _status(previous, segment)
        user, sequence = rows.users[row], int(rows.sequence[row]) + 1
        rows.sequence[row] = sequence
        whose = cause_of(
            reason,
            by_event=cause.record is not None,
            by_operator=model.migrated_from is not None,
        )
        change: dict[str, object] = {
            "user_id": user,
            "sequence": sequence,
            "status": status._value_,
            "segment": segment,
            "previous_segment": previous,
            "reason": reason._value_,
            "cause": whose._value_,
            "changed_at": cause.at,
            "occurred_at": cause.occurred_at,
            "distance": decision.distance,
            "previous_distance": decision.previous_distance,
            "margin": decision.margin,
            "confidence": decision.confidence,
            "profile": {
                "events": moment.events,
                "weight": moment.weight,
                "updated_at": from_microseconds(moment.reference),
            },
            "model": {"embedding": model.embedding, "version": model.version},
            "source": cause.source,
        }
        if label is not None:
            change["label"] = label.model_dump()
        if shares is not None:
            change["shares"] = shares
        key, value = user.encode(), to_json(change)
        headers = tuple(
            change_headers(
                change_id(user, _cause_of(cause, label, reason, model), sequence),
                self.source,
                user,
                cause.at,
                whose,
            )
        )
        return Change(status, reason, int(rows.segments[row])), [
            Output(self.topics.changes, key, value, headers),
            Output(self.topics.memberships, key, value, headers),
        ]

    def let_go(
        self, rows: ProfileRows, row: int, model: SegmentModel, at: datetime
    ) -> tuple[Change, list[Output]]:
        """Write the last change of a user of whom nothing will be known, and take the membership.

        The rows stay as they are.
        """
        previous = _segment_of(rows, row)
        change = SegmentChange(
            user_id=rows.users[row],
            sequence=int(rows.sequence[row]) + 1,
            status=ChangeStatus.EXITED,
            segment=None,
            previous_segment=None if previous is None else SegmentRef(**previous),
            reason=ChangeReason.INACTIVE,
            cause=cause_of(ChangeReason.INACTIVE, by_event=False),
            changed_at=at,
            occurred_at=None,
            distance=None,
            previous_distance=None,
            margin=None,
            profile=ProfileSummary(
                events=int(rows.events[row]),
                weight=float(rows.weights[row]),
                updated_at=from_microseconds(int(rows.reference[row])),
            ),
            model=ModelRef(embedding=model.embedding, version=model.version),
            source=None,
        )
        key, value = change.user_id.encode(), change.model_dump_json().encode()
        headers = tuple(cloudevents_headers(change, self.source))
        return Change(change.status, change.reason, NO_SEGMENT), [
            Output(self.topics.changes, key, value, headers),
            Output(self.topics.memberships, key, None),
        ]


def shares_of(
    pushes: Pushes, decisions: Decisions, rows: Rows, model: SegmentModel
) -> list[dict[str, Any]]:
    """Tell what makes the margins of users who move, each as a `MarginShares`' fields.

    Parameters
    ----------
    pushes
        What made their profiles.
    decisions, rows
        What was decided, and on which of its rows they are, (k,).
    model
        The segments.
    """
    own, against = model.rows_of(decisions.segment[rows]), decisions.against[rows]
    near, far = decisions.distance[rows], decisions.alternative[rows]
    ends = np.searchsorted(pushes.owners, np.arange(len(rows) + 1)).tolist()
    shares, centres = np.empty(len(pushes.owners)), np.empty(len(rows))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(start, min(start + ROWS_AT_ONCE, len(rows)))
        events = slice(ends[start], ends[part.stop])
        shares[events], centres[part] = split_margins(
            pushes.totals[part],
            pushes.vectors[events],
            pushes.weights[events],
            pushes.owners[events] - start,
            nearer=(model.centres[own[part]], near[part]),
            farther=(model.centres[against[part]], far[part]),
        )
    # What is rounded to nothing has no sign.
    margins = (rounded(decisions.margin[rows]) + 0.0).tolist()
    centres = rounded(centres) + 0.0
    told = list(
        zip(
            shares.tolist(),
            (rounded(shares) + 0.0).tolist(),
            pushes.event_ids,
            pushes.offsets,
            strict=True,
        )
    )
    return [
        _told(told[first:end], margin, number, centre, model)
        for (first, end), margin, number, centre in zip(
            pairwise(ends), margins, model.ids[against].tolist(), centres.tolist(), strict=True
        )
    ]


def _told(
    shares: list[tuple[float, float, str, int]],
    margin: float,
    against: int,
    centre: float,
    model: SegmentModel,
) -> dict[str, Any]:
    most = shares
    if len(shares) > 1:
        most = sorted(shares, key=lambda each: -each[0])[:MOST_SHARES]
    pushed = [(told, event_id, offset) for share, told, event_id, offset in most if share > 0]
    others = margin - centre - sum([share for share, _, _ in pushed])
    return {
        "against": {"id": against, "label": model.label_of(against) or ""},
        "events": [
            {"event_id": event_id, "offset": offset, "share": share}
            for share, event_id, offset in pushed
        ],
        "others": round(others, DIGITS) + 0.0,
        "centres": centre,
    }


def _cause_of(
    cause: Cause, label: LabelRef | None, reason: ChangeReason, model: SegmentModel
) -> str:
    """Name the cause as `SegmentChange.id` does."""
    if cause.event_id is not None:
        return f"event:{cause.event_id}"
    if label is not None and reason is ChangeReason.LABEL_CHANGED:
        return f"label-model:{label.version}"
    return f"model:{model.version}"


def _segment_of(rows: ProfileRows, row: int) -> dict[str, Any] | None:
    """Give the segment that a user is in, under the label that it was published with."""
    segment = int(rows.segments[row])
    return None if segment == NO_SEGMENT else {"id": segment, "label": rows.labels[row] or ""}


def _status(previous: object | None, segment: object | None) -> ChangeStatus:
    if segment is None:
        return ChangeStatus.EXITED
    return ChangeStatus.ENTERED if previous is None else ChangeStatus.SWITCHED
